"""One function in a window."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.as_json import as_json, iso
from metrics_collector._reading import reports
from metrics_collector.dashboard import _buckets, _shown

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from metrics_collector._reading.reports import FunctionReport
    from metrics_collector.dashboard._state import State

_HEATMAP: Final = 2  # buckets in a doubling of the time: what a row is tall enough for
_DISTRIBUTION: Final = 8


async def build(name: str, state: State) -> dict[str, Any]:
    """What the page of a function shows; `name` as `reports.function` takes it."""
    report = await reports.function(name, state.begin, state.until)
    return await asyncio.to_thread(_show, report)


def _show(report: FunctionReport) -> dict[str, Any]:
    window = report.window
    lengths = dict(zip(map(float, window.starts), window.lengths, strict=True))
    return {
        "func_name": report.func_name,
        "window": window.as_dict(),
        "totals": {
            **_shown.figures(report.metrics, window.seconds),
            **_shown.compared(window, report.compared, report.before),
        },
        "points": [
            {
                "start": iso(point.start),
                "resolution": point.resolution,
                **_shown.figures(point, lengths[point.start.timestamp()]),
            }
            for point in report.points
        ],
        "heatmap": _heatmap(report),
        "distribution": _distribution(report.metrics.histogram),
        "errors": as_json(report.errors),
        "slowest": as_json(report.slowest),
        "entries_kept": report.entries_kept,
        **report.missing.as_dict(),
        "sql": report.sql,
    }


def _heatmap(report: FunctionReport) -> dict[str, Any]:
    """Calls by step and time taken: `bounds` has one element more than a step of `counts` has."""
    columns = {
        point.start.timestamp(): _buckets.coarse(point.histogram, _HEATMAP)
        for point in report.points
    }
    bounds, buckets = _range(set().union(*columns.values()), _HEATMAP)
    empty: Counter[int | None] = _buckets.coarse({}, _HEATMAP)
    return {
        "bounds": bounds,
        "counts": [
            [columns.get(float(start), empty)[bucket] for bucket in buckets]
            for start in report.window.starts
        ],
    }


def _distribution(histogram: Mapping[str, int]) -> dict[str, Any]:
    """Calls by time taken: `bounds` has one element more than `counts`."""
    counts = _buckets.coarse(histogram, _DISTRIBUTION)
    bounds, buckets = _range(set(counts), _DISTRIBUTION)
    return {"bounds": bounds, "counts": [counts[bucket] for bucket in buckets]}


def _range(buckets: set[int | None], per_doubling: int) -> tuple[list[float], list[int | None]]:
    """All buckets from the lowest to the highest, the empty ones between them included, and their bounds."""
    timed = [bucket for bucket in buckets if bucket is not None]
    if not timed:
        return ([0.0, 0.0], [None]) if buckets else ([], [])
    between: list[int | None] = [*range(min(timed), max(timed) + 1)]
    bounds = [_buckets.start(b, per_doubling) for b in range(min(timed), max(timed) + 2)]
    return ([0.0, *bounds], [None, *between]) if None in buckets else (bounds, between)
