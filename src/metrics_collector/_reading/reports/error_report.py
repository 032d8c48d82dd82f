"""Errors by type and function."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from metrics_collector._core.rollup_ranges import SECONDS
from metrics_collector._reading import asking
from metrics_collector._reading.reports import window_steps
from metrics_collector._reading.reports.overview_report import MOST_PENDING, STEPS, within
from metrics_collector._reading.reports.report_types import ErrorRow
from metrics_collector._storage.base import ErrorSpan
from metrics_collector._support import process

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from metrics_collector._core.entries import Entry
    from metrics_collector._core.windows import Moment
    from metrics_collector._reading.query import Query
    from metrics_collector._reading.reports.report_types import Window
    from metrics_collector._storage.base import StoreReader

_Pair = tuple[str, str]  # function and type of error

Failures = tuple[ErrorSpan, "Mapping[int, int]"]
"""One type of error of one function: from when to when, to the minute if those are kept; and counts by time."""


async def errors(since: Moment, until: Moment = None) -> tuple[Window, tuple[ErrorRow, ...]]:
    """Every type of error of every function in a window, the one seen last first."""
    return await asking.read(lambda query: _errors(query, since, until))


async def _errors(
    query: Query, since: Moment, until: Moment
) -> tuple[Window, tuple[ErrorRow, ...]]:
    async with query.snapshot(None, most=MOST_PENDING) as (reader, purged, pending, _):
        window = window_steps.window(since, until, purged, steps=STEPS, coarse=True)
        found = await failures(reader, purged, window, None)
    rows = await process.in_thread(lambda: error_rows(window, found, pending))
    return window, tuple(sorted(rows, key=lambda row: row.last_seen_at, reverse=True))


async def failures(
    reader: StoreReader | None, purged: Mapping[str, int], window: Window, func_name: str | None
) -> list[Failures]:
    """What a store has of each type of error in a window, of one function or (`None`) of all."""
    if reader is None:
        return []
    rollup_range = window_steps.rollup_range(window)
    found = await reader.failures(rollup_range, func_name)
    spans = [ErrorSpan(*pair, min(counts), max(counts)) for pair, counts in found.items()]
    finest = window_steps.finest(rollup_range, purged)
    if finest != rollup_range.resolution and spans:
        spans = await reader.narrowed(spans, SECONDS[rollup_range.resolution], finest)
    return list(zip(spans, found.values(), strict=True))


def error_rows(
    window: Window, found: Iterable[Failures], pending: Iterable[Entry]
) -> list[ErrorRow]:
    """The types of errors in a window: those of a store, and those of entries that it does not have."""
    sights: dict[_Pair, _Sight] = {}
    for span, counts in found:
        sight = sights[span.func_name, span.error_type] = _Sight(window)
        for start, by in counts.items():
            sight.add(start, by)
        sight.first, sight.last = span.first, span.last
    for entry in within(window, pending):
        if entry.error is not None:
            minute = entry.created_at // 60 * 60
            pair = entry.func_name, entry.error
            sights.setdefault(pair, _Sight(window)).add(minute, 1)
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

    def add(self, start: float, by: int) -> None:
        self.counts[int(start - self._window.starts[0]) // self._window.step] += by
        self.first = min(self.first, start)
        self.last = max(self.last, start)
