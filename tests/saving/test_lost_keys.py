"""Redis loses some of its keys, by eviction or by hand, while producers live: all is in SQL once, and in the totals."""

from __future__ import annotations

import asyncio
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._storage.sqlite import SQLiteStore
from tests.helpers.chunks import chunk_of
from tests.helpers.pipeline import (
    KEYS,
    NOON,
    all_same,
    check_pending,
    commands_on,
    contents,
    flush_of,
)
from tests.helpers.stepped import Producer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


# When it happens: after the push, the claim, the read, the commit and the acknowledgement of a part.
STAGES = ("pushed", "claimed", "read", "committed", "acknowledged")
KEPT: dict[str, Callable[[str, str], str]] = {
    "list": lambda _producer, _token: KEYS.metrics_list,
    "claim": lambda _producer, token: KEYS.claim(token),
    "claims": lambda _producer, _token: KEYS.claims,
    "claimed": lambda _producer, _token: KEYS.claimed,
    "claims_made": lambda _producer, _token: KEYS.claims_made,
    "life": lambda _producer, _token: KEYS.life,
    "producer": lambda producer, _token: KEYS.producer(producer),
    "saved": lambda _producer, _token: KEYS.saved("app.a"),
    "totals": lambda _producer, _token: KEYS.totals("app.a"),
}


class Scene:
    """Two producers and a worker, which may die where the keys are lost."""

    def __init__(self, client: Any, path: Path) -> None:
        self.client = client
        self.redis = commands_on(client)
        self.path = path
        self.flush = flush_of(self.redis.worker, path)
        self.one, self.other = Producer(), Producer()

    async def send(self, producer: Producer, *func_names: str) -> None:
        """Record these calls, if any, and push all that there is to push."""
        producer.make(*func_names)
        outbox = producer.outbox
        while following := outbox.next():
            outbox.replied(
                await self.redis.producer.push(outbox.producer, *following), following[0]
            )

    async def lose(self, keys: Iterable[str], token: str) -> None:
        of = self.one.outbox.producer
        await self.client.delete(*(KEPT[key](of, token) for key in keys))

    async def work(self, stage: str, keys: Iterable[str], *, dies: bool) -> None:
        """Save a part of what waits; at this stage the keys are lost, and then the worker may die."""
        token = ""
        steps = self._steps()
        for now in STAGES:
            token = await anext(steps, token)
            if now == stage:
                await self.lose(keys, token)
                if dies:
                    break
        await steps.aclose()

    async def _steps(self) -> Any:
        worker = self.redis.worker
        yield ""
        token = (await worker.claim()).token
        yield token
        length, elements = await worker.read(token, 4)
        yield token
        if elements:
            async with SQLiteStore(str(self.path)).writing() as writer:
                done = await writer.save(chunk_of(token, length, elements), NOON)
                yield token
                await self.flush._acknowledge(token, length, len(elements), done, writer)
            yield token

    async def rest(self) -> None:
        for _ in range(4):
            for producer in (self.one, self.other):
                outbox = producer.outbox
                outbox.replied(await self.redis.producer.look(outbox.producer))
                await self.send(producer)
            await self.flush.drain(ignore_leases=True)
            await self.flush.reconcile()

    async def check(self) -> None:
        state = await check_pending(self.client)
        assert not state.elements
        found = await asyncio.to_thread(contents, self.path)
        assert found.ids.keys() == self.one.ids | self.other.ids
        assert set(found.ids.values()) == {1}
        assert all_same(state.live, found.totals, extremes=False)
        for producer in (self.one, self.other):
            counts = producer.outbox.counts()
            assert (counts.saved, counts.dropped) == (len(producer.ids), 0)
            assert not producer.waits


async def run(client: Any, path: Path, stage: str, keys: Iterable[str], *, dies: bool) -> None:
    await client.flushall()
    scene = Scene(client, path)
    await scene.send(scene.one, "app.a", "app.a")
    await scene.flush.drain()
    await scene.flush.reconcile()
    await scene.send(scene.one, "app.a", "app.b", "app.a")
    await scene.send(scene.other, "app.b", "app.b")
    await scene.work(stage, keys, dies=dies)
    # Others go on, so that Redis is never empty meanwhile.
    for _ in range(2):
        await scene.send(scene.other, "app.b")
        await scene.flush.drain(ignore_leases=True)
        await scene.send(scene.other, "app.b")
    await scene.rest()
    await scene.check()


def _some(most: int) -> Iterator[tuple[str, ...]]:
    return chain.from_iterable(combinations(KEPT, count) for count in range(1, most + 1))


@pytest.mark.parametrize("stage", STAGES)
async def test_entries_of_a_list_or_claim_that_is_lost_are_sent_again(
    fake_client: Any, path: Path, stage: str
) -> None:
    await run(fake_client, path, stage, ["list" if stage == "pushed" else "claim"], dies=False)


@pytest.mark.parametrize("stage", STAGES[1:])
async def test_a_claim_that_no_worker_would_find_is_saved(
    fake_client: Any, path: Path, stage: str
) -> None:
    await run(fake_client, path, stage, ["claims"], dies=True)


async def test_a_loss_is_noticed_though_others_fill_the_list_again(
    fake_client: Any, path: Path
) -> None:
    scene = Scene(fake_client, path)
    await scene.send(scene.one, "app.a")
    await scene.lose(["list"], "")
    outbox = scene.one.outbox

    async def noticed() -> bool:
        outbox.replied(await scene.redis.producer.look(outbox.producer))
        return outbox.next() is not None

    await scene.send(scene.other, "app.b")
    assert not await noticed()  # it may be the same list
    assert (await scene.redis.worker.claim()).token
    await scene.send(scene.other, "app.b")
    assert not await noticed()
    await scene.flush.drain(ignore_leases=True, once=True)
    await scene.send(scene.other, "app.b")
    assert await noticed()


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("stage", STAGES)
async def test_any_two_keys_are_lost(client: Any, path: Path, stage: str, dies: bool) -> None:
    for keys in _some(2):
        try:
            await run(client, path.with_name("+".join(keys)), stage, keys, dies=dies)
        except AssertionError as error:
            error.add_note(f"{stage}, {keys}, dies={dies}")
            raise


async def test_extremes_that_are_lost_alone_come_back_at_rest(client: Any, path: Path) -> None:
    scene = Scene(client, path)
    await scene.send(scene.one, "app.a")
    await scene.flush.drain()
    await scene.send(scene.one, "app.a")
    await client.hdel(KEYS.totals("app.a"), "min", "max", "last_called_at")
    await scene.flush.drain()
    live = (await check_pending(client)).live
    assert all_same(live, (await asyncio.to_thread(contents, path)).totals)
