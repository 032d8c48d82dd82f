"""The overview: all functions in a window."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._reading import reports
from metrics_collector.dashboard import _shown, _table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from metrics_collector._reading.reports import FunctionRow, Overview
    from metrics_collector.dashboard._state import State

_TOP: Final = 10  # functions in the chart

_COLUMNS: Final[Mapping[str, Callable[[FunctionRow], Any]]] = {
    "name": lambda row: row.metrics.func_name.casefold(),
    "calls": lambda row: row.metrics.call_count,
    "errors": lambda row: row.metrics.error_count,
    "error_rate": lambda row: _shown.share(row.metrics.error_count, row.metrics.call_count),
    "average": lambda row: row.metrics.average_execution_time,
    "p50": lambda row: row.metrics.p50,
    "p95": lambda row: row.metrics.p95,
    "p99": lambda row: row.metrics.p99,
    "total_time": lambda row: row.metrics.total_execution_time,
}


async def build(state: State) -> dict[str, Any]:
    """What the overview shows.

    Raises:
        As `_reports.overview`, and ConfigurationError for a column that there is not.
    """
    report = await reports.overview(state.begin, state.until)
    # The percentiles of a thousand functions take a while, in which the loop shall serve others.
    return await asyncio.to_thread(_show, report, state)


def _show(report: Overview, state: State) -> dict[str, Any]:
    seconds = report.window.seconds
    whole = report.total.total_execution_time

    def row(one: FunctionRow) -> dict[str, Any]:
        return {
            "name": one.metrics.func_name,
            **_shown.figures(one.metrics, seconds),
            "share": _shown.share(one.metrics.total_execution_time, whole),
            "before": {
                "calls": one.calls_before,
                "errors": one.errors_before,
                "error_rate": _shown.share(one.errors_before, one.calls_before),
                "average": _shown.share(one.time_before, one.calls_before),
                "total_time": one.time_before,
            },
            "calls_by_step": list(one.calls),
        }

    return {
        "window": _shown.window(report.window),
        "totals": {
            "functions": len(report.rows),
            **_shown.figures(report.total, seconds),
            "before": {
                "functions": report.functions_before,
                **_shown.figures(report.total_before, seconds),
            },
        },
        "by_step": {
            "calls": _sums((one.calls for one in report.rows), len(report.window.starts)),
            "errors": _sums((one.errors for one in report.rows), len(report.window.starts)),
        },
        "top": [
            {
                "name": one.metrics.func_name,
                "total_time": one.metrics.total_execution_time,
                "share": _shown.share(one.metrics.total_execution_time, whole),
            }
            for one in report.rows[:_TOP]
        ],
        "table": _table.page(
            report.rows,
            state,
            columns=_COLUMNS,
            names=lambda one: (one.metrics.func_name,),
            usual="total_time",
            show=row,
        ),
        "left_out": report.left_out,
    }


def _sums(series: Iterable[Sequence[int]], steps: int) -> list[int]:
    """The sum of all series in each step."""
    return [sum(step) for step in zip([0] * steps, *series, strict=True)]
