"""What a producer asks of Redis, on fakeredis and on a real server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._redis.connection import connect
from tests.helpers.pipeline import (
    KEYS,
    NOON,
    OTHER_PRODUCER,
    PRODUCER,
    Call,
    all_same,
    batch_of,
    check_pending,
    commands_on,
    entries_of,
    everything,
    lines_of,
    live_totals,
    push,
    totals_of,
)

if TYPE_CHECKING:
    from tests.helpers.pipeline import Commands


async def test_a_push_adds_entries_and_totals(redis: Commands, client: Any) -> None:
    calls = [Call("app.f", 0.5), Call("app.f", 2.0, "ValueError"), Call("app.f", 0.0, "")]
    batch = batch_of(*calls, Call("app.ü:{*}", 3.0, 'a"b\n'))
    assert (await redis.producer.push(PRODUCER, batch, 0))[:5] == ("ok", 4, "", False, 0)
    assert await client.lrange("metrics_list", 0, -1) == lines_of(batch)
    assert all_same(await live_totals(client), totals_of(entries_of(lines_of(batch))))
    fields = await client.hgetall("app:metrics:app.f")
    counts = dict.fromkeys(
        [b"error_count", b"cancelled_count", b"error:ValueError", b"h:zero"], b"1"
    )
    figures = {b"execution_time": b"2.5", b"min": b"0", b"max": b"2", b"call_count": b"3"}
    assert fields.items() >= {**counts, **figures, b"last_called_at": b"%d" % (NOON + 2)}.items()
    assert b"as_of" not in fields
    assert 0 < await client.pttl(KEYS.producer(PRODUCER)) <= 24 * 3600 * 1000
    await check_pending(client)


async def test_a_batch_that_comes_twice_is_skipped(redis: Commands, client: Any) -> None:
    batch = await push(redis, Call(), Call())
    before = await everything(client)
    await client.pexpire(KEYS.producer(PRODUCER), 1000)
    assert (await redis.producer.push(PRODUCER, batch, 0))[:5] == ("skip", 2, "", False, 0)
    assert await everything(client) == before
    assert await client.pttl(KEYS.producer(PRODUCER)) > 1000


async def test_a_batch_whose_forerunner_is_missing_is_a_gap(redis: Commands, client: Any) -> None:
    later = batch_of(Call(), first=3)
    assert (await redis.producer.push(PRODUCER, later, 2))[:5] == ("gap", 0, "", False, 0)
    assert await everything(client) == {}
    await push(redis, Call())
    assert (await redis.producer.push(PRODUCER, later, 2))[:5] == ("gap", 1, "", False, 0)
    # Nothing before it is kept any more: it may go on from there.
    assert (await redis.producer.push(PRODUCER, later, 0)).kind == "ok"


async def test_producers_do_not_share_their_numbers(redis: Commands, client: Any) -> None:
    await push(redis, Call())
    await push(redis, Call(), producer=OTHER_PRODUCER)
    assert (await live_totals(client))["app.f"].counts["call_count"] == 2


async def test_a_full_backlog_refuses_without_a_trace(client: Any) -> None:
    redis = commands_on(client, max_backlog=3)
    await push(redis, Call(), Call())
    await redis.worker.claim()
    await push(redis, Call(), first=3)
    before = await everything(client)
    batch = batch_of(Call(), first=4)
    # Two in a claim and one in the list: what is claimed counts as well.
    assert (await redis.producer.push(PRODUCER, batch, 3))[:5] == ("full", 3, "", False, 0)
    assert await everything(client) == before


async def test_a_full_backlog_requests_a_flush_though_max_items_is_above_it(client: Any) -> None:
    redis = commands_on(client, max_backlog=3, max_items=100)
    assert (await redis.producer.push(PRODUCER, batch_of(*[Call()] * 3), 0)).request_flush
    await client.delete(KEYS.flush_requested)  # nobody came
    reply = await redis.producer.push(PRODUCER, batch_of(Call(), first=4), 3)
    assert (reply.kind, reply.request_flush) == ("full", True)


async def test_a_batch_above_the_bound_gets_through_alone(client: Any) -> None:
    redis = commands_on(client, max_backlog=3)
    batch = batch_of(*[Call()] * 5)
    assert (await redis.producer.push(PRODUCER, batch, 0)).kind == "ok"
    assert (await redis.producer.push(PRODUCER, batch_of(Call(), first=6), 5)).kind == "full"


async def test_a_look_adds_nothing(redis: Commands, client: Any) -> None:
    assert (await redis.producer.look(PRODUCER))[:5] == ("look", 0, "", False, 0)
    assert await everything(client) == {}
    await push(redis, Call())
    await client.pexpire(KEYS.producer(PRODUCER), 1000)
    assert (await redis.producer.look(PRODUCER))[:5] == ("look", 1, "", False, 0)
    assert await client.pttl(KEYS.producer(PRODUCER)) > 1000


async def test_one_producer_requests_a_flush_once_a_second(client: Any) -> None:
    redis = commands_on(client, max_items=2)
    first, second, third = (batch_of(Call(), first=n) for n in (1, 2, 3))
    assert not (await redis.producer.push(PRODUCER, first, 0)).request_flush
    assert (await redis.producer.push(PRODUCER, second, 1)).request_flush
    assert 0 < await client.pttl(KEYS.flush_requested) <= 1000
    assert not (await redis.producer.push(PRODUCER, third, 2)).request_flush
    await client.delete(KEYS.flush_requested)  # as after a second
    assert (await redis.producer.push(PRODUCER, third, 2))[:5] == ("skip", 3, "", True, 0)


@pytest.mark.parametrize("rest", ["PEXPIRE", "PERSIST"])
async def test_a_flush_is_requested_again_though_the_clock_was_set_back(
    client: Any, rest: str
) -> None:
    redis = commands_on(client, max_items=1)
    assert (await redis.producer.push(PRODUCER, batch_of(Call()), 0)).request_flush
    await client.execute_command(rest, KEYS.flush_requested, *([7_200_000] * (rest == "PEXPIRE")))
    assert (await redis.producer.push(PRODUCER, batch_of(Call(), first=2), 1)).request_flush
    assert 0 < await client.pttl(KEYS.flush_requested) <= 1000


async def test_a_large_batch_keeps_its_order(redis: Commands, client: Any) -> None:
    batch = await push(redis, *[Call("app.f", n / 1000) for n in range(2500)])
    assert await client.lrange("metrics_list", 0, -1) == lines_of(batch)


@pytest.mark.integration
async def test_a_hash_that_grows_by_many_fields_is_one_that_redis_searches_fast(
    redis_url: str,
) -> None:
    async with connect(redis_url) as client:
        redis = commands_on(client)
        batch = await push(
            redis, Call("app.g"), *[Call("app.f", 1.1**n, f"E{n}") for n in range(20)]
        )
        encoding = partial(client.object, "encoding")
        assert await encoding(KEYS.totals("app.g")) in {b"listpack", b"ziplist"}
        assert await encoding(KEYS.totals("app.f")) == b"hashtable"
        assert all_same(await live_totals(client), totals_of(entries_of(lines_of(batch))))


async def test_a_push_says_of_which_lists_redis_may_hold_something(
    redis: Commands, client: Any
) -> None:
    async def lists() -> range:
        return (await redis.producer.look(PRODUCER)).lists

    assert await lists() == range(1, 1)
    batch = batch_of(Call())
    reply = await redis.producer.push(PRODUCER, batch, 0)
    assert reply.lists == range(1, 1)  # what was there before
    assert await lists() == range(1)
    token = (await redis.worker.claim()).token
    assert await lists() == range(2)
    await push(redis, Call(), first=2)
    assert await lists() == range(2)
    await client.delete(KEYS.claim(token), KEYS.claims)
    assert await lists() == range(1, 2)
    await client.delete("metrics_list")
    assert await lists() == range(2, 2)
    # Again, though Redis has seen it.
    batch.force = True
    assert (await redis.producer.push(PRODUCER, batch, 0))[:2] == ("ok", 2)
    assert await client.lrange("metrics_list", 0, -1) == lines_of(batch)
    assert not [f for f in await client.hkeys(KEYS.producer(PRODUCER)) if f.startswith(b"given")]


async def test_totals_that_are_none_stop_nothing(redis: Commands, client: Any) -> None:
    await client.set(KEYS.totals("app.f"), "text")
    await client.hset(KEYS.totals("app.g"), "call_count", "text")
    calls = [Call("app.f"), Call("app.g"), Call("app.h")]
    reply = await redis.producer.push(PRODUCER, batch_of(*calls), 0)
    assert (reply.kind, reply.bad) == ("ok", 2)
    assert await client.llen("metrics_list") == 3
    assert (await redis.reader.live(["app.h"]))["app.h"].totals.counts["call_count"] == 1


async def test_a_list_that_is_none_is_refused_without_a_trace(redis: Commands, client: Any) -> None:
    await client.set("metrics_list", "text")
    with pytest.raises(StoreUnavailableError, match="WRONGTYPE"):
        await push(redis, Call())
    assert await everything(client) == {b"metrics_list": b"text"}
    assert (await redis.producer.look(PRODUCER)).kind == "look"
    with pytest.raises(StoreUnavailableError, match="WRONGTYPE"):
        await redis.worker.claim()


async def test_extremes_and_the_last_call_are_kept(redis: Commands, client: Any) -> None:
    await push(redis, Call(seconds=0.5), Call(seconds=0.75))
    await redis.producer.push(PRODUCER, batch_of(Call(seconds=0.625), first=3, at=NOON - 10), 2)
    totals = (await redis.reader.live(["app.f"]))["app.f"].totals
    assert (totals.min, totals.max) == (0.5, 0.75)
    assert totals.last_called_at == NOON + 0.75
    await push(redis, Call(seconds=0.1), Call(seconds=9.1), first=4)
    totals = (await redis.reader.live(["app.f"]))["app.f"].totals
    assert (totals.min, totals.max) == (0.1, 9.1)
    assert totals.last_called_at == NOON + 9.1
