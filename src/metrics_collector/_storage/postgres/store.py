"""PostgreSQL as a store: the port's operations, each as the steps that this folder has for it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from metrics_collector._errors import MetricsCollectorError, StoreUnavailableError
from metrics_collector._storage.base import StoreDescription
from metrics_collector._storage.on_session import OnSession, asks
from metrics_collector._storage.postgres import deletion, entry_pages, maintenance, schema, state
from metrics_collector._storage.postgres import save as saving
from metrics_collector._storage.postgres.examples import Examples
from metrics_collector._storage.postgres.reads import QUERIES
from metrics_collector._storage.postgres.session import (
    PATIENCE_OF_READERS,
    begin_reading,
    opened,
    transaction,
)
from metrics_collector._support.settings import mask_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from metrics_collector._core.pipeline_types import Numbered
    from metrics_collector._storage.base import StoreState
    from metrics_collector._storage.postgres.session import Session


class PostgresStore:
    """A `Store` in one database of PostgreSQL, with a connection for the time of a flush or a read.

    `plain`: without threads, blocking the caller: for the exit of the interpreter, which can start none.
    """

    drivers = ("psycopg", "metrics_collector._storage.postgres.connection")
    files = ()
    examples = Examples()

    def __init__(self, url: str, *, plain: bool = False) -> None:
        self._url = url
        self._plain = plain

    @property
    def label(self) -> str:
        """The URL without its secrets."""
        return mask_url(self._url)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Writer]:
        """As `Store.writing`."""
        async with opened(self._url, schema.prepare, plain=self._plain) as (session, _):
            yield Writer(session)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader | None]:
        """As `Store.reading`."""
        async with opened(
            self._url, schema.check, patience=PATIENCE_OF_READERS, plain=self._plain
        ) as (session, exists):
            if not exists:
                yield None
            else:
                await session.run(begin_reading())
                yield Reader(session)

    async def warning(self) -> str | None:
        """As `Store.warning`: of a server that can lose what it has committed."""
        async with opened(self._url, schema.check, plain=self._plain) as (session, _):
            return await session.run(state.warning())

    async def describe(self, *, try_writing: bool = False) -> StoreDescription:
        """As `Store.describe`; what is free is the server's affair."""
        try:
            async with opened(self._url, schema.check, plain=self._plain) as (session, exists):
                error = await session.run(state.refusal())
                if error is not None:
                    error = f"the database {self.label} cannot be written: {error}"
                if not exists:
                    return StoreDescription(exists=False, error=error)
                extent = await session.run(transaction(state.extent(), begin_reading))
                warning = await session.run(state.warning())
                if try_writing and error is None:
                    error = await _trial(session)
        except MetricsCollectorError as problem:
            return StoreDescription(exists=None, error=str(problem))
        return StoreDescription(exists=True, error=error, warning=warning, **extent)


async def _trial(session: Session) -> str | None:
    try:
        await session.run(state.try_writing())
    except StoreUnavailableError as problem:
        return str(problem)
    return None


class Reader(OnSession):
    """`StoreReader` on a session, in one transaction."""

    function_names = asks(QUERIES.function_names)
    state = asks(maintenance.state)
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
    entries = asks(entry_pages.entries)
    entry_count = asks(QUERIES.entry_count)

    async def copy(self, file: str) -> int:  # noqa: ARG002 - as the port has it
        """Refused: a server has programs for that.

        Raises:
            StoreUnavailableError: always.
        """
        raise StoreUnavailableError(
            "a database of PostgreSQL is copied by its own means: "
            'pg_dump --schema=metrics_collector "$METRICS_DATABASE_URL"'
        )


class Writer(OnSession):
    """`StoreWriter` on a session, with a transaction for each operation."""

    async def state(self) -> StoreState:
        """As `OpenStore.state`."""
        return await self._session.run(transaction(maintenance.state()))

    async def function_names(self) -> list[str]:
        """As `OpenStore.function_names`."""
        return await self._session.run(transaction(QUERIES.function_names()))

    async def totals_of(self, func_names: Iterable[str]) -> dict[str, Numbered]:
        """As `OpenStore.totals_of`."""
        return await self._session.run(transaction(saving.totals_of(func_names)))

    save = asks(saving.save)
    draw_new_db = asks(maintenance.draw_new_db)
    forget_old_ledger = asks(maintenance.forget_old_ledger)
    purge = asks(deletion.purge)
