"""Points in time as callers give them: `since` and `until`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from metrics_collector._errors import ConfigurationError

Moment: TypeAlias = datetime | timedelta | str | None
"""An aware datetime, a timedelta or a text such as "15m" back from now, or None: no limit."""

_UNITS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_TEXT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw])")
_ALLOWED: Final = (
    "allowed are an aware datetime, a timedelta of 0 or more back from now, and a text that gives "
    "a number above 0 and its unit, back from now: '30s', '15m', '1.5h', '7d', '2w'"
)


def moment(value: Moment, now: datetime) -> datetime | None:
    """The point in time that a value means, as a datetime in UTC; None stays None.

    Args:
        value: see `Moment`.
        now: an aware datetime.

    Raises:
        ConfigurationError: a naive datetime, a negative timedelta, another text or type, or a time beyond what a
            datetime can hold (the years 1 to 9999); the message names the value and what is allowed.
    """
    if value is None:
        return None
    try:
        if isinstance(value, datetime):
            return _in_utc(value)
        return now.astimezone(UTC) - _distance(value)
    except OverflowError:
        raise ConfigurationError(
            f"{value!r} lies outside of the years 1 to 9999; {_ALLOWED}"
        ) from None


def span(since: Moment, until: Moment, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Both points in time, as `moment` gives them: None is the beginning, and no end.

    What a clock that is ahead has put after `now` counts like all else.

    Raises:
        ConfigurationError: as `moment`, or `since` is not before `until`.
    """
    start, end = moment(since, now), moment(until, now)
    if start is not None and start >= (end or now):
        last = _in_words(end) if end else f"now, {_in_words(now)}"
        raise ConfigurationError(
            f"the window has to begin before it ends, but would be from {_in_words(start)} to {last}: "
            "give an earlier since or a later until"
        )
    return start, end


def _in_words(value: datetime) -> str:
    return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(' ', 'seconds')} UTC"


def _in_utc(value: datetime) -> datetime:
    if value.utcoffset() is None:
        raise ConfigurationError(
            f"{value!r} has no time zone: give an aware datetime, such as datetime.now(UTC) or "
            "value.replace(tzinfo=UTC)"
        )
    return value.astimezone(UTC)


def _distance(value: object) -> timedelta:
    """How far back from now a timedelta or a text means."""
    if isinstance(value, timedelta) and value >= timedelta(0):
        return value
    if isinstance(value, str) and (match := _TEXT.fullmatch(value)):
        distance = float(match[1]) * _UNITS[match[2]]
        if distance:
            return distance
    raise ConfigurationError(f"{value!r} is not a point in time; {_ALLOWED}")
