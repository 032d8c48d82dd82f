"""All functions in a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from metrics_collector._core.models import FunctionMetrics, figures
from metrics_collector._core.rollup_ranges import RollupRange
from metrics_collector._core.totals import Totals
from metrics_collector._reading import asking
from metrics_collector._reading.query import count
from metrics_collector._reading.reports import window_steps
from metrics_collector._reading.reports.closed_windows import Closed, Part
from metrics_collector._reading.reports.report_types import FunctionRow, Overview
from metrics_collector._storage.base import StepCounts
from metrics_collector._support import process

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from metrics_collector._core.entries import Entry
    from metrics_collector._core.windows import Moment
    from metrics_collector._reading.query import Query, Snapshot
    from metrics_collector._reading.reports.report_types import Window

STEPS: Final = 60
MOST_PENDING: Final = 20_000  # entries in Redis that are read: about 0.1 s
_NOTHING: Final = Part({}, ())
_closed = Closed()


async def overview(since: Moment, until: Moment = None) -> Overview:
    """All functions in a window.

    What is over of it, and the period before, is remembered, so that looking again costs little.
    """
    return await asking.read(lambda query: _overview(query, since, until))


async def _overview(query: Query, since: Moment, until: Moment) -> Overview:
    parts: list[Part] = []
    before = _NOTHING
    async with query.snapshot(None, most=MOST_PENDING) as snapshot:
        reader, purged = snapshot.reader, snapshot.purged
        window = window_steps.window(since, until, purged, steps=STEPS, coarse=True)
        if reader is not None:
            label = query.store.label
            whole, last = window_steps.rollup_range(window), window.starts[-1]
            for first, end in ((whole.start, last), (last, whole.end)):
                if end is None or first < end:
                    ranges = [RollupRange(whole.resolution, first, end)]
                    parts.append(await _closed.read(reader, label, ranges, window.step))
            ranges = window_steps.ranges_before(window, purged)
            before = await _closed.read(reader, label, ranges, None)
    return await process.in_thread(lambda: _assemble(window, snapshot, parts, before))


def _assemble(window: Window, snapshot: Snapshot, parts: Iterable[Part], before: Part) -> Overview:
    totals: dict[str, Totals] = {}
    total = Totals()
    steps = Steps(window)
    for part in parts:
        for name, some in part.sums.items():
            totals.setdefault(name, Totals()).merge(some)
        total.merge(part.total)
        steps.add(part.counts)
    for entry in within(window, snapshot.pending):
        count(totals.setdefault(entry.func_name, Totals()), entry)
        count(total, entry)
        at, failed = int(entry.created_at), entry.error_occurred
        steps.add([StepCounts(entry.func_name, at, 1, failed, entry.execution_time)])
    rows = [_row(name, some, steps, before.sums) for name, some in totals.items()]
    rows.sort(key=lambda row: (-row.metrics.total_execution_time, row.metrics.func_name))
    return Overview(
        window=window,
        rows=tuple(rows),
        total=FunctionMetrics(**figures("", total)),
        total_before=FunctionMetrics(**figures("", before.total)),
        functions_before=len(before.sums),
        left_out=snapshot.left_out,
    )


def _row(name: str, totals: Totals, steps: Steps, before: Mapping[str, Totals]) -> FunctionRow:
    return FunctionRow(
        metrics=FunctionMetrics(**figures(name, totals)),
        totals_before=before.get(name, Totals()),
        calls=tuple(steps.calls[name]),
        errors=tuple(steps.errors[name]),
        times=tuple(steps.times[name]),
    )


class Steps:
    """Calls, errors and seconds of each function in each step of a window."""

    def __init__(self, window: Window) -> None:
        self._first = window.starts[0]
        self._step = window.step
        self._count = len(window.starts)
        self.calls: dict[str, list[int]] = {}
        self.errors: dict[str, list[int]] = {}
        self.times: dict[str, list[float]] = {}

    def add(self, counts: Iterable[StepCounts]) -> None:
        """Add what was counted in some steps, or at some moments within them."""
        for name, start, calls, errors, time in counts:
            if name not in self.calls:
                self.calls[name] = [0] * self._count
                self.errors[name] = [0] * self._count
                self.times[name] = [0.0] * self._count
            index = (start - self._first) // self._step
            self.calls[name][index] += calls
            self.errors[name][index] += errors
            self.times[name][index] += time


def within(window: Window, pending: Iterable[Entry]) -> list[Entry]:
    """The entries that lie in a window, its last step in full."""
    rollup_range = window_steps.rollup_range(window)
    return [entry for entry in pending if rollup_range.covers(entry.created_at)]
