"""Reports where Redis cannot be used: they are what SQL has, and say what they lack."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from metrics_collector import (
    MetricsCollector,
    Settings,
    flush,
    get_metrics,
    history,
    list_metrics,
    measure,
    send,
)
from metrics_collector._core.pipeline_types import Waiting
from metrics_collector._errors import (
    AmbiguousNameError,
    IncompatibleStoreError,
    StoreUnavailableError,
)
from metrics_collector._reading import asking, reports
from metrics_collector._reading import query as query_module
from metrics_collector._reading.query import Query
from metrics_collector._reading.reports import Missing, function_report, overview_report
from metrics_collector._redis.connection import connect
from metrics_collector._runtime.collector import collector
from metrics_collector._storage.sqlite import SQLiteStore
from tests.helpers.dashboard import Call, save
from tests.helpers.pipeline import KEYS, commands_on, flush_of, foreign, push
from tests.helpers.pipeline import Call as Pushed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.helpers.redis_server import RedisServer

NOTHING: Final = frozenset[str]()
DOWN: Final = "redis://:S3CR3T@127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def own_collector() -> Iterator[None]:
    yield
    collector.reset()


@pytest.fixture
async def saved(path: Path) -> Path:
    """A database that has four calls of two functions, one of which failed."""
    now = time.time()
    calls = [Call("bare.one", now - n) for n in range(2)] + [Call("bare.two", now - 5)]
    await save([*calls, Call("bare.two", now - 9, error="KeyError")], path)
    return path


class Broken:
    """A Redis that does the same whatever it is asked, and counts that."""

    label = "here"

    def __init__(self, answer: Callable[[], Awaitable[Any]]) -> None:
        self.asked = 0
        self._answer = answer

    def __getattr__(self, name: str) -> Any:
        async def ask(*_: object) -> Any:
            self.asked += 1
            return await self._answer()

        async def pending() -> Any:
            yield await ask()

        return pending if name == "pending" else ask


def failing(kind: type[Exception]) -> Callable[[], Awaitable[Any]]:
    async def fail() -> None:
        raise kind("Redis is away")

    return fail


async def hang() -> None:
    await asyncio.Event().wait()


def query_of(redis: Any, path: Path) -> Query:
    return Query(redis, SQLiteStore(str(path)), NOTHING)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (failing(StoreUnavailableError), "Redis is away"),
        (failing(IncompatibleStoreError), "Redis is away"),
        (hang, "Redis at here did not answer within 0.01 s"),
    ],
)
async def test_redis_is_asked_once(
    answer: Callable[[], Awaitable[Any]], said: str, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_module, "PATIENCE", 0.01)
    redis = Broken(answer)
    report = await function_report._function(query_of(redis, saved), "two", "1h", None)
    assert (report.func_name, report.metrics.call_count, len(report.slowest)) == ("bare.two", 2, 2)
    assert report.missing == Missing(left_out=None, redis_error=said)
    assert report.missing.partial
    assert said in report.missing.line
    assert redis.asked == 1


async def test_public_windows_do_not_wait_longer(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_module, "PATIENCE", 0.01)
    redis = Broken(hang)
    query = query_of(redis, saved)
    since = datetime.now(UTC) - timedelta(hours=1)
    async with asyncio.timeout(60):
        assert len(await query.functions(since, None)) == 2
        assert len(await query.history("bare.one", since, None, "day")) == 1
    assert query.missing().redis_error == "Redis at here did not answer within 0.01 s"
    assert redis.asked == 1


class Busy:
    """A Redis that answers at once, in a process that takes long to read its entries."""

    label = "here"

    async def waiting(self) -> int:
        return 3

    async def pending(self) -> AsyncIterator[Waiting]:
        for number in range(1, 4):
            await asyncio.sleep(0)
            yield Waiting(foreign("bare.one", at=time.time() - 1), "", number)


async def test_a_redis_that_answers_is_not_given_up_while_its_entries_are_read(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_module, "PATIENCE", 0.0)  # over as soon as something is waited for
    report = await overview_report._overview(query_of(Busy(), saved), "1h", None)
    assert (report.total.call_count, report.missing.partial) == (4 + 3, False)


async def test_what_waits_is_missing_and_back_with_redis(fake_client: Any, path: Path) -> None:
    redis = commands_on(fake_client)
    now = time.time()
    await push(redis, Pushed("bare.one"), at=now - 5)
    await flush_of(redis.worker, path).drain()
    await push(redis, Pushed("bare.one"), Pushed("bare.new"), first=2, at=now - 2)
    server = fake_client.connection_pool.connection_kwargs["server"]
    for connected, calls in ((True, 3), (False, 1), (True, 3)):
        server.connected = connected
        report = await overview_report._overview(query_of(redis.reader, path), "1h", None)
        assert report.total.call_count == calls
        assert report.missing.partial is not connected
        query = query_of(redis.reader, path)
        found = await query.functions(report.window.since, None)
        assert sum(one.call_count for one in found) == calls
        assert query.missing().partial is not connected


async def test_a_server_that_fails_midway_is_left_at_that(fake_client: Any, saved: Path) -> None:
    redis = commands_on(fake_client)
    await push(redis, Pushed("bare.new"), at=time.time())
    await fake_client.set(KEYS.claims, "no set")
    query = query_of(redis.reader, saved)
    async with query.snapshot(None) as (_, _, pending, missing):
        assert pending == []
        assert "WRONGTYPE" in (missing.redis_error or "")


async def test_names_are_those_in_sql(saved: Path) -> None:
    def query() -> Query:
        return query_of(Broken(failing(StoreUnavailableError)), saved)

    for asked in ("bare.one", "one"):
        assert await query().resolve(asked) == "bare.one"
    await save([Call("lib.one", time.time())], saved)
    with pytest.raises(AmbiguousNameError):
        await query().resolve("one")
    # Redis may know it, so that it is not unknown.
    said = r"Redis is away; in the database no measured function matches 'h'"
    with pytest.raises(StoreUnavailableError, match=said):
        await query().resolve("h")


async def test_live_totals_need_redis(saved: Path) -> None:
    query = query_of(Broken(failing(StoreUnavailableError)), saved)
    name = await query.resolve("one")
    with pytest.raises(StoreUnavailableError, match="Redis is away"):
        await query.function(name, None, None)
    with pytest.raises(StoreUnavailableError, match="Redis is away"):
        await query.functions(None, None)


async def test_without_a_database_nothing_is_known(path: Path) -> None:
    query = query_of(Broken(failing(StoreUnavailableError)), path)
    with pytest.raises(StoreUnavailableError, match="Redis is away"):
        async with query.snapshot(None):
            pass


# The whole way, on real servers


async def refuse_password(server: RedisServer) -> None:
    await _tell(server, "CONFIG", "SET", "requirepass", "another")


async def refuse_by_acl(server: RedisServer) -> None:
    await _tell(server, "ACL", "SETUSER", "default", "-lrange")


async def put_another_type(server: RedisServer) -> None:
    await _tell(server, "SET", "metrics_list", "no list")


async def lose_the_master(server: RedisServer) -> None:
    await _tell(server, "CONFIG", "SET", "replica-serve-stale-data", "no")
    await _tell(server, "REPLICAOF", "127.0.0.1", "1")


async def stop(server: RedisServer) -> None:
    await asyncio.to_thread(server.stop)


async def _tell(server: RedisServer, *command: str) -> None:
    client: Any = connect(server.url)
    await client.execute_command(*command)
    await client.aclose()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (stop, "111"),
        (refuse_password, "uthentication"),
        (refuse_by_acl, "no permission to run LRANGE"),
        (put_another_type, "WRONGTYPE"),
        (lose_the_master, "MASTER is down"),
    ],
)
async def test_every_report_is_what_sql_has(
    spoil: Callable[[RedisServer], Awaitable[None]],
    said: str,
    redis_server: RedisServer,
    saved: Path,
) -> None:
    settings = Settings(redis_url=redis_server.url, database_name=str(saved))
    await spoil(redis_server)
    async with MetricsCollector(settings):
        with measure("bare.one"):
            pass
        overview = await reports.overview("1h")
        assert (overview.total.call_count, len(overview.rows)) == (4, 2)
        function = await reports.function("two", "1h")
        assert function.metrics.error_count == 1
        errors = await reports.errors("1h")
        assert [row.func_name for row in errors.rows] == ["bare.two"]
        for report in (overview, function, errors):
            assert report.missing.left_out is None
            assert said in (report.missing.redis_error or "")
        assert await reports.entry_count("two") == 2
        assert [len(page) async for page in reports.entries("two")] == [2]
        one = await get_metrics("two", since="1h")
        assert (one.func_name, one.call_count, one.partial) == ("bare.two", 2, True)
        listed = await list_metrics(since="1h")
        assert [(each.call_count, each.partial) for each in listed] == [(2, True), (2, True)]
        points = await history("bare.one", since="1h")
        assert sum(point.call_count for point in points) == 2
        assert all(point.partial and point.as_dict()["partial"] for point in points)
        for nothing in (
            list_metrics(since="9d", until="8d"),
            history("one", since="9d", until="8d"),
        ):
            with pytest.raises(StoreUnavailableError, match=said):  # it could not be partial
                await nothing


async def test_all_is_back_with_the_server(
    redis_server: RedisServer, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "SEND_TIMEOUT", 0.1)
    settings = Settings(redis_url=redis_server.url, database_name=str(saved))
    async with MetricsCollector(settings):
        assert not (await reports.overview("1h")).missing.partial
        await stop(redis_server)
        with measure("bare.new"):
            pass
        down = await reports.overview("1h")
        assert (down.total.call_count, down.missing.partial) == (4, True)
        assert (await reports.pipeline()).processes is None
        for asked in ("bare.new", "one"):
            with pytest.raises(StoreUnavailableError):
                await get_metrics(asked)
        await asyncio.to_thread(redis_server.start)
        back = await reports.overview("1h")
        assert (back.total.call_count, back.missing.partial) == (5, False)
        assert not (await get_metrics("bare.new", since="1h")).partial
        assert (await reports.pipeline()).processes == ()


async def test_a_server_that_hangs_is_waited_for_once(
    redis_server: RedisServer, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_module, "PATIENCE", 0.2)
    async with MetricsCollector(
        Settings(redis_url=redis_server.url, database_name=str(saved), exit_timeout=0.1)
    ):
        os.kill(redis_server.pid, signal.SIGSTOP)
        with measure("bare.one"):
            pass
        report = await reports.function("two", "1h")
        assert (report.metrics.call_count, report.missing.partial) == (2, True)
        assert redis_server.url in (report.missing.redis_error or "")
        os.kill(redis_server.pid, signal.SIGCONT)


# The pipeline


async def test_a_full_redis_has_not_all_of_this_process(
    redis_server: RedisServer, path: Path
) -> None:
    settings = Settings(
        redis_url=redis_server.url, database_name=str(path), max_backlog=1, max_items=1000
    )
    async with MetricsCollector(settings):
        with measure("bare.full"):
            pass
        await send()
        for full in (True, False):
            with measure("bare.full"):
                pass
            report, live = await reports.overview("1h"), await get_metrics("bare.full")
            window = await get_metrics("bare.full", since="1h")
            assert [report.missing.partial, window.partial, live.partial] == [full] * 3
            assert ("backlog limit" in (report.missing.redis_error or "")) is full
            calls = {report.total.call_count, live.call_count, window.call_count}
            assert calls == {1 if full else 3}
            await flush()


async def test_what_redis_would_say_is_unknown(saved: Path) -> None:
    async with MetricsCollector(Settings(redis_url=DOWN, database_name=str(saved))):
        report = await reports.pipeline()
    found = (report.waiting, report.claims, report.lag, report.processes, report.producers)
    assert (*found, report.dropped) == (None,) * 6
    assert report.database.saved == 4
    assert len(report.problems) == 1  # and none about processes


async def test_what_is_found_before_it_fails_is_unknown_too(
    redis_server: RedisServer, saved: Path
) -> None:
    await _tell(redis_server, "ACL", "SETUSER", "default", "-mget")
    await _tell(redis_server, "SET", KEYS.heartbeat("worker", "box:1"), "{}")
    async with MetricsCollector(Settings(redis_url=redis_server.url, database_name=str(saved))):
        report = await reports.pipeline()
    assert "mget" in (report.redis.error or "")
    assert (report.waiting, report.lag, report.processes) == (None, None, None)


@pytest.fixture
def unreadable(path: Path) -> Path:
    path.write_bytes(b"no database" * 100)
    return path


async def test_a_database_that_cannot_be_read_is_not_missing(unreadable: Path) -> None:
    async with MetricsCollector(Settings(redis_url="memory://", database_name=str(unreadable))):
        database = (await reports.pipeline()).database
    assert database.error is not None
    assert (database.exists, database.saved, database.rejected) == (None, None, None)


async def test_where_nothing_waits_there_is_no_lag(saved: Path) -> None:
    async with MetricsCollector(Settings(redis_url="memory://", database_name=str(saved))):
        report = await reports.pipeline()
    assert (report.waiting, report.lag, report.processes) == (0, 0.0, ())
