"""One function in a window."""

from __future__ import annotations

from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from metrics_collector._core.models import FunctionMetrics, HistoryPoint, figures
from metrics_collector._core.rollup_ranges import RollupRange, floor, kept
from metrics_collector._core.totals import Totals
from metrics_collector._reading import asking
from metrics_collector._reading.query import count
from metrics_collector._reading.reports import window_steps
from metrics_collector._reading.reports.error_report import error_rows, failures
from metrics_collector._reading.reports.overview_report import MOST_PENDING, counted, within
from metrics_collector._reading.reports.report_types import FunctionReport, SlowEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from metrics_collector._core.entries import Entry
    from metrics_collector._core.pipeline_types import Rollup
    from metrics_collector._core.windows import Moment
    from metrics_collector._reading.query import Query
    from metrics_collector._reading.reports.report_types import Window
    from metrics_collector._storage.base import StoredEntry, StoreReader

STEPS: Final = 120
SLOWEST: Final = 20


async def function(name: str, since: Moment, until: Moment = None) -> FunctionReport:
    """One function in a window; `name` is its full name, or an end of that at a dot which matches one function only."""
    return await asking.read(lambda query: _function(query, name, since, until))


async def _function(query: Query, asked: str, since: Moment, until: Moment) -> FunctionReport:
    name = await query.resolve(asked)
    async with query.snapshot(name, most=MOST_PENDING) as (reader, purged, waiting, missing):
        window = window_steps.window(
            since,
            until,
            purged,
            steps=STEPS,
            beginning=None if reader is None else await reader.beginning(),
        )
        pending = within(window, waiting)
        rollups: list[Rollup] = []
        compared = before = None
        slowest: list[Entry | StoredEntry] = [*pending]
        if reader is not None:
            rollups = await reader.rollups(window_steps.ranges(window, purged), name)
            slowest += await _slowest(reader, purged, window, name)
            if window.comparison is not None:
                start, middle, end, _ = window.comparison
                ranges = window_steps.ranges_compared(window, purged)
                late = counted(waiting, middle, end)
                compared = _together(name, await reader.sums(ranges, name), late)
                ranges = window_steps.ranges_before(window, purged)
                late = counted(waiting, start, middle)
                before = _together(name, await reader.sums(ranges, name), late)
        failed = await failures(reader, purged, window, name)
    errors = error_rows(window, failed, pending)
    steps = _by_step(window, rollups, pending)
    slowest.sort(key=attrgetter("execution_time"), reverse=True)
    return FunctionReport(
        func_name=name,
        window=window,
        metrics=FunctionMetrics(
            **figures(name, Totals.sum(steps.values())), partial=missing.partial
        ),
        compared=compared,
        before=before,
        points=tuple(
            HistoryPoint(
                start=datetime.fromtimestamp(start, UTC),
                resolution=window_steps.resolution(window),
                **figures(name, totals),
                partial=missing.partial,
            )
            for start, totals in sorted(steps.items())
        ),
        errors=tuple(sorted(errors, key=lambda row: row.count, reverse=True)),
        slowest=tuple(
            SlowEntry(
                created_at=datetime.fromtimestamp(entry.created_at, UTC),
                execution_time=entry.execution_time,
                outcome=entry.outcome,
                error_type=entry.error_type,
            )
            for entry in slowest[:SLOWEST]
        ),
        entries_kept=purged.get("entry", 0) <= window.starts[0],
        missing=missing,
        sql=query.store.examples.slowest(name, window.since.timestamp(), window.until.timestamp()),
    )


def _together(
    name: str, saved: Mapping[str, Totals], late: Mapping[str, Totals]
) -> FunctionMetrics:
    totals = Totals.sum(part[name] for part in (saved, late) if name in part)
    return FunctionMetrics(**figures(name, totals))


def _by_step(
    window: Window, rollups: Iterable[Rollup], pending: Iterable[Entry]
) -> dict[int, Totals]:
    steps: dict[int, Totals] = {}
    for rollup in rollups:
        start = window.starts[window.step_at(rollup.start)]
        steps.setdefault(start, Totals()).merge(rollup.totals)
    for entry in pending:
        start = window.starts[window.step_at(entry.created_at)]
        count(steps.setdefault(start, Totals()), entry)
    return steps


async def _slowest(
    reader: StoreReader, purged: Mapping[str, int], window: Window, name: str
) -> list[StoredEntry]:
    first, finest = window.starts[0], kept(window.starts[0], purged)
    # Where the entries are gone, the highest maxima of their rollups are of no use.
    start = max(first, floor(purged.get("entry", 0), finest))
    return await reader.slowest(name, RollupRange(finest, start, window.end), SLOWEST)
