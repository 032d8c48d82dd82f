"""Which functions are shown, and in which order."""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from metrics_collector._core.models import FunctionMetrics

Order = Literal["total", "calls", "errors", "average", "p50", "p95", "p99", "name"]
ORDERS: Final[tuple[Order, ...]] = get_args(Order)

_VALUES: Final[Mapping[Order, Callable[[FunctionMetrics], float | None]]] = {
    "total": lambda one: one.total_execution_time,
    "calls": lambda one: one.call_count,
    "errors": lambda one: one.error_count,
    "average": lambda one: one.average_execution_time,
    "p50": lambda one: one.p50,
    "p95": lambda one: one.p95,
    "p99": lambda one: one.p99,
}


def rank(one: FunctionMetrics, order: Order) -> tuple[float, str]:
    """What to sort by: the highest comes first, and among equals the name decides; `name`: from A to Z."""
    value = _VALUES.get(order)
    return -((value and value(one)) or 0), one.func_name


def fits(func_name: str, wanted: str) -> bool:
    """Whether `wanted` is a part of a name, whatever the case; with `*` or `?` in it: a pattern of the whole name."""
    name, pattern = func_name.casefold(), wanted.casefold()
    if "*" in pattern or "?" in pattern:
        return fnmatchcase(name, pattern.replace("[", "[[]"))
    return pattern in name


def near(wanted: str, names: Iterable[str]) -> str:
    """What somebody may have meant, as an end of a sentence; empty if nothing is near."""
    shorts = {short.rpartition(".")[2].casefold(): short for short in names}
    found = difflib.get_close_matches(wanted.casefold(), shorts, n=3)
    return f"; close: {', '.join(repr(shorts[one]) for one in found)}" if found else ""
