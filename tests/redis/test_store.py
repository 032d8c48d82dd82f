"""Redis as the pipeline sees it: each script, on fakeredis and on a real server."""

from __future__ import annotations

import asyncio
import subprocess
import traceback
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._core.entries import MAX_ENTRY_BYTES
from metrics_collector._core.pipeline_types import FunctionState, Numbered
from metrics_collector._core.totals import Totals
from metrics_collector._errors import (
    IncompatibleStoreError,
    StoreFullError,
    StoreUnavailableError,
)
from metrics_collector._redis import connection, keys
from metrics_collector._redis import store as store_module
from metrics_collector._redis.connection import connect
from metrics_collector._support.settings import mask_url
from tests.helpers.pipeline import (
    NOON,
    OTHER_PRODUCER,
    PRODUCER,
    Call,
    added,
    all_same,
    batch_of,
    check_pending,
    entries_of,
    foreign,
    held,
    lines_of,
    live_totals,
    same,
    store_on,
    totals_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from metrics_collector._redis.store import HotStore
    from metrics_collector._sending.batch import Batch
    from tests.helpers.redis_server import RedisServer

PASSWORD = "s3cret:/?#@ä"
QUOTED = "s3cret%3A%2F%3F%23%40%C3%A4"
DB = "aaaaaaaaaaaaaaaa"
OTHER_DB = "bbbbbbbbbbbbbbbb"


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[HotStore]:
    """A store on a real server, under the label that it would have."""
    store = store_on(connect(url), label=mask_url(url), **options)
    try:
        yield store
    finally:
        await store.aclose()


async def everything(client: Any) -> dict[bytes, Any]:
    """All keys and what they hold."""
    readers = {
        b"hash": client.hgetall,
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    return {key: await readers[await client.type(key)](key) for key in await client.keys("*")}


def state(batch: Batch, *, no: int, previous: int | None = None) -> dict[str, FunctionState]:
    """What SQL would say once it has saved the whole batch, and had nothing before."""
    return {
        name: FunctionState(delta, added(delta), no, previous)
        for name, delta in totals_of(entries_of(lines_of(batch))).items()
    }


# push and look


async def test_a_push_adds_entries_and_totals(store: HotStore, client: Any) -> None:
    calls = [
        Call("app.f", 0.5),
        Call("app.f", 2.0, "ValueError"),
        Call("app.f", 0.0, ""),
        Call("app.ü:{*}", 3.0, 'a"b\n'),
    ]
    batch = batch_of(*calls)
    assert await store.push(PRODUCER, batch, 0) == ("ok", 4, "", False, 0)
    assert await client.lrange("metrics_list", 0, -1) == lines_of(batch)
    assert all_same(await live_totals(client), totals_of(entries_of(lines_of(batch))))
    fields = await client.hgetall("app:metrics:app.f")
    assert (
        fields.items()
        >= {
            b"call_count": b"3",
            b"error_count": b"1",
            b"cancelled_count": b"1",
            b"error:ValueError": b"1",
            b"h:zero": b"1",
            b"execution_time": b"2.5",
            b"min": b"0",
            b"max": b"2",
            b"last_called_at": b"%d" % (NOON + 2),
        }.items()
    )
    assert b"as_of" not in fields
    assert 0 < await client.pttl(keys.producer(PRODUCER)) <= 24 * 3600 * 1000
    await check_pending(client)


async def test_a_batch_that_comes_twice_is_skipped(store: HotStore, client: Any) -> None:
    batch = batch_of(Call(), Call())
    await store.push(PRODUCER, batch, 0)
    before = await everything(client)
    await client.pexpire(keys.producer(PRODUCER), 1000)
    assert await store.push(PRODUCER, batch, 0) == ("skip", 2, "", False, 0)
    assert await everything(client) == before
    assert await client.pttl(keys.producer(PRODUCER)) > 1000


async def test_a_batch_whose_forerunner_is_missing_is_a_gap(store: HotStore, client: Any) -> None:
    later = batch_of(Call(), first=3)
    assert await store.push(PRODUCER, later, 2) == ("gap", 0, "", False, 0)
    assert await everything(client) == {}
    await store.push(PRODUCER, batch_of(Call()), 0)
    assert await store.push(PRODUCER, later, 2) == ("gap", 1, "", False, 0)
    # Nothing before it is kept any more: it may go on from there.
    assert (await store.push(PRODUCER, later, 0)).kind == "ok"


async def test_producers_do_not_share_their_numbers(store: HotStore, client: Any) -> None:
    await store.push(PRODUCER, batch_of(Call()), 0)
    other = batch_of(Call(), producer=OTHER_PRODUCER)
    assert (await store.push(OTHER_PRODUCER, other, 0)).kind == "ok"
    assert (await live_totals(client))["app.f"].counts["call_count"] == 2


async def test_a_full_backlog_refuses_without_a_trace(client: Any) -> None:
    store = store_on(client, max_backlog=3)
    await store.push(PRODUCER, batch_of(Call(), Call()), 0)
    await store.claim()
    await store.push(PRODUCER, batch_of(Call(), first=3), 2)
    before = await everything(client)
    batch = batch_of(Call(), first=4)
    # Two in a claim and one in the list: what is claimed counts as well.
    assert await store.push(PRODUCER, batch, 3) == ("full", 3, "", False, 0)
    assert await everything(client) == before


async def test_a_full_backlog_rings_though_max_items_is_above_it(client: Any) -> None:
    store = store_on(client, max_backlog=3, max_items=100)
    assert (await store.push(PRODUCER, batch_of(*[Call()] * 3), 0)).ring
    await client.delete(keys.RING)  # nobody came
    reply = await store.push(PRODUCER, batch_of(Call(), first=4), 3)
    assert (reply.kind, reply.ring) == ("full", True)


async def test_a_batch_above_the_bound_gets_through_alone(client: Any) -> None:
    store = store_on(client, max_backlog=3)
    batch = batch_of(*[Call()] * 5)
    assert (await store.push(PRODUCER, batch, 0)).kind == "ok"
    assert (await store.push(PRODUCER, batch_of(Call(), first=6), 5)).kind == "full"


async def test_a_look_adds_nothing(store: HotStore, client: Any) -> None:
    assert await store.look(PRODUCER) == ("look", 0, "", False, 0)
    assert await everything(client) == {}
    await store.push(PRODUCER, batch_of(Call()), 0)
    await client.pexpire(keys.producer(PRODUCER), 1000)
    assert await store.look(PRODUCER) == ("look", 1, "", False, 0)
    assert await client.pttl(keys.producer(PRODUCER)) > 1000


async def test_one_producer_rings_once_a_second(client: Any) -> None:
    store = store_on(client, max_items=2)
    first, second, third = (batch_of(Call(), first=n) for n in (1, 2, 3))
    assert not (await store.push(PRODUCER, first, 0)).ring
    assert (await store.push(PRODUCER, second, 1)).ring
    assert 0 < await client.pttl(keys.RING) <= 1000
    assert not (await store.push(PRODUCER, third, 2)).ring
    await client.delete(keys.RING)  # as after a second
    assert (await store.push(PRODUCER, third, 2)) == ("skip", 3, "", True, 0)


async def test_a_large_batch_keeps_its_order(store: HotStore, client: Any) -> None:
    batch = batch_of(*[Call("app.f", n / 1000) for n in range(2500)])
    await store.push(PRODUCER, batch, 0)
    assert await client.lrange("metrics_list", 0, -1) == lines_of(batch)


async def test_totals_that_are_none_stop_nothing(store: HotStore, client: Any) -> None:
    await client.set(keys.totals("app.f"), "text")
    await client.hset(keys.totals("app.g"), "call_count", "text")
    calls = [Call("app.f"), Call("app.g"), Call("app.h")]
    reply = await store.push(PRODUCER, batch_of(*calls), 0)
    assert (reply.kind, reply.bad) == ("ok", 2)
    assert await client.llen("metrics_list") == 3
    assert (await store.live(["app.h"]))["app.h"].totals.counts["call_count"] == 1


async def test_a_list_that_is_none_is_refused_without_a_trace(store: HotStore, client: Any) -> None:
    await client.set("metrics_list", "text")
    with pytest.raises(StoreUnavailableError, match="WRONGTYPE"):
        await store.push(PRODUCER, batch_of(Call()), 0)
    assert await everything(client) == {b"metrics_list": b"text"}
    assert (await store.look(PRODUCER)).kind == "look"
    with pytest.raises(StoreUnavailableError, match="WRONGTYPE"):
        await store.claim()


async def test_extremes_and_the_last_call_are_kept(store: HotStore, client: Any) -> None:
    await store.push(PRODUCER, batch_of(Call(seconds=0.5), Call(seconds=0.75)), 0)
    await store.push(PRODUCER, batch_of(Call(seconds=0.625), first=3, at=NOON - 10), 2)
    totals = (await store.live(["app.f"]))["app.f"].totals
    assert (totals.minimum, totals.maximum) == (0.5, 0.75)
    assert totals.last_called_at == NOON + 0.75
    await store.push(PRODUCER, batch_of(Call(seconds=0.1), Call(seconds=9.1), first=4), 3)
    totals = (await store.live(["app.f"]))["app.f"].totals
    assert (totals.minimum, totals.maximum) == (0.1, 9.1)
    assert totals.last_called_at == NOON + 9.1


# claim, read and release


async def test_a_claim_takes_all_that_is_listed(store: HotStore, client: Any) -> None:
    batch = batch_of(Call(), Call(), Call())
    await store.push(PRODUCER, batch, 0)
    claim = await store.claim()
    assert claim.fresh
    assert claim.life
    assert not await client.exists("metrics_list")
    assert await client.zrange(keys.CLAIMS, 0, -1) == [claim.token.encode()]
    assert await store.read(claim.token, 2) == (3, lines_of(batch)[:2])
    assert await store.waiting() == 3
    await check_pending(client)


async def test_there_is_nothing_to_claim_in_an_empty_redis(store: HotStore, client: Any) -> None:
    claim = await store.claim()
    assert (claim.token, claim.fresh) == ("", False)
    assert await store.read("0" * 16, 5) == (0, [])
    assert set(await everything(client)) == {keys.LIFE.encode()}


async def test_one_worker_at_a_time_has_a_claim(store: HotStore) -> None:
    await store.push(PRODUCER, batch_of(Call()), 0)
    token = (await store.claim()).token
    await store.push(PRODUCER, batch_of(Call(), first=2), 1)
    assert (await store.claim()).token == ""
    await store.release(token)
    assert (await store.claim())[0::2] == (token, False)
    # The one that took over has a lease of its own.
    assert (await store.claim()).token == ""


async def test_an_expired_claim_is_taken_over(client: Any) -> None:
    hasty = store_on(client, lease=0)
    await hasty.push(PRODUCER, batch_of(Call()), 0)
    token = (await hasty.claim()).token
    patient = store_on(client)
    assert (await patient.claim())[0::2] == (token, False)
    assert (await hasty.claim()).token == ""


async def test_leases_can_be_ignored(store: HotStore) -> None:
    await store.push(PRODUCER, batch_of(Call()), 0)
    first = (await store.claim()).token
    await store.push(PRODUCER, batch_of(Call(), first=2), 1)
    assert (await store.claim(ignore_leases=True)).token == first
    done = await store.acknowledge(first, 1, 1, db=DB, no=1, functions={}, producers={})
    assert done == (True, {})
    second = await store.claim(ignore_leases=True)
    assert second.fresh
    assert second.token != first


async def test_release_leaves_what_is_gone_alone(store: HotStore, client: Any) -> None:
    await store.release("0" * 16)
    assert await everything(client) == {}


async def test_life_changes_when_redis_loses_its_data(store: HotStore, client: Any) -> None:
    life = (await store.claim()).life
    assert (await store.claim()).life == life
    await client.flushall()
    assert (await store.claim()).life not in ("", life)


async def test_reading_cuts_what_is_too_long(store: HotStore, client: Any) -> None:
    long, fits = b"x" * 100_000, b"y" * MAX_ENTRY_BYTES
    await client.rpush("metrics_list", long, fits, b"z")
    token = (await store.claim()).token
    length, elements = await store.read(token, 10)
    assert length == 3
    assert elements == [b"x" * (MAX_ENTRY_BYTES + 1), fits, b"z"]


async def test_reading_takes_as_much_as_fits_into_memory(store: HotStore, client: Any) -> None:
    for _ in range(4):
        await client.rpush("metrics_list", *[b"x" * MAX_ENTRY_BYTES] * 75)
    token = (await store.claim()).token
    length, elements = await store.read(token, 5000)
    assert length == 300
    assert len(elements) == 200  # a hundred at a time, while they have less than 8 MB
    done = await store.acknowledge(token, 300, 200, db=DB, no=1, functions={}, producers={})
    assert done.taken
    assert len((await store.read(token, 5000))[1]) == 100
    assert len((await store.read(token, 3))[1]) == 3


# acknowledge


async def test_an_acknowledgement_moves_a_chunk_from_pending_to_saved(
    store: HotStore, client: Any
) -> None:
    batch = batch_of(Call("app.f"), Call("app.g", 0.25, "KeyError"), Call("app.f", 1.5))
    await store.push(PRODUCER, batch, 0)
    live = await live_totals(client)
    token = (await store.claim()).token
    done = await store.acknowledge(
        token, 3, 3, db=DB, no=1, functions=state(batch, no=1), producers={PRODUCER: "1-3"}
    )
    assert done == (True, {})
    assert await store.waiting() == 0
    assert not await client.exists(keys.claim(token), keys.CLAIMS)
    assert all_same(await live_totals(client), live)
    assert all_same((await held(client)).saved, live)
    assert await store.look(PRODUCER) == ("look", 3, "1-3", False, 0)
    await check_pending(client)


async def test_a_chunk_is_taken_off_the_head(store: HotStore, client: Any) -> None:
    batch = batch_of(Call(), Call("app.g"), Call("app.h"))
    await store.push(PRODUCER, batch, 0)
    token = (await store.claim()).token
    await client.zadd(keys.CLAIMS, {token: 1})
    head = batch_of(Call(), Call("app.g"))
    done = await store.acknowledge(
        token, 3, 2, db=DB, no=1, functions=state(head, no=1), producers={PRODUCER: "1-2"}
    )
    assert done.taken
    assert await store.read(token, 5) == (1, lines_of(batch)[2:])
    assert (await store.claim()).token == ""  # its lease has begun anew
    assert await store.waiting() == 1
    await check_pending(client)


async def test_a_claim_of_another_length_is_left_alone(store: HotStore, client: Any) -> None:
    batch = batch_of(Call(), Call("app.g"))
    await store.push(PRODUCER, batch, 0)
    token = (await store.claim()).token
    functions = state(batch, no=1)
    done = await store.acknowledge(
        token, 3, 2, db=DB, no=1, functions=functions, producers={PRODUCER: "1-2"}
    )
    assert not done.taken
    assert await store.waiting() == 2
    # What SQL has is in the totals all the same; what is pending comes on top until it is taken off.
    assert (await live_totals(client))["app.f"].counts["call_count"] == 2
    assert (await store.look(PRODUCER)).saved == "1-2"
    await check_pending(client)
    assert (
        await store.acknowledge(token, 2, 2, db=DB, no=1, functions=functions, producers={})
    ).taken
    assert (await live_totals(client))["app.f"].counts["call_count"] == 1
    await check_pending(client)


async def test_an_acknowledgement_that_comes_twice_changes_nothing(
    store: HotStore, client: Any
) -> None:
    batch = batch_of(Call(), Call())
    await store.push(PRODUCER, batch, 0)
    token = (await store.claim()).token
    head = state(batch_of(Call()), no=1)
    await store.acknowledge(token, 2, 1, db=DB, no=1, functions=head, producers={PRODUCER: "1-1"})
    before = await everything(client)
    again = await store.acknowledge(
        token, 2, 1, db=DB, no=1, functions=head, producers={PRODUCER: "1-1"}
    )
    assert not again.taken
    assert await everything(client) == before


async def test_the_short_cut_gives_what_the_long_way_gives(store: HotStore, client: Any) -> None:
    first, second, third = (
        batch_of(Call(seconds=n), Call("app.g"), first=2 * n) for n in (1, 2, 3)
    )
    after_first = state(first, no=1)
    results = []
    for previous in (1, None):
        await client.flushall()
        for batch in (first, second, third):
            await store.push(PRODUCER, batch, 0)
        token = (await store.claim()).token
        await store.acknowledge(token, 6, 2, db=DB, no=1, functions=after_first, producers={})
        after_second = {
            name: one._replace(total=added(one.total, after_first[name].total))
            for name, one in state(second, no=2, previous=previous).items()
        }
        await store.acknowledge(token, 4, 2, db=DB, no=2, functions=after_second, producers={})
        await check_pending(client)
        stamps = {await client.hget(keys.totals("app.f"), "as_of")}
        assert stamps == {b"1" if previous else b"2"}  # the short cut was taken, or not
        results.append((await live_totals(client), (await held(client)).saved))
    (short_live, short_saved), (long_live, long_saved) = results
    assert all_same(short_live, long_live)
    assert all_same(short_saved, long_saved)


@pytest.mark.parametrize("missed", ["an acknowledgement", "the totals"])
async def test_the_short_cut_is_not_taken_over_what_is_missing(
    store: HotStore, client: Any, missed: str
) -> None:
    first, second, third = (batch_of(Call(seconds=n), first=n) for n in (1, 2, 3))
    for batch in (first, second, third):
        await store.push(PRODUCER, batch, 0)
    token = (await store.claim()).token
    no = 1 if missed == "an acknowledgement" else 2
    await store.acknowledge(token, 3, 1, db=DB, no=no, functions=state(first, no=no), producers={})
    if missed == "the totals":
        await client.delete(keys.totals("app.f"))
    both = {
        name: one._replace(total=added(one.total, state(first, no=1)[name].total))
        for name, one in state(second, no=3, previous=2).items()
    }
    await store.acknowledge(token, 2, 1, db=DB, no=3, functions=both, producers={})
    totals = (await held(client)).live["app.f"]
    saved = (await held(client)).saved["app.f"]
    assert saved.counts["call_count"] == 2
    assert totals.counts["call_count"] == (3 if missed == "an acknowledgement" else 1)


async def test_redis_tells_of_a_later_commit(store: HotStore, client: Any) -> None:
    batch = batch_of(Call(), Call())
    await store.push(PRODUCER, batch, 0)
    token = (await store.claim()).token
    await store.acknowledge(
        token, 2, 2, db=DB, no=7, functions=state(batch, no=7), producers={PRODUCER: "1-2"}
    )
    older = state(batch_of(Call()), no=3)
    done = await store.acknowledge(
        token, 9, 1, db=DB, no=3, functions=older, producers={PRODUCER: "1-1"}
    )
    assert done == (False, {"app.f": 7})
    assert (await store.look(PRODUCER)).saved == "1-2"
    assert (await held(client)).saved["app.f"].counts["call_count"] == 2
    # Another database's numbers say nothing about this one's.
    done = await store.acknowledge(
        token, 9, 1, db=OTHER_DB, no=3, functions=older, producers={PRODUCER: "1-1"}
    )
    assert done == (False, {})
    assert (await store.look(PRODUCER)).saved == "1-1"
    assert (await held(client)).saved["app.f"].counts["call_count"] == 1
    await check_pending(client)


async def test_at_rest_the_totals_become_what_sql_has(store: HotStore, client: Any) -> None:
    key = keys.totals("app.f")
    fields = {"call_count": 9, "error:Gone": 2, "execution_time": "0.30000000000000004", "odd": "x"}
    await client.hset(key, mapping=fields)
    sql = next(iter(totals_of(entries_of(lines_of(batch_of(Call(seconds=0.3))))).values()))
    assert await store.true_up(DB, 4, {"app.f": Numbered(sql, 4)}) == {}
    assert set(await client.hgetall(key)) >= {b"as_of", b"call_count", b"min", b"max"}
    totals = (await live_totals(client))["app.f"]
    assert same(totals, sql)
    assert totals.execution_time == 0.3


async def test_a_true_up_leaves_what_is_pending(store: HotStore, client: Any) -> None:
    await store.push(PRODUCER, batch_of(Call(seconds=0.5, mark="KeyError")), 0)
    sql = totals_of(entries_of(lines_of(batch_of(Call(seconds=2.0), Call(seconds=4.0)))))["app.f"]
    await store.true_up(DB, 4, {"app.f": Numbered(sql, 4)})
    totals = (await live_totals(client))["app.f"]
    assert totals.counts.items() >= {"call_count": 3, "error_count": 1}.items()
    assert (totals.minimum, totals.maximum, totals.execution_time) == (0.5, 4.0, 6.5)
    await check_pending(client)
    await store.true_up(DB, 5, {"app.f": Numbered(Totals(), 5)})  # SQL was emptied
    assert (await live_totals(client))["app.f"].counts["call_count"] == 1
    await check_pending(client)


async def test_a_true_up_of_many_functions(store: HotStore) -> None:
    sql = totals_of(entries_of(lines_of(batch_of(*[Call(f"app.f{n}") for n in range(250)]))))
    numbered = {name: Numbered(totals, 2) for name, totals in sql.items()}
    assert await store.true_up(DB, 2, numbered) == {}
    assert await store.true_up(DB, 1, {n: Numbered(t, 1) for n, (t, _) in numbered.items()}) == (
        dict.fromkeys(sql, 2)
    )
    live = await store.live([*sql, "app.none"])
    assert live.keys() == sql.keys()
    assert all(one.whole for one in live.values())
    assert all_same({name: one.totals for name, one in live.items()}, sql)


async def test_totals_that_are_none_do_not_stop_an_acknowledgement(
    store: HotStore, client: Any
) -> None:
    names = ["app.text", "app.field", "app.saved", "app.good"]
    batch = batch_of(*map(Call, names))
    await store.push(PRODUCER, batch, 0)
    token = (await store.claim()).token
    await client.set(keys.totals("app.text"), "text")
    await client.hset(keys.totals("app.field"), "call_count", "text")
    await client.set(keys.saved("app.saved"), "text")
    await client.set(keys.producer(OTHER_PRODUCER), "text")
    producers = {OTHER_PRODUCER: "1-1", PRODUCER: "1-4"}
    functions = state(batch, no=1)
    assert (
        await store.acknowledge(token, 4, 4, db=DB, no=1, functions=functions, producers=producers)
    ).taken
    assert await store.waiting() == 0
    assert (await store.look(PRODUCER)).saved == "1-4"
    live = await store.live(names)
    assert live.keys() == {"app.field", "app.saved", "app.good"}
    # The field is healed as well, since nothing waits.
    for name in ("app.field", "app.good"):
        assert same(live[name].totals, functions[name].total)


async def test_what_is_saved_of_a_producer_only_grows(store: HotStore, client: Any) -> None:
    async def tell(db: str, no: int, saved: str) -> None:
        await store.acknowledge("", 0, 0, db=db, no=no, functions={}, producers={PRODUCER: saved})

    await tell(DB, 2, "1-9")
    assert await store.look(PRODUCER) == ("look", 0, "1-9", False, 0)
    assert 0 < await client.pttl(keys.producer(PRODUCER)) <= 24 * 3600 * 1000
    await tell(DB, 1, "1-5")  # late
    assert (await store.look(PRODUCER)).saved == "1-9"
    await tell(OTHER_DB, 1, "1-5")
    assert (await store.look(PRODUCER)).saved == "1-5"


# Reading


async def test_live_totals_pass_over_what_is_none(store: HotStore, client: Any) -> None:
    await client.set(keys.totals("app.text"), "text")
    await client.hset(keys.totals("app.f"), mapping={"call_count": 2, "odd": "x", "as_of": 1})
    live = await store.live(["app.text", "app.f", "app.none"])
    assert {name: (one.totals.counts, one.whole) for name, one in live.items()} == {
        "app.f": ({"call_count": 2}, True)
    }


async def test_names_of_functions(store: HotStore, client: Any) -> None:
    names = {"app.f", "app.*[x]?\\", "größe", "a\nb", "x" * 1000}
    await store.push(PRODUCER, batch_of(*map(Call, names)), 0)
    await client.hset("app.metrics:not.this.one", "call_count", 1)
    assert await store.function_names() == names
    assert await store.saved_function_names() == set()
    await store.true_up(DB, 1, {"app.f": Numbered(Totals(), 1)})
    assert await store.saved_function_names() == {"app.f"}


async def test_pending_is_what_lies_in_list_and_claims(store: HotStore, client: Any) -> None:
    await client.rpush("metrics_list", b"1", b"2", b"3")
    token = (await store.claim()).token
    await client.rpush("metrics_list", b"4", b"5")
    found = [tuple(one) async for one in store.pending()]
    assert found == [
        (b"4", "", 1),
        (b"5", "", 2),
        (b"3", token, 1),
        (b"2", token, 2),
        (b"1", token, 3),
    ]


async def test_pending_misses_nothing_that_moves_meanwhile(
    store: HotStore, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_PAGE", 2)
    await client.rpush("metrics_list", *range(7))
    async with aclosing(store.pending()) as pending:  # type: ignore[type-var]  # a generator
        found = {(await anext(pending)).raw}
        token = (await store.claim()).token  # all of the list is in a claim now
        found |= {(await anext(pending)).raw for _ in range(4)}
        saved = set(await client.lrange(keys.claim(token), 0, 2))
        await store.acknowledge(token, 7, 3, db=DB, no=1, functions={}, producers={})
        found |= {one.raw async for one in pending}
    assert found | saved == {b"%d" % n for n in range(7)}
    assert {b"%d" % n for n in range(3, 7)} <= found


async def test_heartbeats(store: HotStore, client: Any) -> None:
    host = "ho*st[1]"
    mine, other = keys.alive("worker", host, 1), keys.alive("worker", "host", 2)
    await store.beat(mine, {"error": None}, 20.0)
    await store.beat(other, {"error": "x"}, 20.0)
    assert await store.heartbeats("worker", host) == {mine: {"error": None}}
    assert await store.heartbeats("scheduler", host) == {}
    assert 0 < await client.pttl(mine) <= 20_000
    await store.stop_beating(mine)
    assert await store.heartbeats("worker", host) == {}


# A Redis that is full, forgets its scripts, is too old, or refuses


@pytest.mark.integration
async def test_a_full_redis_takes_no_batch_but_can_be_drained(redis_url: str) -> None:
    async with opened(redis_url, max_items=1) as store:
        client = store.client
        batch = batch_of(Call(), Call("app.g"), Call("app.new"))
        await store.push(PRODUCER, batch, 0)
        await client.delete(keys.totals("app.new"), keys.RING)
        await client.config_set("maxmemory", 1)
        before = await everything(client)
        with pytest.raises(StoreFullError, match="maxmemory"):
            await store.push(PRODUCER, batch_of(Call(), first=4), 3)
        assert await everything(client) == before
        assert await store.push(PRODUCER, batch, 0) == ("skip", 3, "", True, 0)
        assert (await store.look(PRODUCER)).kind == "look"
        token = (await store.claim()).token
        for n in (1, 2, 3):
            part = batch_of(Call(["app.f", "app.g", "app.new"][n - 1]), first=n)
            done = await store.acknowledge(
                token,
                4 - n,
                1,
                db=DB,
                no=n,
                functions=state(part, no=n),
                producers={PRODUCER: f"1-{n}"},
            )
            assert done.taken
        assert await store.waiting() == 0
        assert (await store.look(PRODUCER)).saved == "1-3"
        assert (await store.live(["app.new"]))["app.new"].totals.counts["call_count"] == 1
        await client.config_set("maxmemory", 0)
        assert (await store.push(PRODUCER, batch_of(Call(), first=4), 3)).kind == "ok"


@pytest.mark.integration
async def test_connections_to_what_became_a_replica_are_made_anew(redis_url: str) -> None:
    async with opened(redis_url) as store:
        client = store.client
        await store.push(PRODUCER, batch_of(Call()), 0)
        await client.replicaof("127.0.0.1", "1")
        before = await client.client_id()
        with pytest.raises(StoreUnavailableError, match="read only replica"):
            await store.push(PRODUCER, batch_of(Call(), first=2), 1)
        assert await client.client_id() != before
        await client.replicaof("NO", "ONE")
        assert (await store.push(PRODUCER, batch_of(Call(), first=2), 1)).kind == "ok"


async def test_scripts_that_redis_forgot_are_loaded_again(store: HotStore, client: Any) -> None:
    await store.push(PRODUCER, batch_of(Call()), 0)
    await client.script_flush()
    assert (await store.push(PRODUCER, batch_of(Call(), first=2), 1)).kind == "ok"
    await client.script_flush()
    token = (await store.claim()).token
    await client.script_flush()
    assert (await store.read(token, 5))[0] == 2


@pytest.mark.integration
@pytest.mark.parametrize("steps", range(5))
async def test_a_cancelled_push_may_be_repeated(redis_url: str, steps: int) -> None:
    async with opened(redis_url) as store:
        await store.look(PRODUCER)
        batch = batch_of(Call(), Call())
        push = asyncio.create_task(store.push(PRODUCER, batch, 0))
        for _ in range(steps):
            await asyncio.sleep(0)
        finished = push.done()
        push.cancel()
        await asyncio.wait([push])
        assert push.cancelled() is not finished  # no cancel is lost, which would hang who waits
        assert (await store.push(PRODUCER, batch, 0)).kind in {"ok", "skip"}
        assert await store.client.llen("metrics_list") == 2


@asynccontextmanager
async def server_saying(
    info: bytes, *, hello: bytes = b"-ERR unknown command 'HELLO'\r\n"
) -> AsyncIterator[str]:
    """A server that knows no commands but HELLO and INFO; gives its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                length = int((await reader.readline())[1:])
                words.append((await reader.readexactly(length + 2))[:-2].upper())
            if words[0] == b"HELLO":
                writer.write(hello)
            elif words[0] == b"INFO":
                writer.write(b"$%d\r\n%s\r\n" % (len(info), info) if info[:1] != b"-" else info)
            elif words[0] in {b"CLIENT", b"SELECT"}:
                writer.write(b"+OK\r\n")
            else:
                writer.write(b"-ERR unknown command\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


@pytest.mark.parametrize("version", ["2.8.24", "5.0.14", "6.0.20", "6.1.240"])
async def test_an_old_server_is_refused(version: str) -> None:
    async with (
        server_saying(b"redis_version:%s\r\n" % version.encode()) as url,
        opened(url) as store,
    ):
        message = f"Redis at {url} is version {version}; metrics-collector needs 6.2 or newer"
        for _ in range(2):
            with pytest.raises(IncompatibleStoreError, match=message):
                await store.push(PRODUCER, batch_of(Call()), 0)
        with pytest.raises(IncompatibleStoreError):
            await store.claim()


@pytest.mark.parametrize(
    "info",
    [
        b"redis_version:6.2.0\r\n",
        b"redis_version:8\r\n",
        b"redis_version:255.255.255\r\n",
        b"redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n",
        b"redis_version:unstable\r\n",
        b"redis_mode:standalone\r\n",
        b"-NOPERM this user has no permissions to run the 'info' command\r\n",
    ],
)
async def test_a_newer_server_and_one_that_does_not_tell_is_fine(info: bytes) -> None:
    async with server_saying(info) as url, opened(url) as store:
        await store.check_version()
        with pytest.raises(StoreUnavailableError, match="unknown command"):
            await store.look(PRODUCER)


def told(error: BaseException) -> str:
    """All that a log could show of an error."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(error)


async def test_no_server(unused_tcp_port: int) -> None:
    url = f"redis://worker:{QUOTED}@127.0.0.1:{unused_tcp_port}/0"
    async with opened(url) as store:
        for command in (
            store.push(PRODUCER, batch_of(Call()), 0),
            store.look(PRODUCER),
            store.claim(),
            store.release("0"),
            store.read("0", 1),
            store.true_up(DB, 1, {"app.f": Numbered(Totals(), 1)}),
            store.live(["app.f"]),
            store.function_names(),
            anext(store.pending()),
            store.waiting(),
            store.beat("key", {}, 1.0),
            store.stop_beating("key"),
            store.heartbeats("worker", "host"),
            store.check_version(),
        ):
            with pytest.raises(StoreUnavailableError) as caught:
                await command
            label = f"redis://worker:***@127.0.0.1:{unused_tcp_port}/0"
            assert str(caught.value).startswith(f"Redis at {label} cannot be used: ")
            assert "s3cret" not in told(caught.value)


async def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "COMMAND_TIMEOUT", 0.05)

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    async with server, opened(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}") as store:
        with pytest.raises(StoreUnavailableError, match=r"[Tt]imeout"):
            await store.look(PRODUCER)


def test_a_connection_that_uvloop_finds_closed() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def write_after_the_end() -> None:
        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(host, port)
            await reader.read()
            writer.transport.abort()
            await asyncio.sleep(0)
            writer.write(b"PING\r\n")

    async def ask() -> None:
        async with opened("redis://elsewhere:1/0") as store:
            with pytest.raises(StoreUnavailableError, match=r"elsewhere:1.*closed"):
                await store.answer(write_after_the_end())

    uvloop = pytest.importorskip("uvloop")
    uvloop.run(ask())


async def test_a_mistake_of_ours_is_not_taken_for_trouble_with_redis(store: HotStore) -> None:
    with pytest.raises(TypeError):
        await store.beat("key", {"no": object()}, 1.0)


# Real servers with passwords, sockets and certificates


@pytest.mark.integration
async def test_options_in_the_url_do_not_break_the_reading(redis_url: str) -> None:
    async with opened(f"{redis_url}?decode_responses=yes&protocol=3&socket_timeout=9") as store:
        assert (await store.push(PRODUCER, batch_of(Call()), 0)).kind == "ok"
        token = (await store.claim()).token
        assert await store.read(token, 1) == (1, lines_of(batch_of(Call())))
        assert (await store.live(["app.f"]))["app.f"].totals.counts["call_count"] == 1
        assert store.client.connection_pool.connection_kwargs["socket_timeout"] == 9


@pytest.mark.integration
async def test_users_and_passwords(redis_server: RedisServer) -> None:
    where = f"127.0.0.1:{redis_server.port}/0"
    rules = ["on", f">{PASSWORD}", "~*", "&*", "+@all", "-info", "-hgetall"]
    async with opened(redis_server.url) as store:
        client: Any = store.client
        await client.execute_command("ACL", "SETUSER", "worker", *rules)
    async with opened(f"redis://worker:{QUOTED}@{where}") as store:
        assert (await store.push(PRODUCER, batch_of(Call()), 0)).kind == "ok"
        with pytest.raises(StoreUnavailableError, match="can't run this command"):
            await store.live(["app.f"])
    async with opened(f"redis://worker:wrong-{QUOTED}@{where}") as store:
        with pytest.raises(StoreUnavailableError, match=r"worker:\*\*\*@.*invalid") as caught:
            await store.push(PRODUCER, batch_of(Call()), 0)
        assert "s3cret" not in told(caught.value)


@pytest.mark.integration
async def test_a_unix_socket(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis(requirepass=PASSWORD, port="0")
    async with opened(server.unix_url) as store:
        assert (await store.push(PRODUCER, batch_of(Call()), 0)).kind == "ok"
    server.stop()
    async with opened(server.unix_url) as store:
        with pytest.raises(StoreUnavailableError) as caught:
            await store.look(PRODUCER)
        assert "s3cret" not in told(caught.value)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, as files."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        f"-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {cert}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return cert, key


@pytest.mark.integration
async def test_tls(
    start_redis: Callable[..., RedisServer], certificate: tuple[Path, Path], unused_tcp_port: int
) -> None:
    cert, key = certificate
    start_redis(
        requirepass=PASSWORD,
        tls_port=str(unused_tcp_port),
        tls_cert_file=str(cert),
        tls_key_file=str(key),
        tls_auth_clients="no",
    )
    url = f"rediss://:{QUOTED}@127.0.0.1:{unused_tcp_port}/0"
    async with opened(f"{url}?ssl_ca_certs={cert}") as store:
        assert (await store.push(PRODUCER, batch_of(Call()), 0)).kind == "ok"
    async with opened(url) as store:  # signed by nobody that is known here
        with pytest.raises(StoreUnavailableError, match=r"(?i)certificate") as caught:
            await store.look(PRODUCER)
        assert "s3cret" not in told(caught.value)


async def test_foreign_entries_wait_beside_ours(store: HotStore, client: Any) -> None:
    await store.push(PRODUCER, batch_of(Call()), 0)
    await client.rpush("metrics_list", foreign())
    token = (await store.claim()).token
    assert (await store.read(token, 5))[1][1] == foreign()
    await check_pending(client)
