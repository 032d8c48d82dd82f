"""What several views show alike, as JSON has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metrics_collector._core.as_json import figures_as_json

if TYPE_CHECKING:
    from datetime import datetime

    from metrics_collector._core.models import FunctionMetrics
    from metrics_collector._reading.reports import Window


def passed(one: Window, start: datetime) -> float:
    """How many seconds of the step that begins there are over; at least a tenth, as the first few say little."""
    return max(one.step / 10, min(one.step, (one.until - start).total_seconds()))


def figures(metrics: FunctionMetrics, seconds: float) -> dict[str, Any]:
    """The figures of one function, or of all, in a window that is so long."""
    return {**figures_as_json(metrics), "calls_per_second": metrics.call_count / seconds}
