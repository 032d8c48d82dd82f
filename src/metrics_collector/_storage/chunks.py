"""The head of a claim, decoded and sorted before a store's transaction begins, as far as that needs no ledger."""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import chain, compress, count, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from metrics_collector._core.decoding import SHORT_ROW, EntryRun, decode_all
from metrics_collector._core.entries import RejectedEntryError, mark_of
from metrics_collector._core.intervals import Intervals
from metrics_collector._core.pipeline_types import unnumbered
from metrics_collector._core.rollup_ranges import SECONDS
from metrics_collector._core.totals import Totals
from metrics_collector._storage.steps import Pause
from metrics_collector._support.groups import in_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from metrics_collector._core.decoding import Row
    from metrics_collector._storage.steps import Pauses

SLICE: Final = 200  # elements handled between two pauses for the loop
COUNTED: Final = 1000  # entries of one function that are counted at once, in about the same time
_func_name: Final = itemgetter(0)
_MINUTE: Final = SECONDS["minute"]

RollupKey: TypeAlias = tuple[str, int, str]
"""Resolution, start (UTC epoch seconds) and function."""

_Figures: TypeAlias = dict[tuple[str, int], Totals]  # by function and minute (UTC epoch seconds)


class Changes(NamedTuple):
    """What is to be done with the elements of a chunk."""

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


class Chunk(NamedTuple):
    """The head of a claim, decoded."""

    contents: Sequence[EntryRun | RejectedEntryError]  # what the elements hold
    elements: Sequence[bytes]  # as they stand in Redis
    claim: str  # the producer of those without a number, which are at a distance from its end
    length: int  # of the claim, from its first element on
    alone: Changes  # what is to be done if the ledger knows none of them, as it mostly does not

    @property
    def producers(self) -> Iterable[str]:
        """Those of which the ledger is needed."""
        return self.alone.ledger.keys()

    def changes(self, known: Mapping[str, Intervals]) -> Pauses[Changes]:
        """What is to be done; what is `known` of its producers grows."""
        ledger = {producer: known.get(producer) or Intervals() for producer in self.producers}
        # Of a claim in which every other element has no number there are as many as elements.
        numbers = [(producer, *one) for producer, some in self.alone.ledger.items() for one in some]
        for some in in_groups(numbers, SLICE):
            if any(ledger[producer].count(first, last) for producer, first, last in some):
                return (
                    yield from _sorted(self.contents, self.elements, self.claim, self.length, known)
                )
            yield Pause()
        for some in in_groups(numbers, SLICE):
            for producer, first, last in some:
                ledger[producer].add(first, last)
            yield Pause()
        return self.alone._replace(ledger=ledger)


def prepare(token: str, length: int, elements: Sequence[bytes]) -> Pauses[Chunk]:
    """Decode the head of a claim, and sort it.

    Args:
        token: of the claim.
        length: of the claim when it was read, without what stands before these.
        elements: the head, up to some ten thousand, as they stand in Redis.
    """
    contents: list[EntryRun | RejectedEntryError] = []
    for start in range(0, len(elements), SLICE):
        contents += decode_all(elements[start : start + SLICE])
        yield Pause()
    claim = unnumbered(token)
    alone = yield from _sorted(contents, elements, claim, length, {})
    return Chunk(contents, elements, claim, length, alone)


def _sorted(
    contents: Sequence[EntryRun | RejectedEntryError],
    elements: Sequence[bytes],
    claim: str,
    length: int,
    known: Mapping[str, Intervals],
) -> Pauses[Changes]:
    producers = {content.producer or claim for content in contents}
    sorter = _Sorter(
        claim, {producer: known.get(producer) or Intervals() for producer in producers}
    )
    index = paused = 0
    for content in contents:
        distance = length - index  # from the claim's end
        if isinstance(content, EntryRun):
            sorter.take_run(content, distance)
            index += len(content.rows)
        else:
            sorter.reject(content, elements[index], distance)
            index += 1
        if index - paused >= SLICE:
            paused = index
            yield Pause()
    fresh = yield from sorter.fresh.figures()
    others = yield from sorter.others.figures()
    again = yield from sorter.again.figures()
    return Changes(
        [*sorter.fresh.rows(), *sorter.others.rows()],
        sorter.rejected,
        sorter.ledger,
        claim,
        _by_rollup(fresh, others),
        sorter.functions.union(func_name for func_name, _ in chain(fresh, others, again)),
        *map(_by_function, (fresh, others, again)),
    )


class _Groups:
    """Rows by minute and function."""

    def __init__(self) -> None:
        self._by_minute: dict[int, dict[str, list[Row]]] = {}

    def add(self, rows: Sequence[Row]) -> None:
        start = 0
        while start < len(rows):
            begin = int(rows[start][2]) // _MINUTE * _MINUTE
            end = begin + _MINUTE
            others = (not begin <= row[2] < end for row in islice(rows, start, None))
            stop = next(compress(count(start), others), len(rows))
            functions = self._by_minute.setdefault(begin, defaultdict(list))
            some = rows[start:stop]
            names = map(_func_name, some)
            # Consumed by a queue that keeps nothing, since a loop takes half as long again.
            deque(map(list.append, map(functions.__getitem__, names), some), maxlen=0)
            start = stop

    def rows(self) -> Iterator[Row]:
        groups = chain.from_iterable(map(dict.values, self._by_minute.values()))
        return chain.from_iterable(groups)

    def figures(self) -> Pauses[_Figures]:
        figures: _Figures = {}
        handled = 0
        for minute, functions in self._by_minute.items():
            for func_name, rows in functions.items():
                totals = figures[func_name, minute] = Totals()
                for some in in_groups(rows, COUNTED):
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
        self.ledger = ledger
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
        numbers = self.ledger[run.producer or self._claim]
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
        if self.ledger[rejection.producer or self._claim].add(number):
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
