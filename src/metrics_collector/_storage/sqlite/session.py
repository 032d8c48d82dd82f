"""A connection for the time of one flush or one read, and the way statements reach it.

aiosqlite's threads are no daemons: a connection that is left open keeps the process from ending. So a session is opened
for each drain and closed at its end, whatever happens in between; an unfinished transaction is rolled back by that.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._storage.sqlite import (
    copying,
    database_file,
    fork_safe_connection,
    log_ownership,
    schema,
    write_ahead_log,
)
from metrics_collector._storage.steps import Compute, Many, Pause, Statement, compute, drive
from metrics_collector._support import process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator

    import aiosqlite

T = TypeVar("T")

# Seconds that a statement waits for another program's lock. A cancel waits as long, and a worker is to end within 5.
BUSY_TIMEOUT: Final = 3.0


class Script(NamedTuple):
    """One statement that gives no rows and is done step by step, such as `incremental_vacuum`; outside transactions."""

    sql: str


class Copy(NamedTuple):
    """All that a transaction sees into an empty file; the copy's size in bytes is sent back."""

    file: str


Step: TypeAlias = Statement | Many | Script | Copy | Pause | Compute

if TYPE_CHECKING:
    Steps = Generator[Step, list[Any], T]
    _Execute = Callable[[Step], Awaitable[list[Any]]]


class Session:
    """An open database."""

    def __init__(self, execute: _Execute, path: str) -> None:
        self._execute = execute
        self._path = path

    async def run(self, steps: Steps[T]) -> T:
        """Do what the steps say, in order, and give back what they return; SQLite's errors come as `translated`."""
        try:
            return await drive(steps, self._execute)
        except sqlite3.Error as error:
            raise database_file.translated(error, self._path) from error

    def check_after_each(self, check: Callable[[], None]) -> None:
        """Do a check after each statement, whose rows count only if it raises nothing."""
        execute = self._execute

        async def checked(step: Step) -> list[Any]:
            try:
                rows = await execute(step)
            except sqlite3.Error:  # maybe since the check fails, too
                await execute(Compute(check))
                raise
            await execute(Compute(check))
            return rows

        self._execute = checked


class WritingSession(Session):
    """A database that is open to write."""

    def __init__(self, execute: _Execute, path: str, in_place: Callable[[], bool]) -> None:
        super().__init__(execute, path)
        self._in_place = in_place

    async def in_place(self) -> bool:
        """Whether the path still leads to the file that was opened: a commit into a deleted file is none.

        Even if a fork has closed it since: what was committed is to be reported.
        """
        return await self.run(compute(self._in_place))


@asynccontextmanager
async def open_writing(path: str, *, plain: bool = False) -> AsyncIterator[WritingSession]:
    """Open the database to write, making file and tables on first use.

    Args:
        plain: without a thread, blocking the caller: for the exit of the interpreter.

    Raises:
        StoreUnavailableError, IncompatibleStoreError: as `Store.writing`.
    """
    driver = threading.get_ident()
    opened: tuple[int, int] | None = None
    log: tuple[int, int] | None = None
    kept: sqlite3.Connection | None = None

    def hold() -> None:
        """Keep what is in the log out of the file that is at the path now, though this session is closed."""
        nonlocal kept
        with suppress(sqlite3.Error):
            kept = kept or write_ahead_log.keep(path, driver, BUSY_TIMEOUT)

    def connect() -> sqlite3.Connection:
        nonlocal opened, log
        database_file.must_be_no_folder(path)
        before = database_file.identity(path)
        log_ownership.ensure(path, driver, BUSY_TIMEOUT)
        write_ahead_log.delete_others(path, driver, BUSY_TIMEOUT)
        connection = fork_safe_connection.connect(path, driver, timeout=BUSY_TIMEOUT)
        try:
            schema.prepare(connection, path)
            opened = database_file.identity(path)
            database_file.must_be_same(path, before, opened)
        except BaseException:
            hold()
            connection.close()
            raise
        log = log_ownership.identity(path)
        return connection

    def in_place() -> bool:
        both = database_file.identity(path), log_ownership.identity(path)
        if both == (opened, log) and log_ownership.is_own(path, driver, BUSY_TIMEOUT):
            return True
        hold()
        log_ownership.ensure(path, driver, BUSY_TIMEOUT)
        return False

    try:
        async with _opened(connect, path, plain=plain) as execute:
            yield WritingSession(execute, path, in_place)
    finally:
        if kept is not None:
            kept.close()


@asynccontextmanager
async def open_reading(path: str, *, plain: bool = False) -> AsyncIterator[Session | None]:
    """Open the database to read only; `None` if there is no file, or nothing in it yet. Never makes a file."""
    driver = threading.get_ident()
    alone: database_file.Version | None = None
    kept: sqlite3.Connection | None = None

    def connect() -> sqlite3.Connection | None:
        if not database_file.exists(path):
            return None
        database_file.must_be_no_folder(path)
        database_file.must_be_readable(path)
        log_ownership.ensure(path, driver, BUSY_TIMEOUT)
        if not write_ahead_log.may_be_made(path):
            return connect_with_no_new_log()
        return _connect_reading(path, driver, "mode=ro")

    def connect_with_no_new_log() -> sqlite3.Connection | None:
        nonlocal alone, kept
        kept = write_ahead_log.keep(path, driver, BUSY_TIMEOUT)
        alone = database_file.version_without_log(path)
        if alone is None:
            try:  # an index that is missing would be made, too
                return _connect_reading(path, driver, "mode=ro&readonly_shm=1")
            except sqlite3.OperationalError as error:
                raise database_file.log_unreadable(path, error) from error
        connection = None
        try:  # SQLite needs a log, even an empty one. Without a log all is in the file.
            connection = _connect_reading(path, driver, "mode=ro&immutable=1")
        finally:  # what it found may be half written
            database_file.must_be_as_before(path, alone, connection)
        return connection

    try:
        async with _opened(connect, path, plain=plain) as execute:
            session = None if execute is None else Session(execute, path)
            if session is not None and alone is not None:
                session.check_after_each(partial(database_file.must_be_as_before, path, alone))
            yield session
    finally:
        if kept is not None:
            kept.close()


def _connect_reading(path: str, driver: int, options: str) -> sqlite3.Connection | None:
    uri = f"{Path(path).absolute().as_uri()}?{options}"
    connection = fork_safe_connection.connect(uri, driver, uri=True, timeout=BUSY_TIMEOUT)
    try:
        ours = schema.prepare_reading(connection, path)
    except BaseException:
        connection.close()
        raise
    if not ours:
        connection.close()
        return None
    return connection


@asynccontextmanager
async def _opened(
    connect: Callable[[], sqlite3.Connection | None], path: str, *, plain: bool
) -> AsyncIterator[Any]:
    # No thread can be started any more once the interpreter exits. And where a loop's own thread forks all the time,
    # only a session that has no pause comes to an end.
    plain = plain or process.exiting() or fork_safe_connection.forks_are_frequent()
    async with _plain(connect, path) if plain else _threaded(connect, path) as execute:
        yield execute


@asynccontextmanager
async def _plain(
    connect: Callable[[], sqlite3.Connection | None], path: str
) -> AsyncIterator[Callable[[Step], Awaitable[list[Any]]] | None]:
    try:
        connection = connect()
    except sqlite3.Error as error:
        raise database_file.translated(error, path) from error
    if connection is None:
        yield None
        return

    async def execute(step: Step) -> list[Any]:
        if isinstance(step, Statement):
            return connection.execute(step.sql, step.parameters).fetchall()
        if isinstance(step, Many):
            connection.executemany(step.sql, step.rows)
        if isinstance(step, Script):
            connection.executescript(step.sql)
        if isinstance(step, Copy):
            return [copying.copy(connection, step.file, threading.Event())]
        return [step.work()] if isinstance(step, Compute) else []

    try:
        yield execute
    finally:
        connection.close()


@asynccontextmanager
async def _threaded(
    connect: Callable[[], sqlite3.Connection | None], path: str
) -> AsyncIterator[Callable[[Step], Awaitable[list[Any]]] | None]:
    import aiosqlite

    # The connector runs in the connection's thread, so looking at the path never blocks the loop. Whatever happens,
    # aiosqlite gets a connection, at need a stand-in: it ends the thread of one that failed without waiting for it.
    outcome: sqlite3.Connection | Exception | None = None

    def connector() -> sqlite3.Connection:
        nonlocal outcome
        try:
            outcome = connect()
        except Exception as error:  # noqa: BLE001 - raised below
            outcome = error
        return outcome if isinstance(outcome, sqlite3.Connection) else sqlite3.connect(":memory:")

    connection = aiosqlite.Connection(connector, iter_chunk_size=64)

    try:
        try:
            await _to_the_end(connection)
        except RuntimeError as error:  # no thread can be started, as at the exit of the interpreter
            raise StoreUnavailableError(f"the database {path} cannot be opened: {error}") from error
        if isinstance(outcome, sqlite3.Error):
            raise database_file.translated(outcome, path) from outcome
        if isinstance(outcome, Exception):
            raise outcome
        yield None if outcome is None else partial(_execute, connection, outcome)
    finally:
        await _to_the_end(connection.close())  # behind whatever still runs in the thread


async def _execute(
    connection: aiosqlite.Connection, opened: sqlite3.Connection, step: Step
) -> list[Any]:
    if isinstance(step, Statement):
        return list(await connection.execute_fetchall(step.sql, step.parameters))
    if isinstance(step, Many):
        await connection.executemany(step.sql, step.rows)
    elif isinstance(step, Script):
        await connection.executescript(step.sql)
    elif isinstance(step, Copy):
        stop = threading.Event()
        try:
            return [await process.in_thread(partial(copying.copy, opened, step.file, stop))]
        finally:
            stop.set()
    elif isinstance(step, Compute):
        return [await process.in_thread(step.work)]
    else:
        await asyncio.sleep(step.seconds)
    return []


async def _to_the_end(work: Awaitable[T]) -> T:
    """Wait for all of it, whatever cancels come meanwhile, and raise the last one then.

    Not by a task and a shield: the end of `asyncio.run` cancels every task. aiosqlite's thread would go on without
    anybody who closes what it has opened, and speak to a loop that is closed.
    """
    steps = work.__await__()
    cancel: asyncio.CancelledError | None = None
    while True:
        try:
            future = next(steps)
        except StopIteration as end:
            result: T = end.value
            if cancel is not None:
                raise cancel from None
            return result
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancel = error
