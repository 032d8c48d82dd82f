"""What several views show alike, as JSON has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from metrics_collector._core.models import FunctionMetrics
    from metrics_collector._reading.reports import ErrorRow, Window


def moment(at: datetime | None) -> str | None:
    """ISO 8601, in UTC."""
    return None if at is None else at.isoformat(timespec="seconds")


def window(one: Window) -> dict[str, Any]:
    """A window; the steps are not listed, since each begins `step` seconds after the one before."""
    return {
        "since": moment(one.since),
        "until": moment(one.until),
        "seconds": one.seconds,
        "step": one.step,
        "starts": list(one.starts),
        "before": moment(one.before),
    }


def passed(one: Window, start: datetime) -> float:
    """How many seconds of the step that begins there are over; at least a tenth, as the first few say little."""
    return max(one.step / 10, min(one.step, (one.until - start).total_seconds()))


def share(part: float, whole: float) -> float | None:
    """A share of one; `None` of nothing."""
    return part / whole if whole else None


def figures(metrics: FunctionMetrics, seconds: float) -> dict[str, Any]:
    """The figures of one function, or of all, in a window that is so long."""
    return {
        "calls": metrics.call_count,
        "calls_per_second": metrics.call_count / seconds,
        "errors": metrics.error_count,
        "error_rate": share(metrics.error_count, metrics.call_count),
        "cancelled": metrics.cancelled_count,
        "total_time": metrics.total_execution_time,
        "average": metrics.average_execution_time,
        "min": metrics.min_execution_time,
        "max": metrics.max_execution_time,
        "p50": metrics.p50,
        "p95": metrics.p95,
        "p99": metrics.p99,
        "last_called_at": moment(metrics.last_called_at),
    }


def error(row: ErrorRow) -> dict[str, Any]:
    """A type of error of one function."""
    return {
        "name": row.func_name,
        "type": row.error_type,
        "count": row.count,
        "first_seen_at": moment(row.first_seen_at),
        "last_seen_at": moment(row.last_seen_at),
        "by_step": list(row.counts),
    }
