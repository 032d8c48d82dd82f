"""The database while the process forks: neither side takes the other's locks for its own."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from metrics_collector._redis.clocks import Clocks
from metrics_collector._saving import flush as flush_module
from metrics_collector._saving.purge import Purge
from metrics_collector._storage.reopening import ClosedByForkError, reopening
from metrics_collector._storage.sqlite import SQLiteStore, fork_safe_connection
from metrics_collector._storage.steps import Statement
from tests.helpers.chunks import chunk_of
from tests.helpers.driving import drive
from tests.helpers.forking import fork
from tests.helpers.pipeline import NOON, Call, batch_of, contents, flush_of, lines_of, push

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from metrics_collector._storage.sqlite.session import Steps
    from tests.helpers.pipeline import Commands

pytestmark = [
    # Python 3.12 warns of a fork beside threads, which is what is tested.
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork"),
]

TOKEN = "0011223344556677"
FOR_EVER = "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"


@pytest.fixture(autouse=True)
def no_fork_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_safe_connection, "_gate", fork_safe_connection._Gate())


def statements(*statements: str) -> Steps[list[Any]]:
    rows: list[Any] = []
    for statement in statements:
        rows = yield Statement(statement)
    return rows


def save(path: Path, first: int) -> bool:
    """Save one entry, without threads; whether it is a new one."""

    async def work() -> bool:
        chunk = chunk_of(TOKEN, 1, lines_of(batch_of(Call(), first=first)))
        async with SQLiteStore(str(path), plain=True).writing() as database:
            return (await database.save(chunk, NOON) or pytest.fail("it is gone")).saved == 1

    return drive(work())


def connected(path: Path) -> fork_safe_connection.Connection:
    return fork_safe_connection.connect(str(path), threading.get_ident(), timeout=1)


def open_files(path: Path) -> list[str]:
    """Those of this process that belong to the database."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:  # that of the listing
            continue
        if target.startswith(str(path)):
            found.append(target)
    return found


def rows_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        ((count,),) = database.execute("SELECT count(*) FROM metrics")
    return int(count)


@pytest.fixture(params=[True, False], ids=["plain", "threaded"])
def plain(request: pytest.FixtureRequest) -> bool:
    """Both kinds of session."""
    return bool(request.param)


def run(work: Coroutine[Any, Any, None], *, plain: bool) -> None:
    """What uses plain sessions only has no loop, as at the exit of the interpreter."""
    if plain:
        drive(work)
    else:
        asyncio.run(work)


class TestByTheOneWhoUsesIt:
    """The thread that forks is the one without which the session cannot go on."""

    def test_a_write_is_rolled_back_and_both_sides_can_write(self, path: Path, plain: bool) -> None:
        async def write() -> None:
            async with SQLiteStore(str(path), plain=plain).writing() as database:
                await database._session.run(statements("BEGIN IMMEDIATE", "DELETE FROM meta"))
                fork(lambda: save(path, 1))
                with pytest.raises(ClosedByForkError, match="since the process forks"):
                    await database._session.run(statements("COMMIT"))

        run(write(), plain=plain)
        assert rows_in(path) == 1
        assert save(path, 2)
        assert contents(path).db

    def test_a_read_is_closed(self, path: Path, plain: bool) -> None:
        async def read() -> None:
            async with SQLiteStore(str(path), plain=plain).reading() as database:
                assert database is not None
                assert await database.function_names() == ["app.f"]
                fork(lambda: save(path, 2))
                with pytest.raises(ClosedByForkError):
                    await database.function_names()
                fork(lambda: save(path, 3))

        save(path, 1)
        run(read(), plain=plain)
        assert rows_in(path) == 3

    @pytest.mark.skipif(sys.platform != "linux", reason="it asks /proc")
    def test_the_child_inherits_no_file(self, path: Path, plain: bool) -> None:
        async def both() -> None:
            async with (
                SQLiteStore(str(path), plain=plain).writing(),
                SQLiteStore(str(path), plain=plain).reading(),
            ):
                assert open_files(path)
                fork(lambda: not open_files(path))
                assert not open_files(path)

        run(both(), plain=plain)


def test_other_threads_of_the_child_can_open_it(path: Path) -> None:
    def in_child() -> bool:
        saved: list[bool] = []
        thread = threading.Thread(target=lambda: saved.append(save(path, 1)), daemon=True)
        thread.start()
        thread.join(20)
        return saved == [True]

    fork(in_child)


@pytest.mark.skipif(sys.platform != "linux", reason="it asks /proc")
def test_a_closed_one_has_no_file_open_whatever_is_still_held(path: Path) -> None:
    connection = connected(path)
    connection.execute("CREATE TABLE numbers (number PRIMARY KEY)")
    held: list[object] = [
        connection.execute("INSERT INTO numbers VALUES (1)"),
        connection.executemany("INSERT INTO numbers VALUES (?)", [(2,), (3,)]),
        connection.execute("SELECT * FROM numbers"),
    ]
    with pytest.raises(sqlite3.IntegrityError) as once:
        connection.execute("INSERT INTO numbers VALUES (1)")
    with pytest.raises(sqlite3.IntegrityError) as often:
        connection.executemany("INSERT INTO numbers VALUES (?)", [(4,), (1,)])
    held += [once, often]
    assert open_files(path)
    connection.close()
    assert not open_files(path)
    assert held


class InAThread:
    """Runs a statement on a database, in a loop and thread of its own."""

    def __init__(self, path: Path, statement: str) -> None:
        self.began = threading.Event()
        self.outcome: Any = None
        self._work = path, statement
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        async def work() -> Any:
            path, statement = self._work
            async with SQLiteStore(str(path)).writing() as database:
                self.began.set()
                return await database._session.run(statements(statement))

        try:
            self.outcome = asyncio.run(work())
        except ClosedByForkError as error:
            self.outcome = error

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.began.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()


class TestByAnother:
    """The session goes on in another thread, while this one forks."""

    def test_it_has_time_to_end(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fork_safe_connection, "_GRACE", 20.0)
        steps = "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n LIMIT 300000) SELECT max(x) FROM n"
        with InAThread(path, steps) as session:
            fork(lambda: save(path, 1))
        assert session.outcome == [(300_000,)]

    def test_but_not_for_ever(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fork_safe_connection, "_GRACE", 0.01)
        with InAThread(path, FOR_EVER) as session:
            fork(lambda: save(path, 1))
        assert isinstance(session.outcome, ClosedByForkError)
        assert save(path, 2)
        assert rows_in(path) == 2

    def test_nobody_opens_one_meanwhile(self, path: Path) -> None:
        opened = threading.Event()

        def work() -> None:
            save(path, 1)
            opened.set()

        thread = threading.Thread(target=work)
        fork_safe_connection._before_fork()
        thread.start()
        assert not opened.wait(0.2)
        fork_safe_connection._after_fork_in_parent()
        thread.join(20)
        assert opened.is_set()

    def test_a_fork_that_cannot_wait_longer_goes_on(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fork_safe_connection, "_GRACE", 0.01)
        monkeypatch.setattr(fork_safe_connection, "_PATIENCE", 0.01)
        connection = connected(path)
        with closing(connection), connection.using():
            fork(lambda: True)
            assert connection.in_transaction is False  # it is open still

    # Python can only report what a hook of a fork raises.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.skipif(sys.platform != "linux", reason="it asks /proc")
    def test_nor_is_it_kept_from_its_end_by_a_signal_handler_that_raises(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(_: object) -> bool:
            raise InterruptedError

        monkeypatch.setattr(fork_safe_connection._Gate, "_none_can_end", stop)
        with InAThread(path, FOR_EVER) as session:
            fork(lambda: not open_files(path))
        assert isinstance(session.outcome, ClosedByForkError)

    def test_one_whose_user_waits_to_open_another_is_not_waited_for(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fork_safe_connection, "_GRACE", 600.0)
        first = connected(path)

        def other() -> None:
            fork_safe_connection._before_fork()
            fork_safe_connection._after_fork_in_parent()

        forker = threading.Thread(target=other)
        forker.start()
        opening = fork_safe_connection._gate._opening
        while opening.acquire(blocking=False):
            opening.release()
        with closing(connected(path)) as second:
            forker.join(20)
            assert not forker.is_alive()
            with pytest.raises(ClosedByForkError):
                first.execute("SELECT 1")
            assert second.execute("SELECT 1").fetchall() == [(1,)]


def test_forks_are_frequent_when_several_of_late_have_closed_something(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork_with(connections: int) -> None:
        opened = [connected(path) for _ in range(connections)]
        fork(lambda: True)
        for connection in opened:
            connection.close()

    for _ in range(5):
        fork_with(0)
    fork_with(3)
    fork_with(1)
    assert not fork_safe_connection.forks_are_frequent()
    fork_with(1)
    assert fork_safe_connection.forks_are_frequent()
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not fork_safe_connection.forks_are_frequent()


class ForksAfter:
    """Redis, beside which the process forks with the database open."""

    def __init__(self, source: object, path: Path) -> None:
        self._source = source
        self._path = path
        self.forks = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._source, name)

        async def forking(*args: Any, **options: Any) -> Any:
            result = await method(*args, **options)
            if self.forks < 5:
                self.forks += 1
                fork(lambda: save(self._path, 100 + self.forks) or True)
            return result

        return forking


async def test_a_flush_saves_everything_once_whatever_forks(
    redis: Commands, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flush_module, "CHUNK", 2)
    await push(redis, *[Call()] * 5)
    source = ForksAfter(redis.worker, path)
    flush = flush_of(source, path)
    assert await flush.drain() == 5
    assert source.forks == 5
    source.forks = 2  # and three times more
    await flush.reconcile()
    assert source.forks == 5
    assert rows_in(path) == 10


async def test_a_purge_is_done_whatever_forks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await asyncio.to_thread(save, path, 1)
    forks: list[bool] = []

    async def clocks() -> Clocks:
        if len(forks) < 3:
            forks.append(True)
            fork(lambda: True)
        now = NOON + 86400 * 40
        return Clocks(now, now)

    await Purge(SQLiteStore(str(path)), {"entry": 30.0}, clocks).run()
    assert len(forks) == 3
    assert rows_in(path) == 0


@contextmanager
def forks_whenever_it_can() -> Iterator[None]:
    """The loop's own thread does so, between any two of its turns."""

    async def forks() -> None:
        while True:
            fork(lambda: True)
            await asyncio.sleep(0)

    task = asyncio.ensure_future(forks())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()


async def test_a_flush_comes_to_its_end_however_often_its_own_thread_forks(
    redis: Commands, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flush_module, "CHUNK", 2)
    await push(redis, *[Call()] * 5)
    flush = flush_of(redis.worker, path)
    with forks_whenever_it_can():
        async with asyncio.timeout(90):
            assert await flush.drain() == 5
    assert rows_in(path) == 5


async def test_and_so_does_a_read(path: Path) -> None:
    await asyncio.to_thread(save, path, 1)

    @reopening
    async def read() -> list[str]:
        async with SQLiteStore(str(path)).reading() as database:
            assert database is not None
            await database.state()
            return await database.function_names()

    with forks_whenever_it_can():
        async with asyncio.timeout(90):
            assert await read() == ["app.f"]


async def test_what_was_committed_is_reported_though_a_fork_comes_then(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = chunk_of(TOKEN, 1, lines_of(batch_of(Call())))
    async with SQLiteStore(str(path)).writing() as database:
        run = database._session.run

        async def run_and_fork(steps: Steps[Any]) -> Any:
            result = await run(steps)
            fork(lambda: True)
            return result

        monkeypatch.setattr(database._session, "run", run_and_fork)
        saved = await database.save(chunk, NOON)
    assert saved is not None
    assert saved.saved == 1


async def test_work_is_not_done_again_for_ever() -> None:
    tries: list[bool] = []

    @reopening
    async def work() -> None:
        tries.append(True)
        raise ClosedByForkError("a fork")

    with pytest.raises(ClosedByForkError):
        await work()
    assert len(tries) == 10


async def test_work_is_done_again_until_no_fork_comes_between() -> None:
    tries: Iterator[int] = iter(range(5))

    @reopening
    async def work(goal: int, *, found: str) -> str:
        if next(tries) < goal:
            raise ClosedByForkError("a fork")
        return found

    assert await work(3, found="it") == "it"
    assert next(tries) == 4
