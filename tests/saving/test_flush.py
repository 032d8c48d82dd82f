"""The flush: claim, save, forget; and done again by anybody, whatever happened in between."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections import deque
from contextlib import asynccontextmanager, closing, contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._errors import MetricsCollectorError, StoreUnavailableError
from metrics_collector._redis.connection import connect
from metrics_collector._saving import flush as flush_module
from metrics_collector._saving.flush import DAY, Flush
from metrics_collector._sending.outbox import Outbox
from metrics_collector._storage.sqlite import SQLiteStore, schema, session
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.helpers.cancelling import at_each_await
from tests.helpers.pipeline import (
    KEYS,
    NOON,
    OTHER_PRODUCER,
    PRODUCER,
    REFUSED,
    TIMEOUT,
    Call,
    During,
    all_same,
    batch_of,
    check_pending,
    commands_on,
    contents,
    foreign,
    lines_of,
    live_totals,
    same,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from metrics_collector._recording.recorder import Record
    from tests.helpers.pipeline import Commands


def flush_of(source: Any, sink: Any, **options: Any) -> Flush:
    """A flush at noon."""
    usual: dict[str, Any] = {
        "ledger_days": 30.0,
        "log": RateLimitedLog(),
        "wall": lambda: NOON,
    }
    return Flush(source, sink, **{**usual, **options})


@pytest.fixture
def flush(redis: Commands, path: Path) -> Flush:
    return flush_of(redis.worker, SQLiteStore(str(path)))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush_module, "CHUNK", 2)
    monkeypatch.setattr(flush_module, "FUNCTIONS", 1)


async def fill(redis: Commands, *, first: int = 1, producer: str = PRODUCER) -> None:
    """Push five entries of two functions, of every outcome."""
    marks = (None, "KeyError", "", TIMEOUT, REFUSED)
    calls = [Call("app.fg"[: 5 + n % 2], 0.25 * n, mark) for n, mark in enumerate(marks)]
    batch = batch_of(*calls, first=first, producer=producer)
    assert (await redis.producer.push(producer, batch, first - 1)).kind == "ok"


async def check_at_rest(client: Any, path: Path, numbers: dict[str, int]) -> None:
    """Nothing waits; SQL has each number of these producers once, and the live totals are SQL's."""
    assert not await client.exists("metrics_list", KEYS.claims)
    await check_pending(client)
    found = await asyncio.to_thread(contents, path)
    expected = {(producer, n) for producer, last in numbers.items() for n in range(1, last + 1)}
    assert found.ids == dict.fromkeys(expected, 1)
    assert all_same(await live_totals(client), found.totals)


# The usual way


async def test_a_drain_saves_all_that_waits(
    flush: Flush, redis: Commands, client: Any, path: Path
) -> None:
    await fill(redis)
    await fill(redis, producer=OTHER_PRODUCER)
    assert await flush.drain() == 10
    await check_at_rest(client, path, {PRODUCER: 5, OTHER_PRODUCER: 5})
    assert (await redis.producer.look(PRODUCER)).saved == "1-5"
    assert (await redis.producer.look(OTHER_PRODUCER)).saved == "1-5"
    assert await flush.drain() == 0


async def test_an_empty_redis_opens_no_database(flush: Flush, path: Path) -> None:
    assert await flush.drain() == 0
    assert not await asyncio.to_thread(path.exists)


@pytest.mark.parametrize("once", [False, True])
async def test_what_comes_meanwhile_is_saved_too_unless_once(
    redis: Commands, client: Any, path: Path, once: bool
) -> None:
    pushes = iter(range(3))

    async def push() -> None:
        if (n := next(pushes, None)) is not None:
            await fill(redis, first=6 + 5 * n)

    await fill(redis)
    flush = flush_of(During(redis.worker, "claim", push), SQLiteStore(str(path)))
    assert await flush.drain(once=once) == (5 if once else 20)
    assert await redis.reader.waiting() == (5 if once else 0)
    await check_pending(client)


async def test_once_goes_on_after_what_others_left(
    flush: Flush, redis: Commands, client: Any, path: Path
) -> None:
    await fill(redis)
    await redis.worker.claim()
    await fill(redis, first=6)
    assert await flush.drain(ignore_leases=True, once=True) == 10
    await check_at_rest(client, path, {PRODUCER: 10})


async def test_another_workers_lease_is_respected_until_it_ends(
    flush: Flush, redis: Commands, client: Any, path: Path
) -> None:
    await fill(redis)
    token = (await redis.worker.claim()).token
    await fill(redis, first=6)
    assert await flush.drain() == 0
    await client.zadd(KEYS.claims, {token: 1})  # as after its time
    assert await flush.drain() == 10
    await check_at_rest(client, path, {PRODUCER: 10})


async def test_a_claim_that_is_gone_is_forgotten(flush: Flush, client: Any) -> None:
    await client.zadd(KEYS.claims, {"0" * 16: 1})
    assert await flush.drain() == 0
    assert not await client.exists(KEYS.claims)


async def test_a_claim_that_is_gone_no_longer_counts_as_backlog(
    flush: Flush, redis: Commands, client: Any, path: Path
) -> None:
    await fill(redis)
    claim = await redis.worker.claim()
    await client.delete(KEYS.claim(claim.token))  # evicted, or by hand
    await client.zadd(KEYS.claims, {claim.token: 1})
    await flush.drain()
    assert await redis.reader.waiting() == 0
    await fill(redis, first=6)
    assert await flush.drain() == 5
    assert await redis.reader.waiting() == 0


async def test_a_producer_learns_that_sql_has_what_was_no_entry(
    flush: Flush, redis: Commands, client: Any, path: Path
) -> None:
    batch = batch_of(Call(), Call(), Call())
    first, second, third = lines_of(batch)
    newer = second.replace(b'"error_occurred":0', b'"error_occurred":"maybe"')
    for _ in range(2):  # a copy is known by its number, too
        await client.rpush("metrics_list", first, newer, third)
        await flush.drain()
    assert (await redis.producer.look(PRODUCER)).saved == "1-3"
    found = await asyncio.to_thread(contents, path)
    assert found.rejected == [(newer.decode(), "error_occurred is neither 0 nor 1")]
    assert found.ids == dict.fromkeys([(PRODUCER, 1), (PRODUCER, 3)], 1)


async def test_a_producer_learns_what_is_saved_after_any_number_of_losses(
    flush: Flush, redis: Commands, client: Any
) -> None:
    buffer: deque[Record] = deque()
    outbox = Outbox(buffer, monotonic=lambda: 0.0, wall=lambda: NOON)

    async def send() -> None:
        buffer.append(("app.f", 0.0, 0.5, None))
        outbox.fill()
        outbox.close_batch()
        while following := outbox.next():
            batch, need = following
            outbox.replied(await redis.producer.push(outbox.producer, batch, need), batch)

    for losses in range(1, 41):
        await send()
        outbox.enforce(0)
        await client.flushall()  # for good, as nobody else has it
        await send()
        await flush.drain()
        outbox.replied(await redis.producer.look(outbox.producer))
        assert (outbox.counts().saved, outbox.counts().dropped) == (losses, losses)
        assert not outbox.unsaved


async def test_two_drains_of_the_same_claims(redis: Commands, client: Any, path: Path) -> None:
    for n in range(4):
        await fill(redis, first=1 + 5 * n)
    flushes = [flush_of(redis.worker, SQLiteStore(str(path))) for _ in range(3)]
    saved = await asyncio.gather(*(flush.drain(ignore_leases=True) for flush in flushes))
    assert sum(saved) == 20
    await check_at_rest(client, path, {PRODUCER: 20})


async def test_rubbish_among_good_entries(
    flush: Flush, redis: Commands, client: Any, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(redis)
    rubbish = [b"", b"{", b"\xff", b"[1]", b"a" * 100_000, b"import os", foreign().upper()]
    for raw in rubbish:
        await client.rpush("metrics_list", raw, foreign("app.other"))
    assert await flush.drain() == 5 + len(rubbish)
    await check_at_rest(client, path, {PRODUCER: 5})
    found = await asyncio.to_thread(contents, path)
    assert found.foreign == len(rubbish)
    kept = [raw if isinstance(raw, bytes) else raw.encode() for raw, _ in found.rejected]
    assert kept == [raw[:65_537] for raw in rubbish]
    assert all(reason for _, reason in found.rejected)
    assert (
        "malformed entries were not saved as metrics; see the table rejected_entries" in caplog.text
    )


# Faults at each step


class Fault:
    """Lets the call of that number fail, `before` it does anything or after."""

    def __init__(self, number: int, *, before: bool) -> None:
        self._left = number
        self._before = before

    @property
    def happened(self) -> bool:
        return self._left <= 0

    async def call(
        self, function: Callable[..., Awaitable[Any]], *args: Any, **options: Any
    ) -> Any:
        self._left -= 1
        if self._left == 0 and self._before:
            raise StoreUnavailableError("before")
        result = await function(*args, **options)
        if self._left == 0:
            raise StoreUnavailableError("after")
        return result


class Faulty:
    """A store or an open database with a fault."""

    def __init__(self, target: Any, fault: Fault) -> None:
        self._target = target
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._target, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            return await self._fault.call(function, *arguments, **options)

        return call


class FaultyStore:
    """A database with a fault."""

    def __init__(self, path: Path, fault: Fault) -> None:
        self._database = SQLiteStore(str(path))
        self._fault = fault

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Faulty]:
        async with self._database.writing() as writer:
            yield Faulty(writer, self._fault)

    def reading(self) -> AbstractAsyncContextManager[object | None]:
        return self._database.reading()


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_a_crash_at_each_step(fake_client: Any, path: Path, before: bool) -> None:
    client, redis = fake_client, commands_on(fake_client)
    number = 0
    while True:
        number += 1
        path = path.with_name(f"{number}.db")
        await client.flushall()
        await fill(redis)
        await client.rpush("metrics_list", foreign("app.other"), "rubbish")
        fault = Fault(number, before=before)
        crashing = flush_of(Faulty(redis.worker, fault), FaultyStore(path, fault))
        try:
            await crashing.drain()
            await crashing.reconcile()
        except StoreUnavailableError:
            await check_pending(client)
        await fill(redis, first=6)
        healthy = flush_of(redis.worker, SQLiteStore(str(path)))
        await healthy.drain(ignore_leases=True)
        await check_at_rest(client, path, {PRODUCER: 10})
        found = await asyncio.to_thread(contents, path)
        assert (found.foreign, len(found.rejected)) == (1, 1)
        if not fault.happened:
            break
    assert number > 15


async def test_a_crash_ends_the_lease(redis: Commands, client: Any, path: Path) -> None:
    await fill(redis)
    fault = Fault(3, before=True)
    with pytest.raises(StoreUnavailableError):
        await flush_of(Faulty(redis.worker, fault), FaultyStore(path, fault)).drain()
    assert (await client.zrange(KEYS.claims, 0, -1, withscores=True))[0][1] == 0
    assert await flush_of(redis.worker, SQLiteStore(str(path))).drain() == 5


@pytest.mark.integration
async def test_a_cancel_at_each_await(redis_url: str, path: Path) -> None:
    done = 0
    client = connect(redis_url)
    redis = commands_on(client)

    async def work() -> None:
        flush = flush_of(redis.worker, SQLiteStore(str(path)))
        await flush.drain(ignore_leases=True)
        await flush.reconcile()

    await fill(redis)
    async for _ in at_each_await(work):
        await check_pending(client)
        done += 5
        await fill(redis, first=done + 1)
    await flush_of(redis.worker, SQLiteStore(str(path))).drain(ignore_leases=True)
    await check_at_rest(client, path, {PRODUCER: done + 5})
    await redis.connection.aclose()


async def test_redis_is_emptied_at_each_step(redis: Commands, client: Any, path: Path) -> None:
    commands = ["claim", "read", "acknowledge", "reconcile", "function_names"]
    for number, command in enumerate(commands):
        path = path.with_name(f"{number}.db")
        await client.flushall()
        await fill(redis)

        losses = iter(range(5))

        async def lose() -> None:
            if next(losses, None) is not None:  # noqa: B023 - called within this round only
                await client.flushall()
                await client.rpush("metrics_list", foreign("app.after"))

        flush = flush_of(During(redis.worker, command, lose), SQLiteStore(str(path)))
        await flush.drain()
        await flush.reconcile()
        healthy = flush_of(redis.worker, SQLiteStore(str(path)))
        await healthy.drain(ignore_leases=True)
        await healthy.reconcile()
        found = await asyncio.to_thread(contents, path)
        assert all(times == 1 for times in found.ids.values())
        assert all_same(await live_totals(client), found.totals)


# Databases that cannot be used: the entries wait


@contextmanager
def a_folder(path: Path) -> Iterator[None]:
    path.mkdir()
    yield
    path.rmdir()


@contextmanager
def no_database(path: Path) -> Iterator[None]:
    path.write_text("text" * 1000)
    yield
    path.unlink()


@contextmanager
def another_programs(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    yield
    path.unlink()


@contextmanager
def a_newer_one(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 99")
    yield
    path.unlink()


@contextmanager
def a_locked_one(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


@pytest.mark.parametrize(
    "spoiled", [a_folder, no_database, another_programs, a_newer_one, a_locked_one]
)
async def test_entries_wait_for_the_remedy(
    fake_client: Any,
    path: Path,
    spoiled: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "BUSY_TIMEOUT", 0.05)
    redis = commands_on(fake_client)
    flush = flush_of(redis.worker, SQLiteStore(str(path)))
    await fill(redis)
    with spoiled(path):
        for work in (flush.drain, flush.drain, flush.reconcile):
            with pytest.raises(MetricsCollectorError, match=str(path)):
                await work()
            assert await redis.reader.waiting() == 5
            await check_pending(fake_client)
    assert await flush.drain() == 5
    await check_at_rest(fake_client, path, {PRODUCER: 5})


# Databases that change under the worker


class ChangingStore:
    """A database whose file something happens to before its commit of that number."""

    def __init__(self, path: Path, number: int, change: Callable[[], object]) -> None:
        self._database = SQLiteStore(str(path))
        self._left = number
        self._change = change

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Any]:
        async with self._database.writing() as self._writer:
            yield self

    def reading(self) -> AbstractAsyncContextManager[object | None]:
        return self._database.reading()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    async def save(self, *arguments: Any) -> Any:
        self._left -= 1
        if not self._left:
            await asyncio.to_thread(self._change)
        return await self._writer.save(*arguments)


async def test_a_file_deleted_under_the_worker_is_made_anew(
    redis: Commands, client: Any, path: Path
) -> None:
    await fill(redis)
    flush = flush_of(redis.worker, ChangingStore(path, 2, path.unlink))
    assert await flush.drain() == 5
    await flush.reconcile()
    await check_pending(client)
    found = await asyncio.to_thread(contents, path)
    # What was committed before is gone with the old file; the chunk at hand and what follows are not.
    assert found.ids == dict.fromkeys([(PRODUCER, 3), (PRODUCER, 4), (PRODUCER, 5)], 1)
    assert all_same(await live_totals(client), found.totals, extremes=False)


async def test_an_older_copy_put_in_place_gets_a_new_id(
    redis: Commands, client: Any, path: Path
) -> None:
    copy = path.with_name("copy.db")
    flush = flush_of(redis.worker, SQLiteStore(str(path)))
    await fill(redis)
    await flush.drain()
    await asyncio.to_thread(shutil.copy, path, copy)
    old = (await asyncio.to_thread(contents, path)).db
    await fill(redis, first=6)
    await flush.drain()
    await asyncio.to_thread(copy.rename, path)
    await flush.reconcile()
    found = await asyncio.to_thread(contents, path)
    assert found.db != old
    assert all_same(await live_totals(client), found.totals)
    # It goes on from there, and needs no other id.
    await fill(redis, first=11)
    assert await flush.drain() == 5
    await flush.reconcile()
    again = await asyncio.to_thread(contents, path)
    assert again.db == found.db
    assert all_same(await live_totals(client), again.totals)
    await check_pending(client)


async def test_producers_learn_what_an_older_copy_has_saved(
    redis: Commands, client: Any, path: Path
) -> None:
    copy = path.with_name("copy.db")
    flush = flush_of(redis.worker, SQLiteStore(str(path)), wall=count(NOON).__next__)
    await fill(redis)
    await flush.drain()
    await asyncio.to_thread(shutil.copy, path, copy)
    for first in (6, 11, 16):
        await fill(redis, first=first)
        await flush.drain()
    await asyncio.to_thread(copy.rename, path)
    # The last that it hears of this producer.
    await redis.producer.push(PRODUCER, batch_of(Call("app.new"), first=21), 20)
    await redis.producer.push(OTHER_PRODUCER, batch_of(Call(), producer=OTHER_PRODUCER), 0)
    await client.rpush("metrics_list", foreign())
    await flush.drain()
    assert (await redis.producer.look(PRODUCER)).saved == "1-5,21-21"
    assert (await redis.producer.look(OTHER_PRODUCER)).saved == "1-1"
    assert sorted(await client.keys("*producer*")) == sorted(
        KEYS.producer(name).encode() for name in (PRODUCER, OTHER_PRODUCER)
    )


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_an_older_copy_is_recognised_however_many_commits_it_lacks(
    redis: Commands, client: Any, path: Path, lost: int
) -> None:
    copy = path.with_name("copy.db")
    flush = flush_of(redis.worker, SQLiteStore(str(path)), wall=count(NOON).__next__)
    await fill(redis)
    await flush.drain()
    await asyncio.to_thread(shutil.copy, path, copy)
    for number in range(6, 6 + lost):
        await redis.producer.push(PRODUCER, batch_of(Call(), first=number), number - 1)
        await flush.drain()
    await asyncio.to_thread(copy.rename, path)
    number = 6 + lost
    await redis.producer.push(PRODUCER, batch_of(Call(seconds=2.0), first=number), number - 1)
    await flush.drain()
    await flush.reconcile()
    found = await asyncio.to_thread(contents, path)
    assert all_same(await live_totals(client), found.totals, extremes=False)
    assert (await redis.producer.look(PRODUCER)).saved == f"1-5,{number}-{number}"


async def test_an_older_copy_is_recognised_by_each_function(
    redis: Commands, client: Any, path: Path
) -> None:
    copy = path.with_name("copy.db")
    flush = flush_of(redis.worker, SQLiteStore(str(path)))

    async def save(name: str, number: int) -> None:
        await redis.producer.push(PRODUCER, batch_of(Call(name), first=number), number - 1)
        await flush.drain()

    await save("app.f", 1)
    await asyncio.to_thread(shutil.copy, path, copy)
    await save("app.rare", 2)
    await asyncio.to_thread(copy.rename, path)
    # The commits of another function overtake the lost one.
    for number in (3, 4, 5):
        await save("app.new", number)
    await flush.reconcile()
    found = await asyncio.to_thread(contents, path)
    assert "app.rare" not in found.totals
    assert all_same(await live_totals(client), found.totals)


async def test_no_commit_of_an_older_copy_is_taken_for_a_lost_one(
    redis: Commands, client: Any, path: Path
) -> None:
    copy = path.with_name("copy.db")
    clock = count(NOON)
    flush = flush_of(redis.worker, SQLiteStore(str(path)), wall=lambda: next(clock))

    async def save(name: str, number: int, seconds: float) -> None:
        await redis.producer.push(PRODUCER, batch_of(Call(name, seconds), first=number), number - 1)
        await flush.drain()

    await save("app.f", 1, 0.5)
    await asyncio.to_thread(shutil.copy, path, copy)
    await save("app.f", 2, 1.0)
    await asyncio.to_thread(copy.rename, path)
    await save("app.f", 3, 2.0)  # as many commits as before, but not the same ones
    await flush.reconcile()
    found = await asyncio.to_thread(contents, path)
    assert all_same(await live_totals(client), found.totals, extremes=False)
    await redis.producer.push(PRODUCER, batch_of(Call("app.f", 4.0), first=4), 3)
    claim = await redis.worker.claim()
    await redis.producer.push(PRODUCER, batch_of(Call("app.f", 8.0), first=5), 4)  # it is not quiet
    length, elements = await redis.worker.read(claim.token, 1)
    async with SQLiteStore(str(path)).writing() as database:
        saved = await database.save(claim.token, length, elements, next(clock))
    assert saved is not None
    await redis.worker.acknowledge(
        claim.token,
        length,
        1,
        db=saved.db,
        no=saved.no,
        functions=saved.functions,
        producers=saved.producers,
    )
    await check_pending(client)
    await flush.drain()
    await flush.reconcile()
    found = await asyncio.to_thread(contents, path)
    assert all_same(await live_totals(client), found.totals, extremes=False)
    assert (await redis.producer.look(PRODUCER)).saved == "1-1,3-5"
    assert int(await client.hget(KEYS.saved("app.f"), "no")) == found.no


async def test_being_behind_another_worker_is_no_reason_for_a_new_id(
    redis: Commands, client: Any, path: Path
) -> None:
    other = flush_of(redis.worker, SQLiteStore(str(path)))
    await fill(redis)
    await other.drain()
    db = (await asyncio.to_thread(contents, path)).db
    pushes = iter([6, 11, 16])

    async def overtake() -> None:
        if first := next(pushes, None):
            await fill(redis, first=first)
            await other.drain(ignore_leases=True)

    slow = flush_of(During(redis.worker, "function_names", overtake), SQLiteStore(str(path)))
    for _ in range(3):
        await slow.reconcile()
    assert (await asyncio.to_thread(contents, path)).db == db
    await check_at_rest(client, path, {PRODUCER: 20})


# Reconciling


async def test_reconciling_heals_totals(
    flush: Flush, redis: Commands, client: Any, path: Path
) -> None:
    await fill(redis)
    await flush.drain()
    await client.delete(KEYS.totals("app.f"))
    await client.hset(KEYS.totals("app.fg"), "call_count", 99)
    await fill(redis, first=6)  # pending: these stay on top
    await client.delete("metrics_list")  # by hand: these are lost
    await redis.producer.push(
        OTHER_PRODUCER, batch_of(Call("app.lost"), producer=OTHER_PRODUCER), 0
    )
    await client.delete("metrics_list")
    await flush.reconcile()
    await check_at_rest(client, path, {PRODUCER: 5})


async def test_reconciling_after_redis_was_emptied(
    flush: Flush, redis: Commands, client: Any, path: Path
) -> None:
    await fill(redis)
    await flush.drain()
    life = flush.life
    await client.flushall()
    batch = batch_of(Call("app.f", 9.0), first=6)
    await redis.producer.push(PRODUCER, batch, 0)
    await flush.reconcile()
    await check_pending(client)
    live = await live_totals(client)
    assert live["app.f"].max == 9.0
    assert await flush.drain() == 1
    assert flush.life != life
    found = await asyncio.to_thread(contents, path)
    assert same((await live_totals(client))["app.f"], found.totals["app.f"])


async def test_reconciling_forgets_old_parts_of_the_ledger(redis: Commands, path: Path) -> None:
    await fill(redis)
    await flush_of(redis.worker, SQLiteStore(str(path))).drain()

    def later(days: float) -> Flush:
        wall = NOON + days * DAY
        return flush_of(redis.worker, SQLiteStore(str(path)), ledger_days=3.0, wall=lambda: wall)

    with closing(sqlite3.connect(path)) as connection:
        await later(2.9).reconcile()
        assert connection.execute("SELECT count(*) FROM ledger").fetchone() == (1,)
        await later(3.1).reconcile()
        assert connection.execute("SELECT count(*) FROM ledger").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM metrics").fetchone() == (5,)


async def test_nothing_is_made_where_nothing_is(
    flush: Flush, redis: Commands, client: Any, path: Path
) -> None:
    await flush.reconcile()
    assert await flush.drain() == 0
    assert not await asyncio.to_thread(path.exists)
    await fill(redis)
    await client.delete("metrics_list")  # the totals are to be set right, to nothing
    await flush.reconcile()
    assert await asyncio.to_thread(path.exists)
