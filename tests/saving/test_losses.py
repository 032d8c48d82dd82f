"""Entries that only Redis had, and that it has lost: they are counted and said."""

from __future__ import annotations

import asyncio
import math
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._errors import StoreFullError
from metrics_collector._saving import losses
from metrics_collector._saving.losses import Losses
from metrics_collector._storage.sqlite import SQLiteStore
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.helpers.pipeline import (
    DB,
    KEYS,
    OTHER_PRODUCER,
    PRODUCER,
    Call,
    During,
    flush_of,
    push,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers.pipeline import Commands


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "PATIENCE", 0.0)


@pytest.mark.usefixtures("impatient")
async def test_what_a_dead_process_had_sent_is_counted_and_said_once(
    redis: Commands, client: Any, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flush = flush_of(redis.worker, path)
    await push(redis, Call(), Call())
    await flush.drain()
    batch = await push(redis, Call(), Call(), Call(), first=3)
    await flush.report_lost()
    assert await redis.reader.dropped() == {PRODUCER: 0}
    await client.delete(KEYS.metrics_list)
    await client.hset(KEYS.producer("rubbish"), mapping={"seen": "x", "list": "y", "lost": "z"})
    # Others go on.
    await push(redis, Call(), producer=OTHER_PRODUCER)
    await flush.drain()
    await push(redis, Call(), first=2, producer=OTHER_PRODUCER)
    for _ in range(2):
        await flush.report_lost()
        dropped = await redis.reader.dropped()
        assert dropped == {PRODUCER: 3, OTHER_PRODUCER: 0, "rubbish": 0}
    assert [record.args for record in caplog.records] == [(3,)]
    assert "and no process sends them again" in caplog.text
    assert 0 < await client.pttl(KEYS.producer(PRODUCER)) <= 24 * 3600 * 1000

    # There was a spool file.
    batch.force = True
    await redis.producer.push(PRODUCER, batch, 0)
    await flush.drain()
    await flush.report_lost()
    assert (await redis.reader.dropped())[PRODUCER] == 0
    assert len(caplog.records) == 1


async def test_a_process_that_lives_has_time_to_send_it_again(
    redis: Commands, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = Losses(redis.worker, RateLimitedLog())
    batch = await push(redis, Call(), Call())
    await client.delete(KEYS.metrics_list)
    await found.look()
    await found.look()
    batch.force = True
    await redis.producer.push(PRODUCER, batch, 0)
    monkeypatch.setattr(losses, "PATIENCE", 0.0)
    await found.look()
    assert await redis.reader.dropped() == {PRODUCER: 0}
    assert not caplog.records


async def test_a_process_that_sends_once_a_minute_has_time_as_well(
    redis: Commands, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    time = loop.time
    found = Losses(redis.worker, RateLimitedLog())
    await push(redis, Call(), Call())
    await client.delete(KEYS.metrics_list)
    for later, lost in ((0, 0), (60, 0), (120, 2)):
        monkeypatch.setattr(loop, "time", lambda later=later: time() + later)
        await found.look()
        assert await redis.reader.dropped() == {PRODUCER: lost}
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("impatient")
async def test_an_earlier_process_may_have_it_in_any_list(redis: Commands, client: Any) -> None:
    found = Losses(redis.worker, RateLimitedLog())
    await push(redis, Call())
    await client.hdel(KEYS.producer(PRODUCER), "list")
    await client.rename(KEYS.metrics_list, "lost")
    await push(redis, Call(), producer=OTHER_PRODUCER)
    await redis.worker.claim()
    await push(redis, Call(), first=2, producer=OTHER_PRODUCER)
    await found.look()
    assert await redis.reader.dropped() == {PRODUCER: 0, OTHER_PRODUCER: 0}
    await client.delete(KEYS.metrics_list, KEYS.claims)
    await found.look()
    assert await redis.reader.dropped() == {PRODUCER: 1, OTHER_PRODUCER: 2}


@pytest.mark.usefixtures("impatient")
async def test_what_is_not_known_is_not_counted(redis: Commands, client: Any) -> None:
    await push(redis, *[Call()] * 100)
    await client.delete(KEYS.metrics_list)
    saved = ",".join(f"{2 * n}-{2 * n}" for n in range(1, 33))
    await redis.worker.acknowledge("", 0, 0, db=DB, no=1, functions={}, producers={PRODUCER: saved})
    await Losses(redis.worker, RateLimitedLog()).look()
    assert await redis.reader.dropped() == {PRODUCER: 0}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(lambda path, _: path.unlink(), id="deleted"),
        pytest.param(lambda path, copy: copy.replace(path), id="replaced"),
    ],
)
async def test_what_went_with_the_database_redis_has_not_lost(
    redis: Commands, client: Any, path: Path, lose: Callable[[Path, Path], object]
) -> None:
    flush = flush_of(redis.worker, path)
    copy = path.with_name("copy.db")
    await push(redis, Call())
    await flush.drain()
    shutil.copy(path, copy)
    await push(redis, Call(), Call(), first=2)
    await flush.drain()
    lose(path, copy)
    await push(redis, Call(), first=4)
    await flush.drain()
    await flush.report_lost()
    assert await redis.reader.dropped() == {PRODUCER: 0}
    # What it loses later is counted.
    await push(redis, Call(), Call(), first=5)
    await client.delete(KEYS.metrics_list)
    await flush.report_lost()
    assert await redis.reader.dropped() == {PRODUCER: 2}


@pytest.mark.usefixtures("impatient")
async def test_what_the_ledger_has_forgotten_redis_has_not_lost(
    redis: Commands, client: Any, path: Path
) -> None:
    flush = flush_of(redis.worker, path)
    await push(redis, Call(), Call())
    await flush.drain()
    # A month later.
    await client.delete(KEYS.producer(PRODUCER))
    async with SQLiteStore(str(path)).writing() as writer:
        await writer.forget_old_ledger(math.inf)
    await push(redis, Call(), first=3, need=0)
    await flush.drain()
    await flush.report_lost()
    assert await redis.reader.dropped() == {PRODUCER: 0}


@pytest.mark.usefixtures("impatient")
async def test_a_full_redis_is_told_the_next_time(
    redis: Commands, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def full() -> None:
        raise StoreFullError("full")

    await push(redis, Call())
    await client.delete(KEYS.metrics_list)
    source: Any = During(redis.worker, "lost", full)
    await Losses(source, RateLimitedLog()).look()
    assert not caplog.records
    await Losses(redis.worker, RateLimitedLog()).look()
    assert len(caplog.records) == 1
