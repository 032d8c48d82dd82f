"""A connection for the time of one flush or one read, and the way statements reach it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from metrics_collector._errors import ConfigurationError
from metrics_collector._storage.steps import Compute, Pause, Statement, drive
from metrics_collector._support import process
from metrics_collector._support.fork_hooks import no_fork
from metrics_collector._support.settings import mask_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator

    from metrics_collector._storage.postgres.connection import Connection

T = TypeVar("T")

# Seconds that a statement may take. The server's own limits are lower, so this is for one that hangs. Whoever reads has
# limits of its own.
PATIENCE: Final = 45.0
PATIENCE_OF_READERS: Final = 600.0
# At the exit of the interpreter nothing can break it off.
PATIENCE_AT_EXIT: Final = 3.0
LOCK_TIMEOUT: Final = "3s"
# With psycopg, which takes a tenth of a second to load.
_CONNECTION: Final = "metrics_collector._storage.postgres.connection"
# Values of synchronous_commit with which a crash, or a failover, may lose what is committed.
NOT_ON_THE_DISK: Final = ("off", "local")

_TABLES: Final = "SET LOCAL search_path TO metrics_collector; "
_BEGIN: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
    + _TABLES
    # The server ends the transaction of a process that was stopped in its midst, so that others get its locks.
    + "SET LOCAL idle_in_transaction_session_timeout TO '10s'; "
    # What Redis forgets after a commit must be on the disk by then.
    "SELECT set_config('synchronous_commit', 'on', TRUE) "
    f"WHERE current_setting('synchronous_commit') IN {NOT_ON_THE_DISK}; "
    "SET LOCAL statement_timeout TO '30s'; SET LOCAL lock_timeout TO "
)
_BEGIN_READING: Final = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
    + _TABLES
    # To compile a query takes longer than most of ours.
    + "SET LOCAL jit TO off; SET LOCAL statement_timeout TO '590s'; "
    "SET LOCAL idle_in_transaction_session_timeout TO '60s'"
)


class Use(NamedTuple):
    """Something done with the connection, in its thread; a list of what it returns is sent back."""

    work: Callable[[Connection], Any]


Step: TypeAlias = Statement | Use | Pause | Compute

if TYPE_CHECKING:
    Steps = Generator[Step, list[Any], T]


def begin() -> Steps[None]:
    """Begin a transaction that writes."""
    yield Use(lambda connection: connection.script(f"{_BEGIN}'{LOCK_TIMEOUT}'"))


def begin_reading() -> Steps[None]:
    """Begin one in which all reads see one state."""
    yield Use(lambda connection: connection.script(_BEGIN_READING))


def transaction(steps: Steps[T], beginning: Callable[[], Steps[None]] = begin) -> Steps[T]:
    """The steps in a transaction of their own."""
    yield from beginning()
    result = yield from steps
    yield Statement("COMMIT")
    return result


class Session:
    """An open database."""

    def __init__(self, connection: Connection, *, plain: bool) -> None:
        self._connection = connection
        self._plain = plain

    async def run(self, steps: Steps[T]) -> T:
        """Do what the steps say, in order, and give back what they return."""
        return await drive(steps, self._execute)

    async def _execute(self, step: Step) -> list[Any]:
        if isinstance(step, Pause):
            if not self._plain:
                await asyncio.sleep(step.seconds)
            return []
        if isinstance(step, Statement):
            return await self._do(partial(self._connection.execute, step.sql, step.parameters))
        work = partial(step.work, self._connection) if isinstance(step, Use) else step.work
        return [await self._do(work)]

    async def _do(self, work: Callable[[], T]) -> T:
        return work() if self._plain else await process.in_thread(work)


@asynccontextmanager
async def opened(
    url: str,
    prepare: Callable[[Connection], T],
    *,
    patience: float | None = None,
    plain: bool = False,
) -> AsyncIterator[tuple[Session, T]]:
    """Open the database.

    Args:
        url: libpq's.
        prepare: what is done first, with the connection; what it returns is given, too.
        patience: seconds that a statement may take.
        plain: without a thread, blocking the caller: for the exit of the interpreter.

    Raises:
        StoreUnavailableError, IncompatibleStoreError: as `Store.writing`.
    """
    plain = plain or process.exiting()
    try:
        if not plain:
            await process.load(_CONNECTION)
        with no_fork():
            from metrics_collector._storage.postgres.connection import Connection
    except ImportError as error:  # of psycopg, without a libpq that it can load
        said = " ".join(str(error).split())
        raise ConfigurationError(
            f"psycopg cannot be loaded ({said}): pip install 'metrics-collector[postgres]'"
        ) from error

    patience = PATIENCE_AT_EXIT if plain else patience or PATIENCE
    connection = Connection(url, mask_url(url), patience=patience)

    def connect() -> T:
        connection.open()
        return prepare(connection)

    try:
        found = connect() if plain else await process.in_thread(connect)
        yield Session(connection, plain=plain), found
    finally:
        connection.stop()
        if plain:
            connection.close()
        else:
            await process.in_thread(connection.close)
