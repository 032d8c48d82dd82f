"""The worker: its own timer, reconciling, heartbeat and end."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._redis.heartbeat import Heartbeat
from metrics_collector._saving.flush import Flush
from metrics_collector._saving.worker import GRACE, Worker
from metrics_collector._storage.sqlite import SQLiteStore
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.helpers.jumping_loop import jumping
from tests.helpers.pipeline import PRODUCER, Call, During, batch_of, commands_on, contents

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path


def now() -> float:
    return asyncio.get_running_loop().time()


def since(began: float) -> int:
    """Whole seconds: what a busy machine takes besides is no matter."""
    return round(now() - began)


class Drains:
    """A flush that notes when it is asked for what."""

    def __init__(self, act: Callable[[], Awaitable[int]] | None = None) -> None:
        self.life: str | None = "first"
        self.db: str | None = "a"
        self.began = now()
        self.drains: list[int] = []
        self.reconciled: list[int] = []
        self.reported: list[int] = []
        self._act = act

    async def drain(self, *, once: bool) -> int:
        assert once
        self.drains.append(since(self.began))
        return 0 if self._act is None else await self._act()

    async def report_lost(self) -> None:
        self.reported.append(since(self.began))

    async def reconcile(self) -> None:
        self.reconciled.append(since(self.began))


class Heartbeats:
    """Notes heartbeats."""

    def __init__(self, *, away: bool = False) -> None:
        self.began = now()
        self.states: list[tuple[int, object]] = []
        self.stopped = False
        self._away = away

    async def beat(self, state: Mapping[str, object], ttl: float) -> None:
        assert ttl == 20.0
        json.dumps(state)
        self.states.append((since(self.began), state["error"]))
        if self._away:
            raise StoreUnavailableError("away")

    async def stop(self) -> None:
        if self._away:
            raise StoreUnavailableError("away")
        self.stopped = True


class Purges:
    """Counts purges, each of which takes a second, and fails them with `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = 0
        self.ended = 0
        self.error = error

    async def run(self) -> None:
        self.begun += 1
        await asyncio.sleep(1)
        if self.error is not None:
            raise self.error
        self.ended += 1


def worker_of(flush: Any, beats: Any = None, purge: Any = None, **changes: Any) -> Worker:
    quiet = AsyncMock(return_value=[])
    usual = {
        "every": 5.0,
        "log": RateLimitedLog(),
        "dangers": quiet,
        "split": AsyncMock(return_value=None),
        "close": AsyncMock(),
    }
    parts: list[Any] = [flush, purge or Purges(), beats or Heartbeats()]
    return Worker(*parts, **{**usual, **changes})


async def work_for(seconds: float, worker: Worker) -> None:
    await worker.start()
    await asyncio.sleep(seconds)
    await worker.aclose()


@jumping
@pytest.mark.parametrize(("every", "times"), [(5.0, [0, 10, 20, 30]), (3600.0, [0, 60, 120, 180])])
async def test_it_flushes_without_being_asked(every: float, times: list[float]) -> None:
    flush = Drains()
    await work_for(times[-1] + 1, worker_of(flush, every=every))
    assert flush.drains == times


@jumping
async def test_dangers_are_said_at_the_start_and_of_each_new_redis(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[int] = []
    flush = Drains()

    async def dangers() -> list[str]:
        asked.append(since(flush.began))
        return ["it may evict", "it keeps nothing"]

    worker = worker_of(flush, dangers=dangers)
    await worker.start()
    await asyncio.sleep(125)
    flush.life = "second"
    await asyncio.sleep(20)
    await worker.aclose()
    assert asked == [0, 130]
    assert caplog.messages == ["it may evict", "it keeps nothing"]  # the rest within a minute


@jumping
async def test_a_split_is_said_once_it_was_there_twice(caplog: pytest.LogCaptureFixture) -> None:
    split = AsyncMock(side_effect=["a", None, "a", "b", "b", "b", None])
    await work_for(4 * 60 - 1, worker_of(Drains(), split=split, every=60))
    assert caplog.messages == []
    await work_for(60 * 3, worker_of(Drains(), split=split, every=60))
    assert caplog.messages == ["b"]


@jumping
async def test_totals_are_reconciled_at_the_start_and_every_minute() -> None:
    flush = Drains()
    await work_for(125, worker_of(flush))
    assert flush.reconciled == flush.reported == [0, 60, 120]


@jumping
async def test_totals_are_reconciled_when_redis_has_lost_its_data() -> None:
    flush = Drains()
    worker = worker_of(flush)
    for life in ("first", "first", "second", "second"):
        flush.life = life
        await worker.flush()
        await asyncio.sleep(1)
    assert flush.reconciled == [0, 2]


@jumping
async def test_busy_producers_do_not_keep_reconciling_away() -> None:
    left = iter(range(20, -1, -1))

    async def busy() -> int:
        await asyncio.sleep(10)
        return next(left)

    flush = Drains(busy)
    assert await worker_of(flush).flush() == sum(range(21))
    assert flush.reconciled == [10, 70, 130, 190]


@jumping
async def test_trouble_is_shown_logged_and_tried_again_soon(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "metrics_collector")

    async def fail() -> int:
        if now() - flush.began < 12:
            raise StoreUnavailableError("the disk is full")
        return 0

    flush, beats = Drains(fail), Heartbeats()
    await work_for(21, worker_of(flush, beats, every=60.0))
    assert flush.drains == [0, 5, 10, 15]
    assert beats.states[1:3] == [(5, "the disk is full"), (10, "the disk is full")]
    assert beats.states[-1] == (20, None)
    assert caplog.messages == [
        "cannot save entries; they wait in Redis: the disk is full",
        "saving entries works again",
    ]


@jumping
async def test_no_error_whatsoever_ends_the_timer() -> None:
    async def fail() -> int:
        raise ZeroDivisionError("a mistake")

    flush, beats = Drains(fail), Heartbeats()
    worker = worker_of(flush, beats)
    await worker.start()
    await asyncio.sleep(11)
    assert await worker.flush() == 0
    await worker.aclose()
    assert flush.drains == [0, 5, 10, 11]
    assert beats.states[-1][1] == "ZeroDivisionError: a mistake"


@jumping
async def test_it_beats_every_five_seconds_even_during_a_flush() -> None:
    flush, beats, close = Drains(lambda: asyncio.sleep(12, 0)), Heartbeats(), AsyncMock()
    worker = worker_of(flush, beats, close=close)
    await worker.start()
    await asyncio.sleep(11)
    assert beats.states == [(0, None), (5, None), (10, None)]
    await asyncio.sleep(2)
    await worker.aclose()
    assert beats.stopped
    close.assert_awaited_once()


@jumping
async def test_it_works_and_ends_while_redis_takes_no_heartbeat() -> None:
    flush, beats, close = Drains(), Heartbeats(away=True), AsyncMock()
    await work_for(11, worker_of(flush, beats, close=close))
    assert flush.drains == [0, 10]
    assert len(beats.states) == 3
    close.assert_awaited_once()


@jumping
async def test_one_flush_at_a_time() -> None:
    running = 0

    async def alone() -> int:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(1)
        running -= 1
        return 0

    flush = Drains(alone)
    worker = worker_of(flush)
    await asyncio.gather(*(worker.flush() for _ in range(3)))
    assert flush.drains == [0, 1, 2]


@jumping
@pytest.mark.parametrize(("takes", "finishes"), [(GRACE / 2, True), (GRACE * 100, False)])
@pytest.mark.parametrize("timer", [True, False], ids=["timer", "request"])
async def test_a_flush_has_a_moment_to_finish(takes: float, *, finishes: bool, timer: bool) -> None:
    finished, close = False, AsyncMock()

    async def slow() -> int:
        nonlocal finished
        await asyncio.sleep(takes)
        close.assert_not_awaited()
        finished = True
        return 7

    flush = Drains(slow)
    worker = worker_of(flush, close=close)
    requested = None
    if timer:
        await worker.start()
    else:
        requested = asyncio.create_task(worker.flush())
    await asyncio.sleep(0)
    began = now()
    await worker.aclose()
    assert since(began) <= 1  # of the 50 that a long flush would take
    assert finished is finishes
    close.assert_awaited_once()
    if requested is not None:
        await asyncio.wait([requested])
        assert requested.cancelled() is not finishes
    # Nothing begins any more, though the last one has found something.
    assert await worker.flush() == 0
    assert flush.drains == [0]
    await worker.aclose()  # twice does no harm


@jumping
async def test_an_end_that_is_cut_off_leaves_no_task_behind() -> None:
    flush = Drains(lambda: asyncio.sleep(3600, 0))
    worker = worker_of(flush)
    await worker.start()
    await asyncio.sleep(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(GRACE / 2):
            await worker.aclose()
    await asyncio.wait(worker._tasks, timeout=10)
    assert all(task.cancelled() for task in worker._tasks)


async def test_with_a_real_flush(fake_client: Any, path: Path) -> None:
    redis = commands_on(fake_client)
    beaten = asyncio.Event()

    async def note() -> None:
        beaten.set()

    flush = Flush(redis.worker, SQLiteStore(str(path)), ledger_days=30, log=RateLimitedLog())
    beats = During(Heartbeat(redis.connection, "worker", "host:1"), "beat", note)
    worker = worker_of(flush, beats, every=60, close=redis.connection.aclose)
    await asyncio.to_thread(path.mkdir)
    await redis.producer.push(PRODUCER, batch_of(Call(), Call()), 0)
    assert await worker.flush() == 0
    await worker.start()
    await beaten.wait()
    state = (await redis.reader.heartbeats("worker"))["host:1"]
    assert state["flushed_at"] is None
    assert "is a folder; give the path of a file" in state["error"]
    await asyncio.to_thread(path.rmdir)
    await worker.flush()  # or the timer was faster
    assert (await redis.reader.live(["app.f"]))["app.f"].whole
    assert len((await asyncio.to_thread(contents, path)).entries) == 2
    await worker.aclose()


# Purges


@jumping
async def test_a_purge_goes_on_beside_flushes_and_only_once() -> None:
    flush, purge = Drains(), Purges()
    worker = worker_of(flush, purge=purge)
    worker.begin_purge()
    await asyncio.sleep(0.5)
    worker.begin_purge()
    await worker.flush()
    assert (purge.begun, purge.ended, len(flush.drains)) == (1, 0, 1)
    await asyncio.sleep(1)
    worker.begin_purge()
    await asyncio.sleep(2)
    assert (purge.begun, purge.ended) == (2, 2)
    await worker.aclose()


@jumping
async def test_a_purge_that_is_under_way_ends_with_the_worker() -> None:
    purge = Purges()
    worker = worker_of(Drains(), purge=purge)
    worker.begin_purge()
    await asyncio.sleep(0.5)
    await worker.aclose()
    await asyncio.sleep(2)
    assert (purge.begun, purge.ended) == (1, 0)


@jumping
async def test_a_purge_that_fails_is_reported_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    purge = Purges(StoreUnavailableError("the database is locked"))
    worker = worker_of(Drains(), purge=purge)
    worker.begin_purge()
    await asyncio.sleep(2)
    purge.error = None
    worker.begin_purge()
    await asyncio.sleep(2)
    assert purge.ended == 1
    await worker.aclose()
    assert [m for m in caplog.messages if "the database is locked" in m]
