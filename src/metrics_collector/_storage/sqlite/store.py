"""The database as the other parts see it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from metrics_collector._storage.sqlite import deletion, maintenance, reads
from metrics_collector._storage.sqlite import save as saving
from metrics_collector._storage.sqlite.session import Session, open_reading, open_writing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from metrics_collector._core.intervals import Intervals
    from metrics_collector._core.pipeline_types import Numbered, Purged, Rollup, Saved
    from metrics_collector._core.rollup_ranges import Tile
    from metrics_collector._core.totals import Totals
    from metrics_collector._storage.sqlite.session import Steps

T = TypeVar("T")


class SQLiteStore:
    """A database file, opened for the time of a flush or a read.

    Args:
        path: of the file.
        plain: without threads, blocking the caller: for the exit of the interpreter, which can start none.
    """

    def __init__(self, path: str, *, plain: bool = False) -> None:
        self.path = path
        self._plain = plain

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Writer]:
        """Open the file, making it and its tables on first use.

        Raises:
            StoreUnavailableError: it cannot be opened or written.
            IncompatibleStoreError: no database, another program's, or newer than this code.
        """
        async with open_writing(self.path, plain=self._plain) as session:
            yield Writer(session)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader | None]:
        """Open the file read-only, one consistent state of it; `None` if there is nothing yet. Never makes a file.

        Raises:
            StoreUnavailableError: it cannot be opened.
            IncompatibleStoreError: as `writing`.
        """
        async with open_reading(self.path, plain=self._plain) as session:
            if session is None:
                yield None
            else:
                await session.run(reads.begin())
                yield Reader(session)


class Reader:
    """A database open for reading. Every method may raise `StoreUnavailableError`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def state(self) -> tuple[str, int]:
        """The database's id and the number of its last commit."""
        return await self._session.run(maintenance.state())

    async def all_totals(self) -> dict[str, Numbered]:
        """The totals of every function."""
        return await self._session.run(reads.all_totals())

    async def function_names(self) -> list[str]:
        """The names of all functions that the database has entries of."""
        return await self._session.run(reads.function_names())

    async def totals_of(self, func_names: Iterable[str]) -> dict[str, Numbered]:
        """The totals of those of the functions that the database knows."""
        return await self._session.run(reads.totals_of(func_names))

    async def purged(self) -> dict[str, int]:
        """Before when (UTC epoch seconds) each resolution, and "entry", is no longer kept."""
        return await self._session.run(reads.purged())

    async def rollups(self, tiles: Iterable[Tile], func_name: str | None) -> list[Rollup]:
        """The rollups in some times, of one function or (`None`) of all."""
        return await self._session.run(reads.rollups(tiles, func_name))

    async def sums(self, tiles: Iterable[Tile], func_name: str | None) -> dict[str, Totals]:
        """The totals over some times, by function; of one function or (`None`) of all."""
        return await self._session.run(reads.sums(tiles, func_name))

    async def ledger(self, producers: Iterable[str]) -> dict[str, Intervals]:
        """Which numbers of the producers the database has."""
        return await self._session.run(reads.ledger(producers))

    async def work(self, work: Callable[[], T]) -> T:
        """Do in a thread, where there may be one, what would hold up the loop: with rows, after a read."""
        return await self.run(reads.work(work))

    async def run(self, steps: Steps[T]) -> T:
        """Read what the steps of `_reports` ask."""
        return await self._session.run(steps)


class Writer:
    """A database open for writing. Every method may raise `StoreUnavailableError`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def save(
        self, token: str, length: int, elements: Sequence[bytes], now: float
    ) -> Saved | None:
        """Save the head of a claim, exactly once, and have it on the disk.

        Args:
            token: of the claim.
            length: of the claim when its head was read.
            elements: the head, as it stands in Redis.
            now: UTC epoch seconds.

        Returns:
            What was done; `None` if the file was deleted or replaced meanwhile, so that the commit went nowhere.
        """
        saved = await self._session.run(saving.save(token, length, elements, now))
        return saved if await self._session.unmoved() else None

    async def state(self) -> tuple[str, int]:
        """The database's id and the number of its last commit."""
        return await self._session.run(maintenance.state())

    async def function_names(self) -> list[str]:
        """The names of all functions that the database has entries of."""
        return await self._session.run(reads.function_names())

    async def totals_of(self, func_names: Iterable[str]) -> dict[str, Numbered]:
        """The totals of those of the functions that the database knows."""
        return await self._session.run(reads.totals_of(func_names))

    async def draw_new_db(self, old: str) -> str:
        """Give the database another id than `old`, if it still has that, and return the one it has then."""
        return await self._session.run(maintenance.draw_new_db(old))

    async def forget_old_ledger(self, before: float) -> None:
        """Delete what the ledger has not used since `before` (UTC epoch seconds)."""
        await self._session.run(maintenance.forget_old_ledger(before))

    async def purge(self, before: Mapping[str, float], now: float) -> Purged:
        """Delete what is from before some moments ("entry" or a resolution → UTC epoch seconds); totals stay.

        What is from later than `now` stays in any case.
        """
        return await self._session.run(deletion.purge(before, now))
