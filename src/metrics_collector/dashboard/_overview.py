"""The overview: all functions in a window."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.figures import FIGURES, TOTAL
from metrics_collector._reading import reports
from metrics_collector.dashboard import _shown, _table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from metrics_collector._core.figures import Figure
    from metrics_collector._reading.reports import FunctionRow, Overview
    from metrics_collector.dashboard._state import State

_TOP: Final = 10  # functions in the chart


def _value(figure: Figure, row: FunctionRow) -> Any:
    return figure.of(row.metrics)


_COLUMNS: Final[Mapping[str, Callable[[FunctionRow], Any]]] = {
    "func_name": lambda row: row.func_name.casefold(),
    **{one.name: partial(_value, one) for one in FIGURES if one.kind != "types"},
    TOTAL.name: lambda row: row.total_execution_time,
}


async def build(state: State) -> dict[str, Any]:
    """What the overview shows."""
    report = await reports.overview(state.begin, state.until)
    # The percentiles of a thousand functions take a while, in which the loop shall serve others.
    return await asyncio.to_thread(_show, report, state)


def _show(report: Overview, state: State) -> dict[str, Any]:
    window = report.window
    whole = report.total.total_execution_time

    def share(one: FunctionRow) -> float | None:
        return one.total_execution_time / whole if whole else None

    def row(one: FunctionRow) -> dict[str, Any]:
        return {
            "func_name": one.func_name,
            **_shown.figures(one.metrics, window.seconds),
            "share": share(one),
            **_shown.compared(window, one.compared, one.before),
            "by_step": {"call_count": one.calls},
        }

    return {
        "window": window.as_dict(),
        "totals": {
            "function_count": len(report.rows),
            **_shown.figures(report.total, window.seconds),
            **_together(report),
        },
        "by_step": {
            "call_count": report.calls,
            "error_count": report.errors,
        },
        "top": [
            {
                "func_name": one.func_name,
                TOTAL.name: one.total_execution_time,
                "share": share(one),
            }
            for one in report.rows[:_TOP]
        ],
        "table": _table.page(
            report.rows,
            state,
            columns=_COLUMNS,
            names=lambda one: (one.func_name,),
            usual=TOTAL.name,
            show=row,
        ),
        **report.missing.as_dict(),
    }


def _together(report: Overview) -> dict[str, Any]:
    """All functions in the times that are compared."""
    now, before = report.compared, report.before
    if now is None or before is None:
        return _shown.compared(report.window, None, None)
    found = _shown.compared(report.window, now.metrics, before.metrics)
    found["compared"]["function_count"] = now.functions
    found["before"]["function_count"] = before.functions
    return found
