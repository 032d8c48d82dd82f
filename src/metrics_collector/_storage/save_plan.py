"""A chunk of a claim, sorted by what is to be done with its elements."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from metrics_collector._core.bulk_decoding import Run
from metrics_collector._core.entries import RejectedEntryError
from metrics_collector._core.totals import Totals
from metrics_collector._storage.steps import Pause

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from metrics_collector._core.bulk_decoding import Row
    from metrics_collector._core.entries import Entry
    from metrics_collector._core.intervals import Intervals
    from metrics_collector._storage.steps import Pauses

    Contents: TypeAlias = Sequence[Run | Entry | RejectedEntryError]

MINUTE: Final = 60
SLICE: Final = 200  # elements handled between two pauses for the loop

Figures: TypeAlias = dict[tuple[str, int], Totals]
"""By function and minute (UTC epoch seconds)."""


class Work(NamedTuple):
    """What is to be done.

    Attributes:
        rows, rejected: to be saved, as the ledger does not know them; rejected ones with the reason. Rows are together
            by function, as the index has them, which SQLite takes faster.
        fresh: figures of those entries that have a number.
        others: figures of those that have none.
        again: figures of entries that have a number and are saved already.
        functions: all that occur.
    """

    rows: list[Row]
    rejected: list[tuple[bytes, str]]
    fresh: Figures
    others: Figures
    again: Figures
    functions: set[str]


class _Groups:
    """Rows by minute and function."""

    def __init__(self) -> None:
        self._by_minute: dict[int, dict[str, list[Row]]] = {}

    def add(self, rows: Iterable[Row]) -> None:
        begin = end = 0
        functions: dict[str, list[Row]] = {}
        for row in rows:
            created_at = row[2]
            if not begin <= created_at < end:
                begin = int(created_at) // MINUTE * MINUTE
                end = begin + MINUTE
                functions = self._by_minute.setdefault(begin, {})
            try:
                functions[row[0]].append(row)
            except KeyError:
                functions[row[0]] = [row]

    def rows(self) -> Iterator[Row]:
        for functions in self._by_minute.values():
            yield from chain.from_iterable(functions.values())

    def functions(self) -> Iterator[str]:
        return chain.from_iterable(self._by_minute.values())

    def figures(self) -> Pauses[Figures]:
        figures: Figures = {}
        handled = 0
        for minute, functions in self._by_minute.items():
            for func_name, rows in functions.items():
                totals = figures[func_name, minute] = Totals()
                for start in range(0, len(rows), SLICE):
                    some = rows[start : start + SLICE]
                    totals.add_all(
                        [row[1] for row in some],
                        max([row[2] for row in some]),
                        [_mark(row) for row in some if row[4] != "ok"],
                    )
                    handled += len(some)
                    if handled >= SLICE:
                        handled = 0
                        yield Pause()
        return figures


def sort(
    contents: Contents,
    elements: Sequence[bytes],
    claim: str,
    length: int,
    ledger: Mapping[str, Intervals],
) -> Pauses[Work]:
    """Sort the elements, and note them in the ledger.

    Args:
        contents: what the elements hold.
        elements: as they stand in Redis.
        claim: stands for the producer of those without a number, which is the distance from the claim's end.
        length: of the claim.
        ledger: by producer; grows.
    """
    sorter = _Sorter(claim, ledger)
    index = paused = 0
    for content in contents:
        if isinstance(content, Run):
            sorter.take_run(content)
            index += len(content.rows)
        else:
            sorter.take(content, elements[index], length - index)
            index += 1
        if index - paused >= SLICE:
            paused = index
            yield Pause()
    fresh, others, again = sorter.fresh, sorter.others, sorter.again
    return Work(
        [*fresh.rows(), *others.rows()],
        sorter.rejected,
        (yield from fresh.figures()),
        (yield from others.figures()),
        (yield from again.figures()),
        sorter.functions.union(fresh.functions(), others.functions(), again.functions()),
    )


class _Sorter:
    """What was found so far."""

    def __init__(self, claim: str, ledger: Mapping[str, Intervals]) -> None:
        self._claim = claim
        self._ledger = ledger
        self.rejected: list[tuple[bytes, str]] = []
        self.functions: set[str] = set()
        self.fresh, self.others, self.again = _Groups(), _Groups(), _Groups()

    def take_run(self, run: Run) -> None:
        numbers = self._ledger[run.producer]
        last = run.first + len(run.rows) - 1
        if not numbers.count(run.first, last):
            numbers.add(run.first, last)
            self.fresh.add(run.rows)
            return
        for number, row in enumerate(run.rows, run.first):
            (self.fresh if numbers.add(number) else self.again).add((row,))

    def take(self, content: Entry | RejectedEntryError, raw: bytes, distance: int) -> None:
        """Take one element, at a distance from the claim's end."""
        if content.producer is not None:
            new = self._ledger[content.producer].add(content.number)
        else:
            new = self._ledger[self._claim].add(distance)
        if isinstance(content, RejectedEntryError):
            if new:
                self.rejected.append((raw, str(content)))
            return
        self.functions.add(content.func_name)
        row = content[:7]
        if content.producer is not None:
            (self.fresh if new else self.again).add((row,))
        elif new:
            self.others.add((row,))


def _mark(row: Row) -> str:
    """What `Totals` takes of a call that did not go well."""
    return "" if row[4] == "cancelled" else row[5] or "Exception"
