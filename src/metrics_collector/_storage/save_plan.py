"""What a chunk of a claim changes, without a statement: new entries, rollups, totals and the ledger.

A store reads what it has (`Chunk.producers`, `SavePlan.rollups`, `SavePlan.functions`), and writes what it is given for
that, all in one transaction.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from metrics_collector._core.decoding import SHORT_ROW, EntryRun, decode_all
from metrics_collector._core.entries import RejectedEntryError, mark_of
from metrics_collector._core.intervals import Intervals
from metrics_collector._core.pipeline_types import FunctionState, Saved, unnumbered
from metrics_collector._core.rollup_ranges import SECONDS
from metrics_collector._core.totals import Totals
from metrics_collector._storage.rows import as_row
from metrics_collector._storage.steps import Pause

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from metrics_collector._core.decoding import Row
    from metrics_collector._core.pipeline_types import Numbered
    from metrics_collector._storage.steps import Pauses

SLICE: Final = 200  # elements handled between two pauses for the loop
FUNCTIONS: Final = 20  # the same of functions, with some hundred buckets each
_MINUTE: Final = SECONDS["minute"]

RollupKey: TypeAlias = tuple[str, int, str]
"""Resolution, start (UTC epoch seconds) and function."""

_Figures: TypeAlias = dict[tuple[str, int], Totals]  # by function and minute (UTC epoch seconds)


class Chunk(NamedTuple):
    """The head of a claim, decoded."""

    contents: Sequence[EntryRun | RejectedEntryError]  # what the elements hold
    elements: Sequence[bytes]  # as they stand in Redis
    claim: str  # the producer of those without a number, which are at a distance from its end
    length: int  # of the claim

    def producers(self) -> set[str]:
        """Those of which the ledger is needed."""
        return {content.producer or self.claim for content in self.contents}


def decode(token: str, length: int, elements: Sequence[bytes]) -> Pauses[Chunk]:
    """Decode a claim's head; arguments as `StoreWriter.save` takes them."""
    contents: list[EntryRun | RejectedEntryError] = []
    for start in range(0, len(elements), SLICE):
        contents += decode_all(elements[start : start + SLICE])
        yield Pause()
    return Chunk(contents, elements, unnumbered(token), length)


def next_no(last_no: int, now: float) -> int:
    """The number of a commit: by the clock, and later than the last one.

    After a copy was restored, no commit bears the number of one that is lost, which Redis may know.
    """
    return max(last_no + 1, int(now * 1000))


class SavePlan(NamedTuple):
    """What is to be done."""

    # Both are to be saved, as the ledger does not know them. Rows are together by function, as an index has them, which
    # a store takes faster.
    rows: list[Row]
    rejected: list[tuple[bytes, str]]  # with the reason
    ledger: Mapping[str, Intervals]  # all that is known of each producer then
    claim: str  # which of those stands for elements without a number
    rollups: Mapping[RollupKey, Sequence[Totals]]  # what is added to each
    functions: set[str]  # all that occur
    fresh: Mapping[str, Sequence[Totals]]  # by function, figures of entries with a number
    others: Mapping[str, Sequence[Totals]]  # figures of those that have none
    again: Mapping[str, Sequence[Totals]]  # of those with a number that are saved already

    def merged_rollups(self, before: Mapping[RollupKey, Totals]) -> Pauses[list[tuple[Any, ...]]]:
        """The rollups as they are to be: keys and figures. Those `before` are not to be used any more."""
        changed: list[tuple[Any, ...]] = []
        for key, some in self.rollups.items():
            changed.append((*key, *as_row(_sum(before.get(key), some))))
            if not len(changed) % FUNCTIONS:
                yield Pause()
        return changed

    def merged_totals(
        self, before: Mapping[str, Numbered], no: int
    ) -> Pauses[tuple[list[tuple[Any, ...]], dict[str, FunctionState]]]:
        """The totals that change, as commit `no` makes them: functions, figures and commit; and what Redis is to learn.

        Those `before` are not to be used any more.
        """
        changed: list[tuple[Any, ...]] = []
        functions: dict[str, FunctionState] = {}
        for name in self.functions:
            had, had_no = before.get(name) or (None, 0)
            fresh, others, again = (
                some.get(name, ()) for some in (self.fresh, self.others, self.again)
            )
            numbered, new = [*fresh, *again], [*fresh, *others]
            total = _sum(had, new)
            functions[name] = FunctionState(
                _sum(None, numbered) if numbered else None,
                total,
                no if new else had_no,
                had_no if fresh and not (others or again) else None,
            )
            if new:
                changed.append((name, *as_row(total), no))
            if not len(functions) % FUNCTIONS:
                yield Pause()
        return changed, functions

    def saved(self, db: str, no: int, functions: dict[str, FunctionState]) -> Saved:
        """What was done."""
        producers = {
            producer: known.text()
            for producer, known in self.ledger.items()
            if producer != self.claim
        }
        return Saved(db, no, functions, producers, len(self.rows), len(self.rejected))


def plan(chunk: Chunk, known: Mapping[str, Intervals]) -> Pauses[SavePlan]:
    """Sort the elements of a chunk by what is to be done with them; what is `known` of its producers grows."""
    ledger = {producer: known.get(producer) or Intervals() for producer in chunk.producers()}
    sorter = _Sorter(chunk.claim, ledger)
    index = paused = 0
    for content in chunk.contents:
        distance = chunk.length - index  # from the claim's end
        if isinstance(content, EntryRun):
            sorter.take_run(content, distance)
            index += len(content.rows)
        else:
            sorter.reject(content, chunk.elements[index], distance)
            index += 1
        if index - paused >= SLICE:
            paused = index
            yield Pause()
    fresh = yield from sorter.fresh.figures()
    others = yield from sorter.others.figures()
    again = yield from sorter.again.figures()
    return SavePlan(
        [*sorter.fresh.rows(), *sorter.others.rows()],
        sorter.rejected,
        ledger,
        chunk.claim,
        _by_rollup(fresh, others),
        sorter.functions.union(func_name for func_name, _ in chain(fresh, others, again)),
        *map(_by_function, (fresh, others, again)),
    )


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
                begin = int(created_at) // _MINUTE * _MINUTE
                end = begin + _MINUTE
                functions = self._by_minute.setdefault(begin, {})
            try:
                functions[row[0]].append(row)
            except KeyError:
                functions[row[0]] = [row]

    def rows(self) -> Iterator[Row]:
        for functions in self._by_minute.values():
            yield from chain.from_iterable(functions.values())

    def figures(self) -> Pauses[_Figures]:
        figures: _Figures = {}
        handled = 0
        for minute, functions in self._by_minute.items():
            for func_name, rows in functions.items():
                totals = figures[func_name, minute] = Totals()
                for start in range(0, len(rows), SLICE):
                    some = rows[start : start + SLICE]
                    totals.add_all(
                        [row[1] for row in some],
                        max([row[2] for row in some]),
                        [mark_of(*row[4:7]) for row in some if len(row) > SHORT_ROW],
                    )
                    handled += len(some)
                    if handled >= SLICE:
                        handled = 0
                        yield Pause()
        return figures


class _Sorter:
    """What was found so far."""

    def __init__(self, claim: str, ledger: Mapping[str, Intervals]) -> None:
        self._claim = claim
        self._ledger = ledger
        self.rejected: list[tuple[bytes, str]] = []
        self.functions: set[str] = set()  # those of which nothing is counted
        self.fresh, self.others, self.again = _Groups(), _Groups(), _Groups()

    def take_run(self, run: EntryRun, distance: int) -> None:
        """Take some entries, the first of which is at a distance from the claim's end."""
        if run.producer is None:
            first, step, fresh = distance, -1, self.others
        else:
            first, step, fresh = run.first, 1, self.fresh
        last = first + step * (len(run.rows) - 1)
        numbers = self._ledger[run.producer or self._claim]
        if not numbers.count(min(first, last), max(first, last)):
            numbers.add(min(first, last), max(first, last))
            fresh.add(run.rows)
            return
        for row, number in zip(run.rows, range(first, last + step, step), strict=True):
            if numbers.add(number):
                fresh.add((row,))
            elif run.producer is not None:
                self.again.add((row,))
            else:
                self.functions.add(row[0])

    def reject(self, rejection: RejectedEntryError, raw: bytes, distance: int) -> None:
        """Take what is no entry."""
        number = rejection.number if rejection.producer else distance
        if self._ledger[rejection.producer or self._claim].add(number):
            self.rejected.append((raw, str(rejection)))


def _by_rollup(*parts: _Figures) -> dict[RollupKey, list[Totals]]:
    rollups: dict[RollupKey, list[Totals]] = {}
    for figures in parts:
        for (func_name, minute), totals in figures.items():
            for resolution, seconds in SECONDS.items():
                key = (resolution, minute // seconds * seconds, func_name)
                rollups.setdefault(key, []).append(totals)
    return rollups


def _by_function(figures: _Figures) -> dict[str, list[Totals]]:
    functions: dict[str, list[Totals]] = {}
    for (func_name, _), totals in figures.items():
        functions.setdefault(func_name, []).append(totals)
    return functions


def _sum(before: Totals | None, parts: Sequence[Totals]) -> Totals:
    """All of it; one part alone is given back itself. Only `before` is changed, as a part goes into several sums."""
    if before is None and len(parts) == 1:
        return parts[0]
    whole = Totals() if before is None else before
    for part in parts:
        whole.merge(part)
    return whole
