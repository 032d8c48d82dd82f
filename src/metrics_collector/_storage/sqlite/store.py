"""SQLite as a store: the port's operations, each as the steps that this folder has for it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from metrics_collector._errors import IncompatibleStoreError, StoreUnavailableError
from metrics_collector._storage.base import StoreDescription
from metrics_collector._storage.reopening import reopening
from metrics_collector._storage.sqlite import (
    database_file,
    deletion,
    maintenance,
    reads,
    report_queries,
)
from metrics_collector._storage.sqlite import save as saving
from metrics_collector._storage.sqlite.examples import Examples
from metrics_collector._storage.sqlite.session import Session, open_reading, open_writing
from metrics_collector._support import process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from metrics_collector._core.intervals import Intervals
    from metrics_collector._core.pipeline_types import Numbered, Purged, Rollup, Saved
    from metrics_collector._core.rollup_ranges import Tile
    from metrics_collector._core.totals import Totals
    from metrics_collector._storage.base import (
        EntryFilter,
        EntryPage,
        ErrorSpan,
        StepCounts,
        StoredEntry,
        StoreState,
    )


class SQLiteStore:
    """A `Store` in one SQLite file, which is open for the time of a flush or a read.

    Args:
        path: of the file.
        plain: without threads, blocking the caller: for the exit of the interpreter, which can start none.
    """

    def __init__(self, path: str, *, plain: bool = False) -> None:
        self._path = path
        self._plain = plain
        self.examples = Examples(path)

    @property
    def label(self) -> str:
        """The file's absolute path."""
        return str(Path(self._path).absolute())

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Writer]:
        """As `Store.writing`."""
        async with open_writing(self._path, plain=self._plain) as session:
            yield Writer(session)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader | None]:
        """As `Store.reading`."""
        async with open_reading(self._path, plain=self._plain) as session:
            if session is None:
                yield None
            else:
                await session.run(reads.begin())
                yield Reader(session)

    async def describe(self) -> StoreDescription:
        """As `Store.describe`; the write-ahead log is part of the size."""
        size, error = await process.aside(partial(database_file.look, self._path))
        try:
            extent = await self._extent()
        except (StoreUnavailableError, IncompatibleStoreError) as problem:
            error, extent = str(problem), None
        if extent is None:
            return StoreDescription(exists=False, error=error)
        saved, oldest, rejected = extent
        return StoreDescription(
            exists=True, error=error, size=size, saved=saved, oldest=oldest, rejected=rejected
        )

    @reopening
    async def _extent(self) -> tuple[int, float | None, int] | None:
        async with open_reading(self._path, plain=self._plain) as session:
            return None if session is None else await session.run(report_queries.extent())


class _Open:
    """`OpenStore` on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def state(self) -> StoreState:
        """As `OpenStore.state`."""
        return await self._session.run(maintenance.state())

    async def function_names(self) -> list[str]:
        """As `OpenStore.function_names`."""
        return await self._session.run(reads.function_names())

    async def totals_of(self, func_names: Iterable[str]) -> dict[str, Numbered]:
        """As `OpenStore.totals_of`."""
        return await self._session.run(reads.totals_of(func_names))


class Reader(_Open):
    """`StoreReader` on a session."""

    async def all_totals(self) -> dict[str, Numbered]:
        """As `StoreReader.all_totals`."""
        return await self._session.run(reads.all_totals())

    async def purged(self) -> dict[str, int]:
        """As `StoreReader.purged`."""
        return await self._session.run(reads.purged())

    async def ledger(self, producers: Iterable[str]) -> dict[str, Intervals]:
        """As `StoreReader.ledger`."""
        return await self._session.run(reads.ledger(producers))

    async def rollups(self, tiles: Iterable[Tile], func_name: str | None) -> list[Rollup]:
        """As `StoreReader.rollups`."""
        return await self._session.run(reads.rollups(tiles, func_name))

    async def sums(self, tiles: Iterable[Tile], func_name: str | None) -> dict[str, Totals]:
        """As `StoreReader.sums`."""
        return await self._session.run(reads.sums(tiles, func_name))

    async def fingerprint(self, tiles: Iterable[Tile]) -> object:
        """As `StoreReader.fingerprint`."""
        return await self._session.run(report_queries.fingerprint(tiles))

    async def counts(self, tile: Tile, step: int) -> list[StepCounts]:
        """As `StoreReader.counts`."""
        return await self._session.run(report_queries.counts(tile, step))

    async def failures(
        self, tile: Tile, func_name: str | None
    ) -> dict[tuple[str, str], dict[int, int]]:
        """As `StoreReader.failures`."""
        return await self._session.run(report_queries.failures(tile, func_name))

    async def narrowed(
        self, spans: Sequence[ErrorSpan], length: int, resolution: str
    ) -> list[ErrorSpan]:
        """As `StoreReader.narrowed`."""
        return await self._session.run(report_queries.narrowed(spans, length, resolution))

    async def slowest(self, func_name: str, tile: Tile, count: int) -> list[StoredEntry]:
        """As `StoreReader.slowest`."""
        return await self._session.run(report_queries.slowest(func_name, tile, count))

    async def entries(self, which: EntryFilter, cursor: str | None, count: int) -> EntryPage:
        """As `StoreReader.entries`."""
        return await self._session.run(report_queries.entries(which, cursor, count))

    async def entry_count(self, which: EntryFilter) -> int:
        """As `StoreReader.entry_count`."""
        return await self._session.run(report_queries.entry_count(which))


class Writer(_Open):
    """`StoreWriter` on a session."""

    async def save(
        self, token: str, length: int, elements: Sequence[bytes], now: float
    ) -> Saved | None:
        """As `StoreWriter.save`."""
        saved = await self._session.run(saving.save(token, length, elements, now))
        return saved if await self._session.unmoved() else None

    async def draw_new_db(self, old: str) -> str:
        """As `StoreWriter.draw_new_db`."""
        return await self._session.run(maintenance.draw_new_db(old))

    async def forget_old_ledger(self, before: float) -> None:
        """As `StoreWriter.forget_old_ledger`."""
        await self._session.run(maintenance.forget_old_ledger(before))

    async def purge(self, before: Mapping[str, float], now: float) -> Purged:
        """As `StoreWriter.purge`."""
        return await self._session.run(deletion.purge(before, now))
