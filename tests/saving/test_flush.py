"""The flush: claim, save, forget; and done again by anybody, whatever happened in between."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections import deque
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._errors import MetricsCollectorError, StoreUnavailableError
from metrics_collector._redis.connection import connect
from metrics_collector._saving import flush as flush_module
from metrics_collector._saving.flush import Flush
from metrics_collector._sending.outbox import Outbox
from metrics_collector._storage.sqlite import SQLiteStore, schema, session, write_ahead_log
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.helpers.cancelling import at_each_await
from tests.helpers.chunks import chunk_of
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
    push,
    same,
)
from tests.helpers.rows import rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from metrics_collector._recording.recorder import Record
    from tests.helpers.pipeline import Contents


class Scene:
    """A Redis, a database, and the flush from one to the other, at noon."""

    def __init__(self, client: Any, path: Path) -> None:
        self.client = client
        self.path = path
        self.copy = path.with_name("copy.db")
        self.store = SQLiteStore(str(path))
        self.redis = commands_on(client)
        self.flush = self.flush_of()

    def flush_of(self, source: Any = None, store: Any = None, **options: Any) -> Flush:
        usual: dict[str, Any] = {"ledger_days": 30.0, "log": RateLimitedLog(), "wall": lambda: NOON}
        source, store = source or self.redis.worker, store or self.store
        return Flush(source, store, **{**usual, **options})

    async def fill(self, *, first: int = 1, producer: str = PRODUCER) -> None:
        """Push five entries of two functions, of every outcome."""
        marks = (None, "KeyError", "", TIMEOUT, REFUSED)
        calls = [Call("app.fg"[: 5 + n % 2], 0.25 * n, mark) for n, mark in enumerate(marks)]
        await push(self.redis, *calls, first=first, producer=producer)

    async def save(self, *calls: Call, first: int) -> None:
        await push(self.redis, *calls, first=first)
        await self.flush.drain()

    async def keep_copy(self) -> None:
        await asyncio.to_thread(shutil.copy, self.path, self.copy)

    async def restore_copy(self) -> None:
        await asyncio.to_thread(self.copy.rename, self.path)

    async def told(self, producer: str = PRODUCER) -> str:
        """What a producer learns to be saved."""
        return (await self.redis.producer.look(producer)).saved

    async def found(self) -> Contents:
        return await asyncio.to_thread(contents, self.path)

    async def check_live(self, *, extremes: bool = True) -> Contents:
        """The live totals are SQL's."""
        found = await self.found()
        assert all_same(await live_totals(self.client), found.totals, extremes=extremes)
        return found

    async def check_at_rest(self, numbers: dict[str, int]) -> None:
        """Nothing waits; SQL has each number of these producers once, and the live totals are SQL's."""
        assert not await self.client.exists("metrics_list", KEYS.claims)
        await check_pending(self.client)
        expected = {(producer, n) for producer, last in numbers.items() for n in range(1, last + 1)}
        assert (await self.check_live()).ids == dict.fromkeys(expected, 1)


@pytest.fixture
def scene(client: Any, path: Path) -> Scene:
    return Scene(client, path)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush_module, "CHUNK", 2)
    monkeypatch.setattr(flush_module, "FUNCTIONS", 1)


# The usual way


async def test_a_drain_saves_all_that_waits(scene: Scene) -> None:
    await scene.fill()
    await scene.fill(producer=OTHER_PRODUCER)
    assert await scene.flush.drain() == 10
    await scene.check_at_rest({PRODUCER: 5, OTHER_PRODUCER: 5})
    assert await scene.told() == "1-5"
    assert await scene.told(OTHER_PRODUCER) == "1-5"
    assert await scene.flush.drain() == 0


async def test_an_empty_redis_opens_no_database(scene: Scene) -> None:
    assert await scene.flush.drain() == 0
    assert not await asyncio.to_thread(scene.path.exists)


@pytest.mark.parametrize("once", [False, True])
async def test_what_comes_meanwhile_is_saved_too_unless_once(scene: Scene, once: bool) -> None:
    pushes = iter(range(3))

    async def push() -> None:
        if (n := next(pushes, None)) is not None:
            await scene.fill(first=6 + 5 * n)

    await scene.fill()
    flush = scene.flush_of(During(scene.redis.worker, "claim", push))
    assert await flush.drain(once=once) == (5 if once else 20)
    assert await scene.redis.reader.waiting() == (5 if once else 0)
    await check_pending(scene.client)


async def test_once_goes_on_after_what_others_left(scene: Scene) -> None:
    await scene.fill()
    await scene.redis.worker.claim()
    await scene.fill(first=6)
    assert await scene.flush.drain(ignore_leases=True, once=True) == 10
    await scene.check_at_rest({PRODUCER: 10})


async def test_another_workers_lease_is_respected_until_it_ends(scene: Scene) -> None:
    await scene.fill()
    token = (await scene.redis.worker.claim()).token
    await scene.fill(first=6)
    assert await scene.flush.drain() == 0
    await scene.client.zadd(KEYS.claims, {token: 1})  # as after its time
    assert await scene.flush.drain() == 10
    await scene.check_at_rest({PRODUCER: 10})


async def test_a_claim_that_is_gone_is_forgotten_and_no_longer_counts_as_backlog(
    scene: Scene,
) -> None:
    await scene.fill()
    claim = await scene.redis.worker.claim()
    await scene.client.delete(KEYS.claim(claim.token))  # evicted, or by hand
    await scene.client.zadd(KEYS.claims, {claim.token: 1})
    await scene.flush.drain()
    assert await scene.redis.reader.waiting() == 0
    assert not await scene.client.exists(KEYS.claims)
    await scene.fill(first=6)
    assert await scene.flush.drain() == 5
    assert await scene.redis.reader.waiting() == 0


async def test_a_producer_learns_that_sql_has_what_was_no_entry(scene: Scene) -> None:
    batch = batch_of(Call(), Call(), Call())
    first, second, third = lines_of(batch)
    newer = second.replace(b'"error_occurred":0', b'"error_occurred":"maybe"')
    for _ in range(2):  # a copy is known by its number, too
        await scene.client.rpush("metrics_list", first, newer, third)
        await scene.flush.drain()
    assert await scene.told() == "1-3"
    found = await scene.found()
    assert found.rejected == [(newer.decode(), "error_occurred is neither 0 nor 1")]
    assert found.ids == dict.fromkeys([(PRODUCER, 1), (PRODUCER, 3)], 1)


async def test_a_producer_learns_what_is_saved_after_any_number_of_losses(scene: Scene) -> None:
    buffer: deque[Record] = deque()
    outbox = Outbox(buffer, monotonic=lambda: 0.0, wall=lambda: NOON)

    async def send() -> None:
        buffer.append(("app.f", 0.0, 0.5, None))
        outbox.fill()
        outbox.close_batch()
        while following := outbox.next():
            batch, need = following
            outbox.replied(await scene.redis.producer.push(outbox.producer, batch, need), batch)

    for losses in range(1, 41):
        await send()
        outbox.enforce(0)
        await scene.client.flushall()  # for good, as nobody else has it
        await send()
        await scene.flush.drain()
        outbox.replied(await scene.redis.producer.look(outbox.producer))
        assert (outbox.counts().saved, outbox.counts().dropped) == (losses, losses)
        assert not outbox.unsaved


async def test_two_drains_of_the_same_claims(scene: Scene) -> None:
    for n in range(4):
        await scene.fill(first=1 + 5 * n)
    flushes = [scene.flush_of() for _ in range(3)]
    saved = await asyncio.gather(*(flush.drain(ignore_leases=True) for flush in flushes))
    assert sum(saved) == 20
    await scene.check_at_rest({PRODUCER: 20})


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
    """Redis, or a database, with a fault."""

    def __init__(self, target: Any, fault: Fault) -> None:
        self._target = target
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._target, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            return await self._fault.call(function, *arguments, **options)

        return call

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Faulty]:
        async with self._target.writing() as writer:
            yield Faulty(writer, self._fault)

    def reading(self) -> Any:
        return self._target.reading()


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_a_crash_at_each_step(fake_client: Any, path: Path, before: bool) -> None:
    for number in count(1):
        scene = Scene(fake_client, path.with_name(f"{number}.db"))
        await fake_client.flushall()
        await scene.fill()
        await fake_client.rpush("metrics_list", foreign("app.other"), "rubbish")
        fault = Fault(number, before=before)
        crashing = scene.flush_of(Faulty(scene.redis.worker, fault), Faulty(scene.store, fault))
        try:
            await crashing.drain()
            await crashing.reconcile()
        except StoreUnavailableError:
            await check_pending(fake_client)
        await scene.fill(first=6)
        await scene.flush.drain(ignore_leases=True)
        await scene.check_at_rest({PRODUCER: 10})
        found = await scene.found()
        assert (found.foreign, len(found.rejected)) == (1, 1)
        if not fault.happened:
            assert number > 15
            break


async def test_a_crash_ends_the_lease(scene: Scene) -> None:
    await scene.fill()
    fault = Fault(3, before=True)
    with pytest.raises(StoreUnavailableError):
        await scene.flush_of(Faulty(scene.redis.worker, fault), Faulty(scene.store, fault)).drain()
    assert (await scene.client.zrange(KEYS.claims, 0, -1, withscores=True))[0][1] == 0
    assert await scene.flush.drain() == 5


@pytest.mark.integration
async def test_a_cancel_at_each_await(redis_url: str, path: Path) -> None:
    done = 0
    client = connect(redis_url)
    scene = Scene(client, path)

    async def work() -> None:
        flush = scene.flush_of()
        await flush.drain(ignore_leases=True)
        await flush.reconcile()

    await scene.fill()
    async for _ in at_each_await(work):
        await check_pending(client)
        done += 5
        await scene.fill(first=done + 1)
    await scene.flush.drain(ignore_leases=True)
    await scene.check_at_rest({PRODUCER: done + 5})
    await client.aclose()


@pytest.mark.parametrize("command", ["claim", "read", "acknowledge", "reconcile", "function_names"])
async def test_redis_is_emptied_at_each_step(scene: Scene, command: str) -> None:
    await scene.fill()
    losses = iter(range(5))

    async def lose() -> None:
        if next(losses, None) is not None:
            await scene.client.flushall()
            await scene.client.rpush("metrics_list", foreign("app.after"))

    flush = scene.flush_of(During(scene.redis.worker, command, lose))
    await flush.drain()
    await flush.reconcile()
    await scene.flush.drain(ignore_leases=True)
    await scene.flush.reconcile()
    assert all(times == 1 for times in (await scene.check_live()).ids.values())


# Databases that cannot be used: the entries wait


FILES: dict[str, Callable[[Path], object]] = {
    "no database": lambda path: path.write_text("text" * 1000),
    "another program's": lambda path: rows(path, "CREATE TABLE theirs (x)"),
    "a newer one": lambda path: rows(
        path, f"PRAGMA application_id = {schema.APPLICATION_ID}", "PRAGMA user_version = 99"
    ),
}


@contextmanager
def spoiled(path: Path, how: str) -> Iterator[None]:
    """Something in the way of the database, until it is taken away."""
    if how == "a folder":
        path.mkdir()
        yield
        path.rmdir()
    elif how == "a lock":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            yield
    else:
        FILES[how](path)
        yield
        path.unlink()


@pytest.mark.parametrize("how", ["a folder", "a lock", *FILES])
async def test_entries_wait_for_the_remedy(
    fake_client: Any, path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "BUSY_TIMEOUT", 0.05)
    scene = Scene(fake_client, path)
    await scene.fill()
    with spoiled(path, how):
        for work in (scene.flush.drain, scene.flush.drain, scene.flush.reconcile):
            with pytest.raises(MetricsCollectorError, match=str(path)):
                await work()
            assert await scene.redis.reader.waiting() == 5
            await check_pending(fake_client)
    assert await scene.flush.drain() == 5
    await scene.check_at_rest({PRODUCER: 5})


# Databases that change under the worker


async def test_a_file_deleted_under_the_worker_is_made_anew(scene: Scene) -> None:
    await scene.fill()
    deletions = iter([scene.path.unlink])

    async def delete_once() -> None:
        if delete := next(deletions, None):
            await asyncio.to_thread(delete)

    flush = scene.flush_of(During(scene.redis.worker, "acknowledge", delete_once))
    assert await flush.drain() == 5
    await flush.reconcile()
    await check_pending(scene.client)
    # What was committed before is gone with the old file; the chunk at hand and what follows are not.
    found = await scene.check_live(extremes=False)
    assert found.ids == dict.fromkeys([(PRODUCER, 3), (PRODUCER, 4), (PRODUCER, 5)], 1)


async def test_an_older_copy_put_in_place_gets_a_new_id(scene: Scene) -> None:
    await scene.fill()
    await scene.flush.drain()
    await scene.keep_copy()
    old = (await scene.found()).db
    await scene.fill(first=6)
    await scene.flush.drain()
    await scene.restore_copy()
    await scene.flush.reconcile()
    found = await scene.check_live()
    assert found.db != old
    # It goes on from there, and needs no other id.
    await scene.fill(first=11)
    assert await scene.flush.drain() == 5
    await scene.flush.reconcile()
    assert (await scene.check_live()).db == found.db
    await check_pending(scene.client)


async def test_producers_learn_what_an_older_copy_has_saved(scene: Scene) -> None:
    scene.flush = scene.flush_of(wall=count(NOON).__next__)
    await scene.fill()
    await scene.flush.drain()
    await scene.keep_copy()
    for first in (6, 11, 16):
        await scene.fill(first=first)
        await scene.flush.drain()
    await scene.restore_copy()
    await push(scene.redis, Call("app.new"), first=21)  # the last that it hears of this producer
    await push(scene.redis, Call(), producer=OTHER_PRODUCER)
    await scene.client.rpush("metrics_list", foreign())
    await scene.flush.drain()
    assert await scene.told() == "1-5,21-21"
    assert await scene.told(OTHER_PRODUCER) == "1-1"
    assert sorted(await scene.client.keys("*producer*")) == sorted(
        KEYS.producer(name).encode() for name in (PRODUCER, OTHER_PRODUCER)
    )


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_an_older_copy_is_recognised_however_many_commits_it_lacks(
    scene: Scene, lost: int
) -> None:
    scene.flush = scene.flush_of(wall=count(NOON).__next__)
    await scene.fill()
    await scene.flush.drain()
    await scene.keep_copy()
    number = 6 + lost
    for first in range(6, number):
        await scene.save(Call(), first=first)
    await scene.restore_copy()
    await scene.save(Call(seconds=2.0), first=number)
    await scene.flush.reconcile()
    await scene.check_live(extremes=False)
    assert await scene.told() == f"1-5,{number}-{number}"


async def test_an_older_copy_is_recognised_by_each_function(scene: Scene) -> None:
    await scene.save(Call("app.f"), first=1)
    await scene.keep_copy()
    await scene.save(Call("app.rare"), first=2)
    await scene.restore_copy()
    # The commits of another function overtake the lost one.
    for number in (3, 4, 5):
        await scene.save(Call("app.new"), first=number)
    await scene.flush.reconcile()
    assert "app.rare" not in (await scene.check_live()).totals


async def test_no_commit_of_an_older_copy_is_taken_for_a_lost_one(scene: Scene) -> None:
    clock = count(NOON)
    scene.flush = scene.flush_of(wall=lambda: next(clock))
    await scene.save(Call("app.f", 0.5), first=1)
    await scene.keep_copy()
    await scene.save(Call("app.f", 1.0), first=2)
    await scene.restore_copy()
    await scene.save(Call("app.f", 2.0), first=3)  # as many commits as before, but not the same
    await scene.flush.reconcile()
    await scene.check_live(extremes=False)
    await push(scene.redis, Call("app.f", 4.0), first=4)
    token = (await scene.redis.worker.claim()).token
    await push(scene.redis, Call("app.f", 8.0), first=5)  # it is not quiet
    length, elements = await scene.redis.worker.read(token, 1)
    async with scene.store.writing() as database:
        saved = await database.save(chunk_of(token, length, elements), next(clock))
    assert saved is not None
    told: Any = {"functions": saved.functions, "producers": saved.producers}
    await scene.redis.worker.acknowledge(token, length, 1, db=saved.db, no=saved.no, **told)
    await check_pending(scene.client)
    await scene.flush.drain()
    await scene.flush.reconcile()
    found = await scene.check_live(extremes=False)
    assert await scene.told() == "1-1,3-5"
    assert int(await scene.client.hget(KEYS.saved("app.f"), "no")) == found.no


async def test_being_behind_another_worker_is_no_reason_for_a_new_id(scene: Scene) -> None:
    await scene.fill()
    await scene.flush.drain()
    db = (await scene.found()).db
    pushes = iter([6, 11, 16])

    async def overtake() -> None:
        if first := next(pushes, None):
            await scene.fill(first=first)
            await scene.flush.drain(ignore_leases=True)

    slow = scene.flush_of(During(scene.redis.worker, "function_names", overtake))
    for _ in range(3):
        await slow.reconcile()
    assert (await scene.found()).db == db
    await scene.check_at_rest({PRODUCER: 20})


# Reconciling


async def test_reconciling_heals_totals(scene: Scene) -> None:
    await scene.fill()
    await scene.flush.drain()
    await scene.client.delete(KEYS.totals("app.f"))
    await scene.client.hset(KEYS.totals("app.fg"), "call_count", 99)
    await scene.fill(first=6)  # pending: these stay on top
    await scene.client.delete("metrics_list")  # by hand: these are lost
    await push(scene.redis, Call("app.lost"), producer=OTHER_PRODUCER)
    await scene.client.delete("metrics_list")
    await scene.flush.reconcile()
    await scene.check_at_rest({PRODUCER: 5})


async def test_reconciling_after_redis_was_emptied(scene: Scene) -> None:
    await scene.fill()
    await scene.flush.drain()
    life = scene.flush.life
    await scene.client.flushall()
    batch = batch_of(Call("app.f", 9.0), first=6)
    await scene.redis.producer.push(PRODUCER, batch, 0)
    await scene.flush.reconcile()
    await check_pending(scene.client)
    assert (await live_totals(scene.client))["app.f"].max == 9.0
    assert await scene.flush.drain() == 1
    assert scene.flush.life != life
    found = await scene.found()
    assert same((await live_totals(scene.client))["app.f"], found.totals["app.f"])


async def test_nothing_is_made_where_nothing_is(scene: Scene) -> None:
    await scene.flush.reconcile()
    assert await scene.flush.drain() == 0
    assert not await asyncio.to_thread(scene.path.exists)
    await scene.fill()
    await scene.client.delete("metrics_list")  # the totals are to be set right, to nothing
    await scene.flush.reconcile()
    assert await asyncio.to_thread(scene.path.exists)


async def test_a_log_that_grows_beside_a_reader_is_warned_of(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "metrics_collector")
    monkeypatch.setattr(write_ahead_log, "_USUAL", 100_000)
    await scene.fill()
    await scene.flush.drain()
    reader = await asyncio.to_thread(
        partial(sqlite3.connect, f"file:{scene.path}?mode=ro", uri=True, check_same_thread=False)
    )
    begin = partial(reader.executescript, "BEGIN; SELECT count(*) FROM metrics;")
    await asyncio.to_thread(begin)
    assert (await scene.store.describe()).warning is None
    while await scene.store.warning() is None:
        await scene.client.rpush("metrics_list", *[foreign()] * 20)
        await scene.flush.drain()
    for _ in range(2):
        await scene.flush.reconcile()
    assert (await scene.store.describe()).warning == await scene.store.warning()
    await asyncio.to_thread(reader.close)
    await scene.flush.reconcile()
    lines = [record.getMessage() for record in caplog.records]
    grown, over = [line for line in lines if "log" in line or "database" in line]
    assert grown.startswith(f"the write-ahead log {scene.path}-wal has grown to 0 MB and goes on")
    assert over == "what the database had warned of is over"
    assert await scene.store.warning() is None
