"""The errors of a window, by type and function."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.as_json import as_json
from metrics_collector._reading import reports
from metrics_collector.dashboard import _table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from metrics_collector._reading.reports import ErrorReport, ErrorRow
    from metrics_collector.dashboard._state import State

_TYPES: Final = 5  # that have a colour of their own (`OF_TYPES` in charts.js); the others share one

_COLUMNS: Final[Mapping[str, Callable[[ErrorRow], Any]]] = {
    "error_type": lambda row: row.error_type.casefold(),
    "func_name": lambda row: row.func_name.casefold(),
    "count": lambda row: row.count,
    "first_seen_at": lambda row: row.first_seen_at,
    "last_seen_at": lambda row: row.last_seen_at,
}


async def build(state: State) -> dict[str, Any]:
    """What the page of errors shows."""
    report = await reports.errors(state.begin, state.until)
    return await asyncio.to_thread(_show, report, state)


def _show(report: ErrorReport, state: State) -> dict[str, Any]:
    window, rows = report.window, report.rows
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.error_type] += row.count
    types = sorted(counts, key=lambda kind: (-counts[kind], kind))[:_TYPES]
    by_type = {kind: [0] * len(window.starts) for kind in types}
    others = [0] * len(window.starts)
    for row in rows:
        sums = by_type.get(row.error_type, others)
        for step, number in enumerate(row.counts):
            sums[step] += number
    return {
        "window": window.as_dict(),
        "totals": {
            "error_count": counts.total(),
            "type_count": len(counts),
            "function_count": len({row.func_name for row in rows}),
        },
        "types": [
            {"error_type": kind, "count": counts[kind], "counts": by_type[kind]} for kind in types
        ],
        "other_types": {
            "type_count": len(counts) - len(types),
            "count": sum(others),
            "counts": others,
        },
        "table": _table.page(
            rows,
            state,
            columns=_COLUMNS,
            names=lambda row: (row.error_type, row.func_name),
            usual="last_seen_at",
            show=as_json,
        ),
        **report.missing.as_dict(),
    }
