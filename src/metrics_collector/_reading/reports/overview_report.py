"""All functions in a window."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from metrics_collector._core.models import FunctionMetrics, figures
from metrics_collector._core.totals import Totals
from metrics_collector._reading import asking
from metrics_collector._reading.query import count
from metrics_collector._reading.reports import window_steps
from metrics_collector._reading.reports.closed_windows import Closed, Whole
from metrics_collector._reading.reports.report_types import FunctionRow, Overview, Together
from metrics_collector._support import process

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from metrics_collector._core.entries import Entry
    from metrics_collector._core.rollup_ranges import RollupRange
    from metrics_collector._core.windows import Moment
    from metrics_collector._reading.missing import Missing
    from metrics_collector._reading.query import Query
    from metrics_collector._reading.reports.closed_windows import Part
    from metrics_collector._reading.reports.report_types import Window

STEPS: Final = 60
MOST_PENDING: Final = 20_000  # entries in Redis that are read
_NOTHING: Final = Whole(())
_closed = Closed()


async def overview(since: Moment, until: Moment = None) -> Overview:
    """All functions in a window.

    What is over of it, and the period before, is remembered, so that looking again costs little.
    """
    return await asking.read(lambda query: _overview(query, since, until))


async def _overview(query: Query, since: Moment, until: Moment) -> Overview:
    read = _Read()
    async with query.snapshot(None, most=MOST_PENDING) as (reader, purged, pending, missing):
        window = window_steps.window(
            since,
            until,
            purged,
            steps=STEPS,
            coarse=True,
            beginning=None if reader is None else await reader.beginning(),
        )
        if reader is not None:
            label = query.store.label
            ranges = window_steps.ranges(window, purged)
            compared = window_steps.ranges_compared(window, purged)
            before = window_steps.ranges_before(window, purged)
            read = _Read(
                await _closed.read(reader, label, _by_step(window, ranges)),
                await _closed.read(reader, label, _by_step(window, compared)),
                await _closed.read(reader, label, dict.fromkeys(before)),
            )
    return await process.in_thread(lambda: _assemble(window, read, pending, missing))


class _Read(NamedTuple):
    """What SQL has: of a window, of what is compared, and of the period before that."""

    window: Whole = _NOTHING
    compared: Whole = _NOTHING
    before: Whole = _NOTHING


def _by_step(window: Window, ranges: Iterable[RollupRange]) -> dict[RollupRange, int | None]:
    """The ranges, and the step by which those are to be read that lie in more than one."""
    found: dict[RollupRange, int | None] = {}
    for one in ranges:
        several = one.end is not None and window.step_at(one.start) != window.step_at(one.end - 1)
        found[one] = window.step if several else None
    return found


def _assemble(window: Window, read: _Read, pending: Iterable[Entry], missing: Missing) -> Overview:
    totals: dict[str, list[Totals]] = {}
    for part in read.window.parts:
        for name, some in part.sums.items():
            totals.setdefault(name, []).append(some)
    total = read.window.total
    inside = within(window, pending)
    late: dict[str, Totals] = {}
    for entry in inside:
        count(late.setdefault(entry.func_name, Totals()), entry)
        count(total, entry)
    for name, some in late.items():
        totals.setdefault(name, []).append(some)
    steps = Steps(window, read.window.parts, inside)
    compared = before = None
    if window.comparison is not None:
        start, since, until, _ = window.comparison
        compared = _Side(read.compared, pending, since, until)
        before = _Side(read.before, pending, start, since)
    rows = [_row(name, some, steps, compared, before) for name, some in totals.items()]
    rows.sort(key=lambda row: (-row.total_execution_time, row.func_name))
    return Overview(
        window=window,
        rows=tuple(rows),
        total=FunctionMetrics(**figures("", total)),
        calls=tuple(steps.calls),
        errors=tuple(steps.errors),
        compared=None if compared is None else compared.together(),
        before=None if before is None else before.together(),
        missing=missing,
    )


def _row(
    name: str,
    totals: Sequence[Totals],
    steps: Steps,
    compared: _Side | None,
    before: _Side | None,
) -> FunctionRow:
    return FunctionRow(
        func_name=name,
        totals=totals,
        totals_compared=None if compared is None else compared.of(name),
        totals_before=None if before is None else before.of(name),
        steps=steps.of,
    )


class _Side:
    """One side of a comparison: what SQL has of a time, and what it lacks."""

    def __init__(
        self, saved: Whole, pending: Iterable[Entry], since: datetime, until: datetime
    ) -> None:
        self._saved = saved
        self._pending = counted(pending, since, until)

    def of(self, name: str) -> Totals:
        parts = (self._saved.sums.get(name), self._pending.get(name))
        found = [part for part in parts if part is not None]
        return found[0] if len(found) == 1 else Totals.sum(found)

    def together(self) -> Together:
        total = Totals.sum((self._saved.total, *self._pending.values()))
        return Together(
            metrics=FunctionMetrics(**figures("", total)),
            functions=len(self._saved.sums.keys() | self._pending.keys()),
        )


class Steps:
    """Calls in each step of a window: what SQL has of it, and what it lacks."""

    def __init__(self, window: Window, parts: Iterable[Part], pending: Iterable[Entry]) -> None:
        self._none = [0] * len(window.starts)
        self._parts = [(part, [*map(window.step_at, part.starts)]) for part in parts]
        self._pending: dict[str, list[int]] = {}
        self.calls, self.errors = self._none[:], self._none[:]
        for part, steps in self._parts:
            for step, calls, errors in zip(steps, part.all_calls, part.all_errors, strict=True):
                self.calls[step] += calls
                self.errors[step] += errors
        for entry in pending:
            step = window.step_at(entry.created_at)
            self._pending.setdefault(entry.func_name, []).append(step)
            self.calls[step] += 1
            self.errors[step] += entry.error_occurred

    def of(self, name: str) -> tuple[int, ...]:
        """Those of one function; made as they are asked for, as few of a thousand functions are shown."""
        found = self._none[:]
        for part, steps in self._parts:
            for step, calls in zip(steps, part.calls.get(name, ()), strict=False):
                found[step] += calls
        for step in self._pending.get(name, ()):
            found[step] += 1
        return tuple(found)


def counted(pending: Iterable[Entry], since: datetime, until: datetime) -> dict[str, Totals]:
    """The totals of entries from one moment to before another, by function."""
    start, end = since.timestamp(), until.timestamp()
    found: dict[str, Totals] = {}
    for entry in pending:
        if start <= entry.created_at < end:
            count(found.setdefault(entry.func_name, Totals()), entry)
    return found


def within(window: Window, pending: Iterable[Entry]) -> list[Entry]:
    """The entries that are counted in a window."""
    first, end = window.starts[0], inf if window.end is None else window.end
    return [entry for entry in pending if first <= entry.created_at < end]
