"""What several views show alike, as JSON has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metrics_collector._core.as_json import figures_as_json

if TYPE_CHECKING:
    from metrics_collector._core.models import FunctionMetrics
    from metrics_collector._reading.reports import Window


def figures(metrics: FunctionMetrics, seconds: float) -> dict[str, Any]:
    """The figures of one function, or of all, in a window that is so long."""
    return {**figures_as_json(metrics), "calls_per_second": metrics.call_count / seconds}


def compared(
    window: Window, now: FunctionMetrics | None, before: FunctionMetrics | None
) -> dict[str, Any]:
    """What a change is made of: the figures of the part that is compared, and those of the period before."""
    if window.comparison is None or now is None or before is None:
        return {"compared": None, "before": None}
    seconds = (window.comparison.until - window.comparison.since).total_seconds()
    return {"compared": figures(now, seconds), "before": figures(before, seconds)}
