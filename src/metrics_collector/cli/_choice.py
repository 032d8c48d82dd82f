"""Which functions are shown, and in which order."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from metrics_collector._core.figures import COLUMNS, TOTAL

if TYPE_CHECKING:
    from metrics_collector._core.models import FunctionMetrics

_FIGURES: Final = {figure.label: figure for figure in (TOTAL, *COLUMNS)}
ORDERS: Final = (*_FIGURES, "name")


def rank(one: FunctionMetrics, order: str) -> tuple[float, str]:
    """What to sort by: the highest comes first, and among equals the name decides; `name`: from A to Z."""
    figure = _FIGURES.get(order)
    return -((figure and figure.of(one)) or 0), one.func_name


def fits(func_name: str, wanted: str) -> bool:
    """Whether `wanted` is a part of a name, whatever the case; with `*` or `?` in it: a pattern of the whole name."""
    name, pattern = func_name.casefold(), wanted.casefold()
    if "*" in pattern or "?" in pattern:
        return fnmatchcase(name, pattern.replace("[", "[[]"))
    return pattern in name
