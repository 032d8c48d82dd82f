"""The purge: deletes from the store what is no longer to be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._storage.reopening import reopening

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from metrics_collector._redis.clocks import Clocks
    from metrics_collector._storage.base import Store

_DAY: Final = 86400.0


class Purge:
    """Deletes what is older than it is to be kept.

    Args:
        store: to delete from.
        keep: as `due` takes it.
        clocks: of this process and of Redis.
    """

    def __init__(
        self,
        store: Store,
        keep: Mapping[str, float | None],
        clocks: Callable[[], Awaitable[Clocks]],
    ) -> None:
        self._store = store
        self._keep = keep
        self._clocks = clocks

    @reopening
    async def run(self) -> None:
        """Delete what is due.

        Raises:
            StoreUnavailableError: the database or Redis cannot be used, or it is not sure what time it is.
            IncompatibleStoreError: the database is too new, or not ours.
        """
        if due(self._keep, 0.0):
            async with self._store.writing() as writer:
                clocks = await self._clocks()
                if clocks.doubt is not None:
                    raise StoreUnavailableError(clocks.doubt)
                now = clocks.earlier
                await writer.purge(due(self._keep, now), now)


def due(keep: Mapping[str, float | None], now: float) -> dict[str, float]:
    """The moments (UTC epoch seconds) before which nothing is kept any more, for what is not kept for ever.

    Args:
        keep: "entry" or a resolution → days; what is missing or `None` is kept for ever.
        now: UTC epoch seconds.
    """
    return {name: now - days * _DAY for name, days in keep.items() if days is not None}
