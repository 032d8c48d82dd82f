"""What is no longer to be kept in the database."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

from metrics_collector._storage.reopening import reopening

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from metrics_collector._core.pipeline_types import Purged

_DAY: Final = 86400.0


class OpenDatabase(Protocol):
    """A database, open for writing."""

    async def purge(self, before: Mapping[str, float], now: float) -> Purged: ...


class Sink(Protocol):
    """The database, as a purge needs it."""

    def writing(self) -> AbstractAsyncContextManager[OpenDatabase]: ...


class Purge:
    """Deletes what is older than it is to be kept.

    Args:
        sink: the database.
        keep: "entry" or a resolution → days; what is missing or `None` is kept for ever.
        wall: UTC epoch seconds.
    """

    def __init__(
        self,
        sink: Sink,
        keep: Mapping[str, float | None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._sink = sink
        self._seconds = {name: days * _DAY for name, days in keep.items() if days is not None}
        self._wall = wall

    def due(self) -> dict[str, float]:
        """Before when (UTC epoch seconds) each is no longer to be kept; what is kept for ever is missing."""
        now = self._wall()
        return {name: now - kept for name, kept in self._seconds.items()}

    @reopening
    async def run(self) -> None:
        """Delete what is due.

        Raises:
            StoreUnavailableError, IncompatibleStoreError: the database cannot be used.
        """
        if before := self.due():
            async with self._sink.writing() as database:
                await database.purge(before, self._wall())
