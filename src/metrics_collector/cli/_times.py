"""Moments: as the command line takes them, and as it shows them."""

from __future__ import annotations

from datetime import UTC, datetime

from metrics_collector._core import windows
from metrics_collector._errors import ConfigurationError


def parse(text: str, now: datetime) -> datetime:
    """The moment that a text means: a time back from now such as `24h`, or a date or time of ISO 8601.

    Without a zone it is local time, and a date alone is its midnight.

    Raises:
        ConfigurationError: it is none of these.
    """
    if (found := date(text)) is not None:
        return found
    try:
        found = windows.moment(text, now)
    except ConfigurationError:
        found = None
    if found is None:
        raise ConfigurationError(
            f"invalid time {text!r}: use one back from now, such as 30s, 15m, 24h, 7d or 2w, "
            "or a date and time, such as 2026-05-17, 2026-05-17T09:30 (local time) or 2026-05-17T09:30Z"
        )
    return found


def date(text: str) -> datetime | None:
    """The moment that a date or time of ISO 8601 means, as `parse` reads it; `None`: it is none."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def window(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """Both ends of a window: `None` is the beginning and now.

    Raises:
        ConfigurationError: there is nothing between them.
    """
    now = datetime.now(UTC)
    start = None if since is None else parse(since, now)
    end = None if until is None else parse(until, now)
    if start is not None and start >= (end or now):
        limit, remedy = ("now", "") if end is None else (f"--until {until}", " or a later --until")
        raise ConfigurationError(
            f"--since {since} is not before {limit}: give an earlier --since{remedy}"
        )
    return start, end


def local(moment: datetime) -> str:
    """A moment in the time of this machine's zone, to the minute."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def counted(since: datetime, until: datetime) -> str:
    """Which time it is that was counted."""
    return f"{local(since)} to {local(until)} ({zone(until)})"


def zone(moment: datetime) -> str:
    """What this machine calls its zone at a moment, such as `CET`."""
    return moment.astimezone().tzname() or "local"


def span(seconds: float) -> str:
    """A length of time to about two digits, as `--since` takes it: `45s`, `90m`, `26h`, `12d`."""
    for length, name in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * length or (seconds >= length and not seconds % length):
            return f"{round(seconds / length)}{name}"
    return f"{round(seconds)}s"
