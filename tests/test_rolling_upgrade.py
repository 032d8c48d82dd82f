"""Releases side by side: nothing is lost, whoever is upgraded first. A change of wire or schema adds its case here."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from importlib import resources
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._errors import IncompatibleStoreError
from metrics_collector._reading.query import Query
from metrics_collector._redis.heartbeat import Heartbeat
from metrics_collector._saving.worker import Worker
from metrics_collector._sending.batch import Batch, content_of
from metrics_collector._storage.sqlite import SQLiteStore, schema
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.helpers.older_databases import VERSIONS, make_older
from tests.helpers.pipeline import (
    KEYS,
    NOON,
    OTHER_PRODUCER,
    PRODUCER,
    REFUSED,
    TIMEOUT,
    Call,
    all_same,
    batch_of,
    check_pending,
    commands_on,
    contents,
    figures_in,
    flush_of,
    held,
    lines_of,
    live_totals,
)
from tests.helpers.rows import rows
from tests.helpers.stepped import Producer

if TYPE_CHECKING:
    from pathlib import Path

    from metrics_collector._saving.flush import Flush
    from tests.helpers.pipeline import Commands, Contents

# As the release with schema 2 has written them, and what it has added to the live totals for them.
EARLIER = (
    b'{"func_name":"app.f","execution_time":500000000e-9,"created_at":1700049600500000e-6,'
    b'"error_occurred":0,"id":"0123456789abcdef-1"}\n'
    b'{"func_name":"app.f","execution_time":250000000e-9,"created_at":1700049600250000e-6,'
    b'"error_occurred":1,"error_type":"KeyError","id":"0123456789abcdef-2"}\n'
    b'{"func_name":"app.f","execution_time":1.5,"created_at":1700049601.5,'
    b'"error_occurred":0,"outcome":"cancelled","id":"0123456789abcdef-3"}'
)
EARLIER_DELTAS = {
    "h:-33": 1,
    "h:-65": 1,
    "h:18": 1,
    "call_count": 3,
    "error_count": 1,
    "error:KeyError": 1,
    "cancelled_count": 1,
    "execution_time": 2.25,
    "min": 0.25,
    "max": 1.5,
    "last_called_at": 1700049601.5,
}
LATER = batch_of(
    Call(mark=TIMEOUT),
    Call(seconds=2.0, mark=REFUSED),
    Call(),
    Call("app.g", mark=TIMEOUT),
    producer=OTHER_PRODUCER,
)


@pytest.fixture
def flush(redis: Commands, path: Path) -> Flush:
    return flush_of(redis.worker, path)


async def push_earlier(redis: Commands) -> None:
    content = content_of(EARLIER)
    assert figures_in(content) == [EARLIER_DELTAS]
    assert (await redis.producer.push(PRODUCER, Batch(1, 3, content), 0)).kind == "ok"


async def push_later(redis: Commands) -> None:
    assert (await redis.producer.push(OTHER_PRODUCER, LATER, 0)).kind == "ok"


async def at_rest(client: Any, path: Path) -> Contents:
    """What SQL has, which is what the live totals say; nothing waits."""
    assert not (await check_pending(client)).elements
    found = await asyncio.to_thread(contents, path)
    assert all_same(await live_totals(client), found.totals)
    assert not found.rejected
    return found


async def test_entries_of_an_earlier_producer_are_saved(
    flush: Flush, redis: Commands, client: Any, path: Path
) -> None:
    await push_earlier(redis)
    await check_pending(client)
    assert await flush.drain() == 3
    found = await at_rest(client, path)
    assert [e.outcome for e in found.entries] == ["ok", "error", "cancelled"]
    assert (await redis.producer.look(PRODUCER)).saved == "1-3"


async def test_outcomes_and_fields_of_a_later_producer_are_kept(
    flush: Flush, redis: Commands, client: Any, path: Path
) -> None:
    await push_later(redis)
    query = Query(redis.reader, SQLiteStore(str(path)), frozenset())

    async def look() -> None:
        """Live, and in a window: each is a call, and an error if it says so."""
        await check_pending(client)
        since = datetime.fromtimestamp(NOON, UTC)
        for one in (
            await query.function("app.f", None, None),
            await query.function("app.f", since, None),
            (await query.history("app.f", since, None, "minute"))[0],
        ):
            assert (one.call_count, one.error_count, one.cancelled_count) == (3, 1, 0)
            assert one.error_types == {"OSError": 1}
            assert one.total_execution_time == 3.0
            assert sum(one.histogram.values()) == 3
            assert one.p99 == pytest.approx(2.0, rel=0.011)
        one = await query.function("app.g", None, None)
        assert (one.call_count, one.error_count, sum(one.histogram.values())) == (1, 0, 1)
        totals = (await live_totals(client))["app.f"].counts
        assert (totals["outcome:timeout"], totals["outcome:refused"]) == (1, 1)

    await look()
    assert await flush.drain() == 4
    await look()
    found = await at_rest(client, path)
    assert [(e.outcome, e.extra) for e in sorted(found.entries, key=attrgetter("number"))] == [
        ("timeout", '{"trace":"0af7"}'),
        ("refused", '{"trace":"0af7"}'),
        ("ok", None),
        ("timeout", '{"trace":"0af7"}'),
    ]

    # A copy of the batch, or the emptied Redis that makes a producer send again: still once.
    await client.flushall()
    await push_later(redis)
    assert await flush.drain() == 0
    await flush.reconcile()
    await look()
    assert len((await at_rest(client, path)).entries) == 4


async def test_lines_of_a_later_producer_are_replayed_as_they_are() -> None:
    payload = b"\n".join(lines_of(LATER))
    assert content_of(payload) == LATER.content


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_first_later_worker_upgrades_the_database(
    flush: Flush, redis: Commands, client: Any, path: Path, version: int
) -> None:
    await push_earlier(redis)
    await flush.drain()
    before = await at_rest(client, path)
    await asyncio.to_thread(make_older, path, version)
    await push_later(redis)

    assert await flush.drain() == 4
    await flush.reconcile()
    found = await at_rest(client, path)
    assert found.db == before.db
    assert found.ids.keys() == before.ids.keys() | {(OTHER_PRODUCER, n) for n in (1, 2, 3, 4)}


async def test_what_is_lost_beside_a_worker_that_counts_no_claims_is_sent_again(
    flush: Flush, client: Any, path: Path
) -> None:
    earlier = commands_on(client)
    script = resources.files("metrics_collector._redis").joinpath("lua/claim.lua").read_text()
    counting = script.index("redis.call('INCR', KEYS[6])")
    uncounted = script[:counting] + script[script.index("return", counting) :]
    earlier.connection._scripts["claim"] = client.register_script(uncounted)
    workers = (flush_of(earlier.worker, path), flush)
    producer, other = Producer(), Producer()

    async def send(one: Producer, *func_names: str) -> None:
        one.make(*func_names)
        outbox = one.outbox
        outbox.replied(await earlier.producer.look(outbox.producer))
        while following := outbox.next():
            reply = await earlier.producer.push(outbox.producer, *following)
            outbox.replied(reply, following[0])

    for worker in (*workers, *workers):
        await send(producer, "app.f")
        await send(other, "app.f")
        await worker.drain()
    await send(producer)
    assert producer.outbox.counts().retried == 0  # nothing was taken for lost
    for worker in workers:
        await send(producer, "app.f", "app.g")
        await client.delete(KEYS.metrics_list)
        await send(producer)
        await worker.drain()
    await send(producer)
    assert producer.outbox.counts()[3:] == (8, 0, 0, 4)  # saved, spooled, dropped, retried
    await flush.reconcile()
    assert (await at_rest(client, path)).ids.keys() == producer.ids | other.ids


async def test_an_earlier_worker_leaves_claims_untouched(
    flush: Flush, redis: Commands, client: Any, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await push_earlier(redis)
    await flush.drain()
    await push_later(redis)
    token = (await redis.worker.claim()).token
    await redis.worker.release(token)
    await asyncio.to_thread(rows, path, f"PRAGMA user_version = {schema.VERSION + 1}")
    before = await held(client)

    for work in (flush.drain, flush.reconcile):
        with pytest.raises(IncompatibleStoreError, match="was written by a newer release"):
            await work()
    worker = Worker(
        flush,
        None,  # type: ignore[arg-type]  # nothing is purged
        Heartbeat(redis.connection, "worker", "here:1"),
        every=60,
        log=RateLimitedLog(),
        dangers=no_dangers,
        split=no_split,
        close=nothing,
    )
    assert await worker.flush() == 0
    assert "upgrade metrics-collector here" in caplog.text
    await worker.aclose()
    after = await check_pending(client)
    assert after.elements == before.elements
    assert all_same(after.live, before.live)
    assert len((await asyncio.to_thread(contents, path)).entries) == 3

    # The later worker need not wait for the end of a lease.
    await asyncio.to_thread(rows, path, f"PRAGMA user_version = {schema.VERSION}")
    assert await flush.drain() == 4
    assert len((await at_rest(client, path)).entries) == 7


async def no_dangers() -> list[str]:
    return []


async def no_split() -> None:
    return None


async def nothing() -> None:
    pass
