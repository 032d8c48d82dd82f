"""Figures as people read them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_DIGITS: Final = 3  # percentiles are within 1.1 %, so more would say nothing


def duration(seconds: float | None, *, space: str = " ") -> str:
    """A time in its unit with three digits, `12.3 ms`; a dash for none.

    Args:
        seconds: not negative.
        space: between number and unit.
    """
    if seconds is None:
        return "-"
    rounded = float(f"{seconds:.{_DIGITS}g}")  # first: what is 1,000 µs then is a millisecond
    scale, unit = next((u for u in _UNITS if rounded >= u[0]), _UNITS[-1])
    value = rounded / scale
    decimals = sum(value < limit for limit in (9.995, 99.95)) if rounded else 0
    return f"{value:,.{decimals}f}{space}{unit}"


def count(number: int) -> str:
    """A whole number with its thousands set apart."""
    return f"{number:,}"


def counted(number: int, singular: str, plural: str) -> str:
    """A count with its noun: `1 entry`, `2,500 entries`."""
    return f"{count(number)} {singular if number == 1 else plural}"
