"""SQLite as a store: the port's operations, each as the steps that this folder has for it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metrics_collector._errors import IncompatibleStoreError, StoreUnavailableError
from metrics_collector._storage.base import StoreDescription
from metrics_collector._storage.on_session import OnSession, asks
from metrics_collector._storage.reopening import reopening
from metrics_collector._storage.sqlite import (
    database_file,
    deletion,
    maintenance,
    reads,
    write_ahead_log,
)
from metrics_collector._storage.sqlite import save as saving
from metrics_collector._storage.sqlite.examples import Examples
from metrics_collector._storage.sqlite.reads import QUERIES
from metrics_collector._storage.sqlite.session import open_reading, open_writing
from metrics_collector._support import process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from metrics_collector._core.pipeline_types import Saved
    from metrics_collector._storage.chunks import Chunk
    from metrics_collector._storage.sqlite.session import WritingSession


class SQLiteStore:
    """A `Store` in one SQLite file, which is open for the time of a flush or a read.

    `plain`: without threads, blocking the caller: for the exit of the interpreter, which can start none.
    """

    drivers = ("aiosqlite",)

    def __init__(self, path: str, *, plain: bool = False) -> None:
        self._path = path
        self._plain = plain
        self.examples = Examples(path)

    @property
    def label(self) -> str:
        """The file's absolute path."""
        return str(Path(self._path).absolute())

    @property
    def files(self) -> tuple[str, ...]:
        """The absolute paths of what changes as it is written: the file, its write-ahead log, and the index of that."""
        return self.label, f"{self.label}-wal", f"{self.label}-shm"

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

    async def warning(self) -> str | None:
        """As `Store.warning`: of a write-ahead log that has grown."""
        return await process.in_thread(partial(write_ahead_log.growth, self._path))

    async def describe(self, *, try_writing: bool = False) -> StoreDescription:
        """As `Store.describe`; the write-ahead log is part of the size."""
        look = partial(database_file.look, self._path, try_writing=try_writing)
        size, free, error = await process.in_thread(look)
        try:
            extent = await self._extent()
        except (StoreUnavailableError, IncompatibleStoreError) as problem:
            return StoreDescription(exists=None, error=str(problem))
        if extent is None:
            return StoreDescription(exists=False, error=error)
        warning = await self.warning()
        return StoreDescription(
            exists=True, error=error, size=size, free=free, warning=warning, **extent
        )

    @reopening
    async def _extent(self) -> dict[str, Any] | None:
        async with open_reading(self._path, plain=self._plain) as session:
            return None if session is None else await session.run(QUERIES.extent())


class _Open(OnSession):
    """`OpenStore` on a session."""

    state = asks(maintenance.state)
    function_names = asks(QUERIES.function_names)


class Reader(_Open):
    """`StoreReader` on a session."""

    totals_of = asks(QUERIES.totals_of)
    all_totals = asks(QUERIES.all_totals)
    purged = asks(QUERIES.purged)
    ledger = asks(QUERIES.ledger)
    rollups = asks(QUERIES.rollups)
    sums = asks(QUERIES.sums)
    beginning = asks(QUERIES.beginning)
    fingerprint = asks(QUERIES.fingerprint)
    counts = asks(QUERIES.counts)
    failures = asks(QUERIES.failures)
    occurrences = asks(QUERIES.occurrences)
    slowest = asks(QUERIES.slowest)
    entries = asks(reads.entries)
    entry_count = asks(QUERIES.entry_count)
    copy = asks(maintenance.copy)


class Writer(_Open):
    """`StoreWriter` on a session."""

    def __init__(self, session: WritingSession) -> None:
        super().__init__(session)
        self._in_place = session.in_place

    totals_of = asks(saving.totals_of)
    draw_new_db = asks(maintenance.draw_new_db)
    forget_old_ledger = asks(maintenance.forget_old_ledger)
    purge = asks(deletion.purge)

    async def save(self, chunk: Chunk, now: float) -> Saved | None:
        """As `StoreWriter.save`."""
        saved = await self._session.run(saving.save(chunk, now))
        return saved if await self._in_place() else None
