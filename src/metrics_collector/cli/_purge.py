"""`purge`: delete what is older than asked for, or than the settings keep it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from rich.filesize import decimal as size

from metrics_collector._core.units import count, counted
from metrics_collector._errors import ConfigurationError, StoreUnavailableError
from metrics_collector._reading import reports
from metrics_collector._runtime import assembly
from metrics_collector._runtime.collector import collector
from metrics_collector.cli import _times
from metrics_collector.cli._reading import run as read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metrics_collector._reading.reports import Purged
    from metrics_collector._support.settings import Settings

# What can be purged, with the setting that tells how many days it is kept.
_SETTINGS: Final[Mapping[str, str]] = {
    "entries": "retention",
    "minutes": "retention_minute",
    "hours": "retention_hour",
    "days": "retention_day",
}


def run(given: Mapping[str, str | None], *, sure: bool) -> int:
    """Run the command; returns the exit status. If all that is `given` is `None`, the settings decide."""
    settings = collector.settings()
    asked = {kind: text for kind, text in given.items() if text is not None}

    def meant(now: datetime) -> dict[str, datetime]:
        found = {kind: _times.parse(text, now) for kind, text in asked.items()}
        return found or _of_settings(settings, now)

    moments = meant(datetime.now(UTC))
    if not moments:
        raise ConfigurationError(
            "nothing to delete: use --entries-older-than 30d or similar, or set METRICS_RETENTION"
        )
    if not asked or None in map(_times.date, asked.values()):
        moments = meant(_now())
    if not sure and not _confirmed(moments, assembly.database(settings).label):
        return 1
    _tell(read(reports.purge(**moments)))
    return 0


def _now() -> datetime:
    """From when an age counts back."""
    try:
        return read(reports.purge_time())
    except StoreUnavailableError as error:
        raise StoreUnavailableError(
            f"{error}; it takes the time of Redis, too, to be sure what is old: a date, such as "
            "--entries-older-than 2026-05-17, does without"
        ) from error


def _of_settings(settings: Settings, now: datetime) -> dict[str, datetime]:
    days = {kind: getattr(settings, name) for kind, name in _SETTINGS.items()}
    return {kind: now - timedelta(days=kept) for kind, kept in days.items() if kept is not None}


def _confirmed(moments: Mapping[str, datetime], database: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "standard input is not a terminal, so there is no way to confirm: use --yes to delete without asking"
        )
    sys.stderr.write(f"From {database} will be deleted:\n")
    for kind, moment in moments.items():
        what = "entries" if kind == "entries" else f"figures by {kind.removesuffix('s')}"
        sys.stderr.write(f"  {what} from before {_times.local(moment)} {_times.zone(moment)}\n")
    sys.stderr.write("Delete? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().casefold() in {"y", "yes"}


def _tell(purged: Purged) -> None:
    rollups = {"minute": purged.minutes, "hour": purged.hours, "day": purged.days}
    by = ", ".join(f"{count(number)} by {resolution}" for resolution, number in rollups.items())
    rejected = counted(purged.rejected, "rejected entry", "rejected entries")
    sys.stdout.write(
        f"deleted {counted(purged.entries, 'entry', 'entries')}, figures {by}, {rejected}; "
        f"freed {size(purged.freed_bytes)}\n"
    )
