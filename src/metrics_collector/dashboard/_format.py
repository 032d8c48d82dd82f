"""Figures as the pages show them, beside those of the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.filesize import decimal

from metrics_collector._core.units import count, counted, duration

if TYPE_CHECKING:
    from metrics_collector._core.figures import Kind

_UNITS: Final = {
    "share": "from 0 to 1",
    "seconds": "seconds",
    "quantile": "seconds",
    "sum": "seconds",
    "moment": "ISO 8601",
}
_AGES: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_FACTOR_FROM: Final = 10  # from ten times as much on, the factor says more than the percentage


class Change(NamedTuple):
    """What became of a figure since the period before."""

    text: str  # `+12 %`, `23 times`, `new`, `±0 %`
    direction: str  # "up", "down" or "same"


def change(now: float | None, before: float | None) -> Change | None:
    """From the period before to this one; `None` if there is nothing to compare."""
    if now is None or before is None or (not now and not before):
        return None
    if not before:
        return Change("new", "up")
    factor = now / before
    if factor >= _FACTOR_FROM:
        return Change(f"{factor:,.0f} times", "up")
    rounded = round((factor - 1) * 100)
    if not rounded:
        return Change("±0\N{NO-BREAK SPACE}%", "same")
    sign = "+" if rounded > 0 else "\N{MINUS SIGN}"
    return Change(f"{sign}{abs(rounded)}\N{NO-BREAK SPACE}%", "up" if rounded > 0 else "down")


def rate(per_second: float) -> str:
    """Calls in a second, or in a minute or an hour where they are rare: `12.3 /s`."""
    if not per_second:
        return "0 /s"
    for seconds, unit in ((1, "s"), (60, "min"), (3600, "h")):
        value = per_second * seconds
        if value >= 1 or unit == "h":
            return f"{_three_digits(value)} /{unit}"
    raise AssertionError


def long_duration(seconds: float) -> str:
    """A sum of times, which may be many hours: `35.8 h`."""
    for length, unit, least in ((86400, "d", 2 * 86400), (3600, "h", 2 * 3600), (60, "min", 600)):
        if seconds >= least:
            return f"{_three_digits(seconds / length)} {unit}"
    return duration(seconds)


def percent(share: float | None) -> str:
    """A share of one in percent, `0.42 %`; a dash for none."""
    if share is None:
        return "-"
    if not share:
        return "0\N{NO-BREAK SPACE}%"
    if share < 0.0001:  # noqa: PLR2004 - what two decimals can show
        return "<0.01\N{NO-BREAK SPACE}%"
    return f"{_three_digits(share * 100)}\N{NO-BREAK SPACE}%"


def size(number: int | None) -> str:
    """Bytes in their unit, as the command line has them; a dash for none."""
    return "-" if number is None else decimal(number)


def unit(kind: Kind) -> str:
    """What follows a figure's meaning where its unit is to be named."""
    return f" ({_UNITS[kind]})" if kind in _UNITS else ""


def ago(moment: datetime | str | None, now: datetime | None = None) -> str:
    """How long a moment is past: `12 s ago`."""
    if moment is None:
        return "never"
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    seconds = max(0.0, ((now or datetime.now(UTC)) - at).total_seconds())
    length, unit = next((a for a in _AGES if seconds >= a[0]), _AGES[-1])
    return f"{seconds // length:.0f} {unit} ago"


def utc(moment: datetime | str | None) -> str:
    """A moment to the second: `2026-11-26 14:03:22 UTC`."""
    if moment is None:
        return ""
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0  # noqa: PLR2004 - where digits run out
    return f"{value:,.{decimals}f}"


FILTERS: Final = (
    ago,
    change,
    count,
    counted,
    duration,
    long_duration,
    percent,
    rate,
    size,
    unit,
    utc,
)
"""What templates make of figures, by the names of the functions."""
