"""A chunk of a claim, sorted by what is to be done with its elements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from metrics_collector._entries import Entry, RejectedEntryError
from metrics_collector._sqlite._session import Pause
from metrics_collector._totals import Totals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from metrics_collector._intervals import Intervals
    from metrics_collector._sqlite._session import Steps

MINUTE: Final = 60
SLICE: Final = 200  # elements handled between two pauses for the loop

Contents: TypeAlias = "Sequence[Entry | RejectedEntryError]"
Figures: TypeAlias = dict[tuple[str, int], Totals]
"""By function and minute (UTC epoch seconds); by 0 where the minute does not matter."""


class Work(NamedTuple):
    """What is to be done.

    Attributes:
        entries, rejected: to be saved, as the ledger does not know them; rejected ones with the reason.
        fresh: figures of those entries that have a number.
        others: figures of those that have none.
        again: figures of entries that have a number and are saved already.
        functions: all that occur.
    """

    entries: list[Entry]
    rejected: list[tuple[bytes, str]]
    fresh: Figures
    others: Figures
    again: Figures
    functions: set[str]


class _Run(NamedTuple):
    """Elements from `start` on whose numbers follow each other."""

    producer: str
    first: int
    start: int
    length: int


def sort(
    contents: Contents,
    elements: Sequence[bytes],
    claim: str,
    length: int,
    ledger: Mapping[str, Intervals],
) -> Steps[Work]:
    """Sort the elements, and note them in the ledger.

    Args:
        contents: what the elements hold.
        elements: as they stand in Redis.
        claim: stands for the producer of those without a number, which is the distance from the claim's end.
        length: of the claim.
        ledger: by producer; grows.
    """
    known = yield from _known(contents, claim, length, ledger)
    entries: list[Entry] = []
    rejected: list[tuple[bytes, str]] = []
    functions: set[str] = set()
    fresh: dict[tuple[str, int], list[Entry]] = {}
    others: dict[tuple[str, int], list[Entry]] = {}
    again: dict[tuple[str, int], list[Entry]] = {}
    for index, content in enumerate(contents):
        if not index % SLICE:
            yield Pause()
        if isinstance(content, RejectedEntryError):
            if not known[index]:
                rejected.append((elements[index], str(content)))
        elif not known[index]:
            entries.append(content)
            groups = others if content.producer is None else fresh
            key = content.func_name, int(content.created_at) // MINUTE * MINUTE
            group = groups.get(key)
            if group is None:
                group = groups[key] = []
            group.append(content)
        else:
            functions.add(content.func_name)
            if content.producer is not None:
                again.setdefault((content.func_name, 0), []).append(content)
    for groups in (fresh, others):
        functions.update(func_name for func_name, _ in groups)
    return Work(
        entries,
        rejected,
        (yield from _figures(fresh)),
        (yield from _figures(others)),
        (yield from _figures(again)),
        functions,
    )


def _known(
    contents: Contents, claim: str, length: int, ledger: Mapping[str, Intervals]
) -> Steps[bytearray]:
    """A byte for each element: 1 if the ledger knew it, or it came before; 0 if it is new. It is noted, too."""
    known = bytearray(len(contents))
    handled = 0
    for run in _runs(contents, claim, length):
        numbers = ledger[run.producer]
        last = run.first + run.length - 1
        if numbers.count(run.first, last):
            for offset in range(run.length):
                known[run.start + offset] = not numbers.add(run.first + offset)
        else:
            numbers.add(run.first, last)
        handled += run.length
        if handled >= SLICE:
            handled = 0
            yield Pause()
    return known


def _runs(contents: Contents, claim: str, length: int) -> Iterator[_Run]:
    """Entries come in the order in which their producer numbered them, mostly; at most a slice of them at once."""
    producer, first, start, following = "", 0, 0, 0
    for index, content in enumerate(contents):
        number, whose = content.number, content.producer
        if whose is None:
            number, whose = length - index, claim
        if number != following or whose != producer or index - start >= SLICE:
            if index:
                yield _Run(producer, first, start, index - start)
            producer, first, start = whose, number, index
        following = number + 1
    if contents:
        yield _Run(producer, first, start, len(contents) - start)


def _figures(groups: Mapping[tuple[str, int], Sequence[Entry]]) -> Steps[Figures]:
    figures: Figures = {}
    handled = 0
    for key, group in groups.items():
        totals = figures[key] = Totals()
        for start in range(0, len(group), SLICE):
            some = group[start : start + SLICE]
            totals.add_all(
                [entry.execution_time for entry in some],
                max([entry.created_at for entry in some]),
                [entry.mark or "" for entry in some if entry.outcome != "ok"],
            )
            handled += len(some)
            if handled >= SLICE:
                handled = 0
                yield Pause()
    return figures
