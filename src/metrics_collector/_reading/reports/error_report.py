"""Errors by type and function."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from metrics_collector._core.rollup_ranges import SECONDS
from metrics_collector._reading import asking
from metrics_collector._reading.reports import window_steps
from metrics_collector._reading.reports.overview_report import MOST_PENDING, STEPS, within
from metrics_collector._reading.reports.report_types import ErrorReport, ErrorRow
from metrics_collector._storage.base import ErrorTime
from metrics_collector._support import process

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from metrics_collector._core.entries import Entry
    from metrics_collector._core.windows import Moment
    from metrics_collector._reading.query import Query
    from metrics_collector._reading.reports.report_types import Window
    from metrics_collector._storage.base import StoreReader

_Pair = tuple[str, str]  # function and type of error


class Failures(NamedTuple):
    """What a store has of one type of error of one function: UTC epoch seconds, and counts by time."""

    func_name: str
    error_type: str
    first: float
    last: float
    counts: Mapping[int, int]


async def errors(since: Moment, until: Moment = None) -> ErrorReport:
    """All errors in a window."""
    return await asking.read(lambda query: _errors(query, since, until))


async def _errors(query: Query, since: Moment, until: Moment) -> ErrorReport:
    async with query.snapshot(None, most=MOST_PENDING) as (reader, purged, pending, missing):
        window = window_steps.window(since, until, purged, steps=STEPS, coarse=True)
        found = await failures(reader, purged, window, None)
    rows = await process.in_thread(lambda: error_rows(window, found, pending))
    rows.sort(key=lambda row: row.last_seen_at, reverse=True)
    return ErrorReport(window=window, rows=tuple(rows), missing=missing)


async def failures(
    reader: StoreReader | None, purged: Mapping[str, int], window: Window, func_name: str | None
) -> list[Failures]:
    """What a store has of each type of error in a window, of one function or (`None`) of all."""
    if reader is None:
        return []
    ranges = window_steps.ranges(window, purged)
    found = await reader.failures(ranges, func_name)
    ends = [(one.start, SECONDS[one.resolution]) for one in ranges]

    def time(pair: _Pair, start: int) -> ErrorTime:
        _, length = ends[bisect_right(ends, start, key=itemgetter(0)) - 1]
        return ErrorTime(*pair, start, start + length)

    firsts = [time(pair, min(counts)) for pair, counts in found.items()]
    lasts = [time(pair, max(counts)) for pair, counts in found.items()]
    sights = zip(
        await _moments(reader, purged, firsts, last=False),
        await _moments(reader, purged, lasts, last=True),
        strict=True,
    )
    return [
        Failures(*pair, first, last, counts)
        for (pair, counts), (first, last) in zip(found.items(), sights, strict=True)
    ]


async def _moments(
    reader: StoreReader, purged: Mapping[str, int], times: list[ErrorTime], *, last: bool
) -> list[float]:
    """When the first, or last, error was counted in each time: as precisely as it is kept."""
    moments: list[float] = [time.start for time in times]
    for by in ("hour", "minute", "entry"):
        length = SECONDS.get(by, 0)
        # Of a time that is only partly kept the last one is still the last, but the first one is not the first.
        kept = [
            number
            for number, time in enumerate(times)
            if time.end - time.start > length
            and purged.get(by, 0) < (time.end if last else time.start + 1)
        ]
        found = await reader.occurrences([times[number] for number in kept], by, last=last)
        for number, moment in zip(kept, found, strict=True):
            if moment is not None:
                moments[number] = moment
                start = int(moment)
                times[number] = times[number]._replace(start=start, end=start + length)
    return moments


def error_rows(
    window: Window, found: Iterable[Failures], pending: Iterable[Entry]
) -> list[ErrorRow]:
    """The types of errors in a window: those of a store, and those of entries that it does not have."""
    sights: dict[_Pair, _Sight] = {}
    for one in found:
        sight = sights[one.func_name, one.error_type] = _Sight(window)
        for start, by in one.counts.items():
            sight.add(start, by)
        sight.first, sight.last = one.first, one.last
    for entry in within(window, pending):
        if entry.error is not None:
            pair = entry.func_name, entry.error
            sights.setdefault(pair, _Sight(window)).add(entry.created_at, 1)
    return [
        ErrorRow(
            func_name=name,
            error_type=kind,
            count=sum(sight.counts),
            first_seen_at=datetime.fromtimestamp(sight.first, UTC),
            last_seen_at=datetime.fromtimestamp(sight.last, UTC),
            counts=tuple(sight.counts),
        )
        for (name, kind), sight in sights.items()
    ]


class _Sight:
    """Where one type of error of one function was seen."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.counts = [0] * len(window.starts)
        self.first: float = float("inf")
        self.last: float = float("-inf")

    def add(self, moment: float, by: int) -> None:
        self.counts[self._window.step_at(moment)] += by
        self.first = min(self.first, moment)
        self.last = max(self.last, moment)
