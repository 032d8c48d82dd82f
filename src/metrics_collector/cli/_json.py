"""Figures as JSON, in names that stay: those of the attributes of `FunctionMetrics`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from metrics_collector._core.models import FunctionMetrics
    from metrics_collector._reading.reports import Window


def write(value: object) -> None:
    """Write a value to standard output.

    In ASCII, so that a terminal obeys nothing that stands in a name.
    """
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def window(one: Window) -> dict[str, Any]:
    """From when to when, and the seconds of a step."""
    return {"since": moment(one.since), "until": moment(one.until), "step": one.step}


def figures(one: FunctionMetrics) -> dict[str, Any]:
    """The figures of a function."""
    return {
        "func_name": one.func_name,
        "call_count": one.call_count,
        "error_count": one.error_count,
        "cancelled_count": one.cancelled_count,
        "total_execution_time": one.total_execution_time,
        "average_execution_time": one.average_execution_time,
        "min_execution_time": one.min_execution_time,
        "max_execution_time": one.max_execution_time,
        "p50": one.p50,
        "p95": one.p95,
        "p99": one.p99,
        "error_types": dict(one.error_types),
        "last_called_at": None if one.last_called_at is None else moment(one.last_called_at),
    }


def moment(value: datetime) -> str:
    """A UTC datetime in ISO 8601."""
    return value.isoformat().replace("+00:00", "Z")
