"""What a reader asks of Redis, on fakeredis and on a real server."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from metrics_collector._core.pipeline_types import Numbered
from metrics_collector._core.totals import Totals
from metrics_collector._redis import reader_commands
from tests.helpers.pipeline import DB, KEYS, PRODUCER, Call, batch_of

if TYPE_CHECKING:
    import pytest

    from tests.helpers.pipeline import Commands


async def test_live_totals_pass_over_what_is_none(redis: Commands, client: Any) -> None:
    await client.set(KEYS.totals("app.text"), "text")
    await client.hset(KEYS.totals("app.f"), mapping={"call_count": 2, "odd": "x", "as_of": 1})
    live = await redis.reader.live(["app.text", "app.f", "app.none"])
    assert {name: (one.totals.counts, one.whole) for name, one in live.items()} == {
        "app.f": ({"call_count": 2}, True)
    }


async def test_names_of_functions(redis: Commands, client: Any) -> None:
    names = {"app.f", "app.*[x]?\\", "größe", "a\nb", "x" * 1000}
    await redis.producer.push(PRODUCER, batch_of(*map(Call, names)), 0)
    await client.hset("app.metrics:not.this.one", "call_count", 1)
    assert await redis.reader.function_names() == names
    assert await redis.reader.saved_function_names() == set()
    await redis.worker.reconcile(DB, 1, {"app.f": Numbered(Totals(), 1)})
    assert await redis.reader.saved_function_names() == {"app.f"}


async def test_pending_is_what_lies_in_list_and_claims(redis: Commands, client: Any) -> None:
    await client.rpush("metrics_list", b"1", b"2", b"3")
    token = (await redis.worker.claim()).token
    await client.rpush("metrics_list", b"4", b"5")
    found = [tuple(one) async for one in redis.reader.pending()]
    in_claim = [(b"3", token, 1), (b"2", token, 2), (b"1", token, 3)]
    assert found == [(b"4", "", 1), (b"5", "", 2), *in_claim]


async def test_pending_misses_nothing_that_moves_meanwhile(
    redis: Commands, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_commands, "_PAGE", 2)
    await client.rpush("metrics_list", *range(7))
    async with aclosing(redis.reader.pending()) as pending:  # type: ignore[type-var]  # a generator
        found = {(await anext(pending)).raw}
        token = (await redis.worker.claim()).token  # all of the list is in a claim now
        found |= {(await anext(pending)).raw for _ in range(4)}
        saved = set(await client.lrange(KEYS.claim(token), 0, 2))
        await redis.worker.acknowledge(token, 7, 3, db=DB, no=1, functions={}, producers={})
        found |= {one.raw async for one in pending}
    assert found | saved == {b"%d" % n for n in range(7)}
    assert {b"%d" % n for n in range(3, 7)} <= found
