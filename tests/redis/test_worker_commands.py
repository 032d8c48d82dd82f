"""What a worker asks of Redis, on fakeredis and on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._core.entries import MAX_ENTRY_BYTES
from metrics_collector._core.pipeline_types import Numbered
from metrics_collector._core.totals import Totals
from tests.helpers.pipeline import (
    DB,
    KEYS,
    OTHER_DB,
    OTHER_PRODUCER,
    PRODUCER,
    Call,
    added,
    all_same,
    batch_of,
    check_pending,
    commands_on,
    entries_of,
    everything,
    foreign,
    held,
    lines_of,
    live_totals,
    push,
    same,
    saved_state,
    totals_of,
)

if TYPE_CHECKING:
    from metrics_collector._core.pipeline_types import Acknowledged, FunctionState
    from metrics_collector._sending.batch import Batch
    from tests.helpers.pipeline import Commands


async def claimed(redis: Commands, *calls: Call) -> tuple[Batch, str]:
    """Push these calls; their batch, and the token of a claim of it."""
    batch = await push(redis, *calls)
    return batch, (await redis.worker.claim()).token


async def acknowledge(
    redis: Commands,
    token: str,
    expected: int,
    taken: int,
    functions: dict[str, FunctionState] | None = None,
    saved: str = "",
    *,
    db: str = DB,
    no: int = 1,
) -> Acknowledged:
    """Say that a database has these; `saved`: what it has of the producer."""
    return await redis.worker.acknowledge(
        token,
        expected,
        taken,
        db=db,
        no=no,
        functions=functions or {},
        producers={PRODUCER: saved} if saved else {},
    )


# claim, read and release


async def test_a_claim_takes_all_that_is_listed(redis: Commands, client: Any) -> None:
    batch = await push(redis, Call(), Call(), Call())
    claim = await redis.worker.claim()
    assert claim.fresh
    assert claim.life
    assert not await client.exists("metrics_list")
    assert await client.zrange(KEYS.claims, 0, -1) == [claim.token.encode()]
    assert await redis.worker.read(claim.token, 2) == (3, lines_of(batch)[:2])
    assert await redis.reader.waiting() == 3
    await check_pending(client)


async def test_there_is_nothing_to_claim_in_an_empty_redis(redis: Commands, client: Any) -> None:
    claim = await redis.worker.claim()
    assert (claim.token, claim.fresh) == ("", False)
    assert await redis.worker.read("0" * 16, 5) == (0, [])
    assert set(await everything(client)) == {KEYS.life.encode()}


async def test_one_worker_at_a_time_has_a_claim(redis: Commands) -> None:
    _, token = await claimed(redis, Call())
    await push(redis, Call(), first=2)
    assert (await redis.worker.claim()).token == ""
    await redis.worker.release(token)
    assert (await redis.worker.claim())[0::2] == (token, False)
    # The one that took over has a lease of its own.
    assert (await redis.worker.claim()).token == ""


async def test_an_expired_claim_is_taken_over(client: Any) -> None:
    hasty = commands_on(client, lease=0)
    await push(hasty, Call())
    token = (await hasty.worker.claim()).token
    patient = commands_on(client)
    assert (await patient.worker.claim())[0::2] == (token, False)
    assert (await patient.worker.claim()).token == ""


async def test_a_claim_from_before_the_clock_was_set_back_is_taken_over(
    redis: Commands, client: Any
) -> None:
    _, token = await claimed(redis, Call())
    assert (await redis.worker.claim()).token == ""
    await client.zincrby(KEYS.claims, 7_200_000, token)
    assert (await redis.worker.claim())[0::2] == (token, False)
    assert (await redis.worker.claim()).token == ""  # its lease has begun anew


@pytest.mark.parametrize("live", ["both", "the claim", "the lease"])
async def test_a_claim_without_a_lease_is_found_again(
    redis: Commands, client: Any, live: str
) -> None:
    _, token = await claimed(redis, Call(), Call())
    if live != "both":
        await client.delete(KEYS.claims if live == "the claim" else KEYS.claim(token))
    await client.set(KEYS.claim("0" * 16), "text")  # somebody else's
    claimed_before = 2
    if live == "the claim":
        await client.delete(KEYS.claimed)  # with the key of leases
        await push(redis, Call(), first=3)
        assert (await redis.worker.claim()).fresh
        claimed_before = 1
    before = await client.zrange(KEYS.claims, 0, -1, withscores=True)
    await redis.worker.adopt_claims()
    after = await client.zrange(KEYS.claims, 0, -1, withscores=True)
    if live == "the claim":
        assert after == [(token.encode(), 0.0), *before]
        assert int(await client.get(KEYS.claimed)) == claimed_before + 2
        assert (await redis.worker.claim())[0::2] == (token, False)
    else:
        assert after == before
        assert int(await client.get(KEYS.claimed)) == claimed_before


async def test_leases_can_be_ignored(redis: Commands) -> None:
    await push(redis, Call())
    first = (await redis.worker.claim()).token
    await push(redis, Call(), first=2)
    assert (await redis.worker.claim(ignore_leases=True)).token == first
    done = await acknowledge(redis, first, 1, 1)
    assert done[:2] == (True, {})
    second = await redis.worker.claim(ignore_leases=True)
    assert second.fresh
    assert second.token != first


async def test_release_leaves_what_is_gone_alone(redis: Commands, client: Any) -> None:
    await redis.worker.release("0" * 16)
    assert await everything(client) == {}


async def test_life_changes_when_redis_loses_its_data(redis: Commands, client: Any) -> None:
    life = (await redis.worker.claim()).life
    assert (await redis.worker.claim()).life == life
    await client.flushall()
    assert (await redis.worker.claim()).life not in ("", life)


async def test_reading_cuts_what_is_too_long(redis: Commands, client: Any) -> None:
    long, fits = b"x" * 100_000, b"y" * MAX_ENTRY_BYTES
    await client.rpush("metrics_list", long, fits, b"z")
    token = (await redis.worker.claim()).token
    length, elements = await redis.worker.read(token, 10)
    assert length == 3
    assert elements == [b"x" * (MAX_ENTRY_BYTES + 1), fits, b"z"]


async def test_reading_takes_as_much_as_fits_into_memory(redis: Commands, client: Any) -> None:
    for _ in range(4):
        await client.rpush("metrics_list", *[b"x" * MAX_ENTRY_BYTES] * 75)
    token = (await redis.worker.claim()).token
    length, elements = await redis.worker.read(token, 5000)
    assert length == 300
    assert len(elements) == 200  # a hundred at a time, while they have less than 8 MB
    done = await acknowledge(redis, token, 300, 200)
    assert done.taken
    assert len((await redis.worker.read(token, 5000))[1]) == 100
    assert len((await redis.worker.read(token, 3))[1]) == 3


async def test_foreign_entries_wait_beside_ours(redis: Commands, client: Any) -> None:
    await push(redis, Call())
    await client.rpush("metrics_list", foreign())
    token = (await redis.worker.claim()).token
    assert (await redis.worker.read(token, 5))[1][1] == foreign()
    await check_pending(client)


# acknowledge


async def test_an_acknowledgement_moves_a_chunk_from_pending_to_saved(
    redis: Commands, client: Any
) -> None:
    batch, token = await claimed(
        redis, Call("app.f"), Call("app.g", 0.25, "KeyError"), Call("app.f", 1.5)
    )
    live = await live_totals(client)
    done = await acknowledge(redis, token, 3, 3, saved_state(batch, no=1), "1-3")
    assert done[:2] == (True, {})
    assert await redis.reader.waiting() == 0
    assert not await client.exists(KEYS.claim(token), KEYS.claims)
    assert all_same(await live_totals(client), live)
    assert all_same((await held(client)).saved, live)
    assert (await redis.producer.look(PRODUCER))[:5] == ("look", 3, "1-3", False, 0)
    await check_pending(client)


async def test_a_chunk_is_taken_off_the_head(redis: Commands, client: Any) -> None:
    batch, token = await claimed(redis, Call(), Call("app.g"), Call("app.h"))
    await client.zadd(KEYS.claims, {token: 1})
    head = batch_of(Call(), Call("app.g"))
    done = await acknowledge(redis, token, 3, 2, saved_state(head, no=1), "1-2")
    assert done.taken
    assert await redis.worker.read(token, 5) == (1, lines_of(batch)[2:])
    assert (await redis.worker.claim()).token == ""  # its lease has begun anew
    assert await redis.reader.waiting() == 1
    await check_pending(client)


async def test_what_is_claimed_is_never_below_zero(redis: Commands, client: Any) -> None:
    batch, token = await claimed(redis, Call(), Call())
    await client.delete(KEYS.claimed)
    await acknowledge(redis, token, 2, 2, saved_state(batch, no=1), "1-2")
    assert await redis.reader.waiting() == 0


async def test_a_claim_of_another_length_is_left_alone(redis: Commands, client: Any) -> None:
    batch, token = await claimed(redis, Call(), Call("app.g"))
    functions = saved_state(batch, no=1)
    done = await acknowledge(redis, token, 3, 2, functions, "1-2")
    assert not done.taken
    assert await redis.reader.waiting() == 2
    # What SQL has is in the totals all the same; what is pending comes on top until it is taken off.
    assert (await live_totals(client))["app.f"].counts["call_count"] == 2
    assert (await redis.producer.look(PRODUCER)).saved == "1-2"
    await check_pending(client)
    assert (await acknowledge(redis, token, 2, 2, functions)).taken
    assert (await live_totals(client))["app.f"].counts["call_count"] == 1
    await check_pending(client)


async def test_an_acknowledgement_that_comes_twice_changes_nothing(
    redis: Commands, client: Any
) -> None:
    _, token = await claimed(redis, Call(), Call())
    head = saved_state(batch_of(Call()), no=1)
    await acknowledge(redis, token, 2, 1, head, "1-1")
    before = await everything(client)
    again = await acknowledge(redis, token, 2, 1, head, "1-1")
    assert not again.taken
    assert await everything(client) == before


async def test_the_short_cut_gives_what_the_long_way_gives(redis: Commands, client: Any) -> None:
    first, second, third = (
        batch_of(Call(seconds=n), Call("app.g"), first=2 * n) for n in (1, 2, 3)
    )
    after_first = saved_state(first, no=1)
    results = []
    for previous in (1, None):
        await client.flushall()
        for batch in (first, second, third):
            await redis.producer.push(PRODUCER, batch, 0)
        token = (await redis.worker.claim()).token
        await acknowledge(redis, token, 6, 2, after_first)
        after_second = {
            name: one._replace(total=added(one.total, after_first[name].total))
            for name, one in saved_state(second, no=2, previous=previous).items()
        }
        await acknowledge(redis, token, 4, 2, after_second, no=2)
        await check_pending(client)
        stamps = {await client.hget(KEYS.totals("app.f"), "as_of")}
        assert stamps == {b"1" if previous else b"2"}  # the short cut was taken, or not
        results.append((await live_totals(client), (await held(client)).saved))
    (short_live, short_saved), (long_live, long_saved) = results
    assert all_same(short_live, long_live)
    assert all_same(short_saved, long_saved)


@pytest.mark.parametrize("missed", ["an acknowledgement", "the totals"])
async def test_the_short_cut_is_not_taken_over_what_is_missing(
    redis: Commands, client: Any, missed: str
) -> None:
    first, second, third = (batch_of(Call(seconds=n), first=n) for n in (1, 2, 3))
    for batch in (first, second, third):
        await redis.producer.push(PRODUCER, batch, 0)
    token = (await redis.worker.claim()).token
    no = 1 if missed == "an acknowledgement" else 2
    await acknowledge(redis, token, 3, 1, saved_state(first, no=no), no=no)
    if missed == "the totals":
        await client.delete(KEYS.totals("app.f"))
    both = {
        name: one._replace(total=added(one.total, saved_state(first, no=1)[name].total))
        for name, one in saved_state(second, no=3, previous=2).items()
    }
    await acknowledge(redis, token, 2, 1, both, no=3)
    totals = (await held(client)).live["app.f"]
    saved = (await held(client)).saved["app.f"]
    assert saved.counts["call_count"] == 2
    assert totals.counts["call_count"] == (3 if missed == "an acknowledgement" else 1)


async def test_redis_tells_of_a_later_commit(redis: Commands, client: Any) -> None:
    batch, token = await claimed(redis, Call(), Call())
    await acknowledge(redis, token, 2, 2, saved_state(batch, no=7), "1-2", no=7)
    older = saved_state(batch_of(Call()), no=3)
    done = await acknowledge(redis, token, 9, 1, older, "1-1", no=3)
    assert done[:2] == (False, {"app.f": 7})
    assert (await redis.producer.look(PRODUCER)).saved == "1-2"
    assert (await held(client)).saved["app.f"].counts["call_count"] == 2
    # Another database's numbers say nothing about this one's.
    done = await acknowledge(redis, token, 9, 1, older, "1-1", db=OTHER_DB, no=3)
    assert done[:2] == (False, {})
    assert (await redis.producer.look(PRODUCER)).saved == "1-1"
    assert (await held(client)).saved["app.f"].counts["call_count"] == 1
    await check_pending(client)


async def test_at_rest_the_totals_become_what_sql_has(redis: Commands, client: Any) -> None:
    key = KEYS.totals("app.f")
    fields = {"call_count": 9, "error:Gone": 2, "execution_time": "0.30000000000000004", "odd": "x"}
    await client.hset(key, mapping=fields)
    sql = next(iter(totals_of(entries_of(lines_of(batch_of(Call(seconds=0.3))))).values()))
    assert await redis.worker.reconcile(DB, 4, {"app.f": Numbered(sql, 4)}) == {}
    assert set(await client.hgetall(key)) >= {b"as_of", b"call_count", b"min", b"max"}
    totals = (await live_totals(client))["app.f"]
    assert same(totals, sql)
    assert totals.execution_time == 0.3


async def test_reconciling_leaves_what_is_pending(redis: Commands, client: Any) -> None:
    await push(redis, Call(seconds=0.5, mark="KeyError"))
    sql = totals_of(entries_of(lines_of(batch_of(Call(seconds=2.0), Call(seconds=4.0)))))["app.f"]
    await redis.worker.reconcile(DB, 4, {"app.f": Numbered(sql, 4)})
    totals = (await live_totals(client))["app.f"]
    assert totals.counts.items() >= {"call_count": 3, "error_count": 1}.items()
    assert (totals.min, totals.max, totals.execution_time) == (0.5, 4.0, 6.5)
    await check_pending(client)
    await redis.worker.reconcile(DB, 5, {"app.f": Numbered(Totals(), 5)})  # SQL was emptied
    assert (await live_totals(client))["app.f"].counts["call_count"] == 1
    await check_pending(client)


async def test_many_functions_are_reconciled(redis: Commands) -> None:
    sql = totals_of(entries_of(lines_of(batch_of(*[Call(f"app.f{n}") for n in range(250)]))))
    numbered = {name: Numbered(totals, 2) for name, totals in sql.items()}
    assert await redis.worker.reconcile(DB, 2, numbered) == {}
    older = {name: Numbered(totals, 1) for name, totals in sql.items()}
    assert await redis.worker.reconcile(DB, 1, older) == dict.fromkeys(sql, 2)
    live = await redis.reader.live([*sql, "app.none"])
    assert live.keys() == sql.keys()
    assert all(one.whole for one in live.values())
    assert all_same({name: one.totals for name, one in live.items()}, sql)


async def test_totals_that_are_none_do_not_stop_an_acknowledgement(
    redis: Commands, client: Any
) -> None:
    names = ["app.text", "app.field", "app.saved", "app.good"]
    batch, token = await claimed(redis, *map(Call, names))
    await client.set(KEYS.totals("app.text"), "text")
    await client.hset(KEYS.totals("app.field"), "call_count", "text")
    await client.set(KEYS.saved("app.saved"), "text")
    await client.set(KEYS.producer(OTHER_PRODUCER), "text")
    producers = {OTHER_PRODUCER: "1-1", PRODUCER: "1-4"}
    functions = saved_state(batch, no=1)
    done = await redis.worker.acknowledge(
        token, 4, 4, db=DB, no=1, functions=functions, producers=producers
    )
    assert done.taken
    assert await redis.reader.waiting() == 0
    assert (await redis.producer.look(PRODUCER)).saved == "1-4"
    live = await redis.reader.live(names)
    assert live.keys() == {"app.field", "app.saved", "app.good"}
    # The field is healed as well, since nothing waits.
    for name in ("app.field", "app.good"):
        assert same(live[name].totals, functions[name].total)


async def test_what_is_saved_of_a_producer_only_grows(redis: Commands, client: Any) -> None:
    async def tell(db: str, no: int, saved: str) -> None:
        await acknowledge(redis, "", 0, 0, {}, saved, db=db, no=no)

    await tell(DB, 2, "1-9")
    assert (await redis.producer.look(PRODUCER))[:5] == ("look", 0, "1-9", False, 0)
    assert 0 < await client.pttl(KEYS.producer(PRODUCER)) <= 24 * 3600 * 1000
    await tell(DB, 1, "1-5")  # late
    assert (await redis.producer.look(PRODUCER)).saved == "1-9"
    await tell(OTHER_DB, 1, "1-5")
    assert (await redis.producer.look(PRODUCER)).saved == "1-5"
