"""Deleting old entries and rollups by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from metrics_collector._core.pipeline_types import Purged
from metrics_collector._errors import ConfigurationError, StoreUnavailableError
from metrics_collector._redis import clocks
from metrics_collector._runtime import assembly
from metrics_collector._runtime.collector import collector
from metrics_collector._storage.reopening import reopening

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metrics_collector._storage.base import Store


async def purge_time() -> datetime:
    """The time of day from which an age counts back: of this machine's clock and that of Redis, the one that is behind.

    Raises:
        StoreUnavailableError: Redis cannot be asked, or the clocks differ, so that it is not sure what is too old.
        ConfigurationError: a setting is wrong.
    """
    settings = collector.settings()
    if assembly.is_embedded(settings):
        return datetime.now(UTC)
    async with assembly.redis_for_a_while(settings) as redis:
        both = await clocks.look(redis)
    if both.doubt is not None:
        raise StoreUnavailableError(both.doubt)
    return datetime.fromtimestamp(both.earlier, UTC)


async def purge(
    *,
    entries: datetime | None = None,
    minutes: datetime | None = None,
    hours: datetime | None = None,
    days: datetime | None = None,
) -> Purged:
    """Delete entries, and the rollups of minutes, hours and days, from before some moments; totals stay.

    In small transactions, so that workers go on saving meanwhile. Where minutes are gone, windows and histories go by
    hours, and by days where hours are; so minutes go as far as hours at least, and hours as far as days.

    Args:
        entries, minutes, hours, days: aware datetimes; `None`: all are kept.

    Raises:
        ConfigurationError: a time lies in the future, or a setting is wrong.
        StoreUnavailableError: the database cannot be used.
        IncompatibleStoreError: it is too new, or not ours.
    """
    now = datetime.now(UTC)
    given = {"entry": entries, "minute": minutes, "hour": hours, "day": days}
    moments = [(name, moment) for name, moment in given.items() if moment is not None]
    if late := [moment for _, moment in moments if moment > now]:
        raise ConfigurationError(f"cannot purge up to {late[0]}: that lies in the future")
    store = assembly.database(collector.settings())
    return await _purge(store, {name: m.timestamp() for name, m in moments}, now.timestamp())


@reopening
async def _purge(store: Store, before: Mapping[str, float], now: float) -> Purged:
    async with store.reading() as reader:
        if reader is None:
            return Purged(0, 0, 0, 0, 0, 0)
    async with store.writing() as writer:
        return await writer.purge(before, now)
