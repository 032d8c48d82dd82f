"""Deleting old entries and rollups by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from metrics_collector._core import windows
from metrics_collector._core.pipeline_types import Purged
from metrics_collector._errors import ConfigurationError
from metrics_collector._runtime import assembly
from metrics_collector._runtime.collector import collector
from metrics_collector._saving.purge import due
from metrics_collector._storage.reopening import reopening

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metrics_collector._core.windows import Moment
    from metrics_collector._storage.base import Store


async def purge(
    *,
    entries: Moment = None,
    minutes: Moment = None,
    hours: Moment = None,
    days: Moment = None,
) -> Purged:
    """Delete entries, and the rollups of minutes, hours and days, from before some moments; totals stay.

    In small transactions, so that workers go on saving meanwhile. Where minutes are gone, windows and histories go by
    hours, and by days where hours are; so minutes go as far as hours at least, and hours as far as days.

    Args:
        entries, minutes, hours, days: as `list_metrics` takes them; `None`: all are kept. Without any, the settings
            say what is kept.

    Raises:
        ConfigurationError: a time cannot be understood or lies in the future, or a setting is wrong.
        StoreUnavailableError: the database cannot be used.
        IncompatibleStoreError: it is too new, or not ours.
    """
    now = datetime.now(UTC)
    given = {"entry": entries, "minute": minutes, "hour": hours, "day": days}
    moments = {name: windows.moment(value, now) for name, value in given.items()}
    before = {name: when.timestamp() for name, when in moments.items() if when is not None}
    if late := [str(given[name]) for name, when in moments.items() if when and when > now]:
        raise ConfigurationError(f"cannot purge up to {late[0]}: that lies in the future")
    settings = collector.settings()
    if not before:
        before = due(assembly.kept(settings), now.timestamp())
    return await _purge(assembly.database(settings), before, now.timestamp())


@reopening
async def _purge(store: Store, before: Mapping[str, float], now: float) -> Purged:
    async with store.reading() as reader:
        if reader is None:
            return Purged(0, 0, 0, 0, 0, 0)
    async with store.writing() as writer:
        return await writer.purge(before, now)
