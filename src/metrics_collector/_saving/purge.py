"""The purge: deletes from the store what is no longer to be kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from metrics_collector._storage.reopening import reopening

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from metrics_collector._storage.base import Store

_DAY: Final = 86400.0


class Purge:
    """Deletes what is older than it is to be kept.

    Args:
        store: to delete from.
        keep: "entry" or a resolution → days; what is missing or `None` is kept for ever.
        wall: UTC epoch seconds.
    """

    def __init__(
        self,
        store: Store,
        keep: Mapping[str, float | None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._seconds = {name: days * _DAY for name, days in keep.items() if days is not None}
        self._wall = wall

    def due(self) -> dict[str, float]:
        """The moments (UTC epoch seconds) before which nothing is kept any more, for what is not kept for ever."""
        now = self._wall()
        return {name: now - kept for name, kept in self._seconds.items()}

    @reopening
    async def run(self) -> None:
        """Delete what is due.

        Raises:
            StoreUnavailableError: the database cannot be used.
            IncompatibleStoreError: it is too new, or not ours.
        """
        if before := self.due():
            async with self._store.writing() as writer:
                await writer.purge(before, self._wall())
