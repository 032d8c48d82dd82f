"""A world of producers and workers on a real Redis and a real SQLite file, in which anything may happen at any time.

Two producers, two workers, a network that loses replies and delivers messages late and twice, a Redis that is emptied
or replaced by an older copy of itself or loses some keys alone, workers that die at any step, producers whose keys
expire, a database that is deleted or replaced by an older copy. After each step the live totals must be what SQL last
said plus what is pending, until a key is lost alone; at the end SQL has each entry of the living producers once.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from metrics_collector._core.intervals import Intervals
from metrics_collector._redis.refusals import noting
from metrics_collector._saving.flush import Flush
from metrics_collector._storage.sqlite import SQLiteStore
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.helpers.pipeline import (
    KEYS,
    all_same,
    check_pending,
    commands_on,
    contents,
    entries_of,
    foreign,
    held,
)
from tests.helpers.rows import copy_database, roll_back
from tests.helpers.stepped import Fate, Producer, Stepped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from metrics_collector._core.pipeline_types import Claim, FunctionState, Numbered, PushReply
    from metrics_collector._sending.batch import Batch
    from metrics_collector._sending.outbox import Outbox
    from tests.helpers.pipeline import Contents, Held

STEPS = 120
MAX_ITEMS = 10
MAX_BACKLOG = 14


class World:
    """All there is, and what may happen to it.

    Args:
        client: a real Redis, which is emptied.
        path: where the database goes.
        chance: decides everything.
        losses: how often Redis loses data.
        evictions: how often it loses some keys alone.
        rollbacks: how often an older copy of the database is put in its place.
        deletions: how often the database is deleted.
        by_lists: producers go by the lists of which Redis holds something; those of earlier releases do not.
        scripts: texts to run in place of the shipped ones.
    """

    def __init__(  # noqa: PLR0913 - a kind of schedules is made of them
        self,
        client: Any,
        path: Path,
        chance: random.Random,
        *,
        losses: float = 1.5,
        evictions: float = 0.0,
        rollbacks: float = 0.0,
        deletions: float = 0.0,
        by_lists: bool = True,
        scripts: dict[str, str] | None = None,
    ) -> None:
        self.client = client
        self.path = path
        self.chance = chance
        self._clocks = random.Random(0)  # however often it is asked, all else stays as it was drawn
        self.redis = commands_on(client, max_items=MAX_ITEMS, max_backlog=MAX_BACKLOG)
        for name, text in (scripts or {}).items():
            connection = self.redis.connection
            sent = noting(text) if name in connection._noting else text
            connection._scripts[name] = client.register_script(sent)
        self.database = SQLiteStore(str(path))
        self.producers = [Producer(), Producer()]
        self.workers = [Stepped(self), Stepped(self)]
        self.late: list[Callable[[], Awaitable[object]]] = []
        self.foreign = 0
        self.by_lists = by_lists
        self.lost = self.stale = self.evicted = self.database_lost = False
        # What only a loss may change, since the last one.
        self._life: bytes | None = None
        self._saved: dict[str, Intervals] = {}
        self.happened: Counter[str] = Counter()
        self._snapshot: list[tuple[bytes, bytes, int]] | None = None
        # Each with how often it happens, relative to the others.
        self._actions: dict[Callable[[], Awaitable[None]], float] = {
            self.record: 15,
            self.push: 20,
            self.look: 7,
            self.work: 40,
            self.worker_dies: 4,
            self.others_push: 4,
            self.late_message: 5,
            self.take_snapshot: 2,
            self.producer_key_expires: 1,
            self.producer_dies: 0.5,
            self.bound_is_kept: 1,
            self.redis_fails_over: losses,
            self.redis_is_emptied: losses,
            self.redis_evicts: evictions,
            self.database_is_rolled_back: rollbacks,
            self.database_is_deleted: deletions,
        }

    def flush(self, source: Any, sink: Any) -> Flush:
        """A flush as the workers make it."""
        return Flush(
            source,
            sink,
            ledger_days=30,
            log=RateLimitedLog(),
            wall=lambda: time.time() + self._clocks.uniform(0, 50),  # clocks go back, too
        )

    async def run(self) -> None:
        """Let things happen, and check after each; then let all come to rest."""
        await self.client.flushall()
        try:
            for step in range(STEPS):
                (act,) = self.chance.choices(
                    list(self._actions), weights=list(self._actions.values())
                )
                await act()
                self.happened[act.__name__] += 1
                state = await self.checked()
                if not self.database_lost:
                    await self.check_saved()
                for producer in self.producers:
                    producer.check_counts()
                if step % 4 == 0 and not (self.lost or self.database_lost):
                    self.check_nothing_is_missing(state)
            for worker in self.workers:
                await worker.die()
            for _ in range(2):
                await self.rest()
                await self.check_rest()
                for message in self.late:  # even now
                    await message()
                    await self.checked()
        finally:
            for worker in self.workers:
                await worker.die()

    # What happens

    async def record(self) -> None:
        producer = self.chance.choice(self.producers)
        if producer.alive:
            producer.record(self.chance)

    async def push(self) -> None:
        producer = self.chance.choice(self.producers)
        following = producer.outbox.next() if producer.alive else None
        if following is None:
            return
        batch, need = following

        def message(batch: Batch = batch, need: int = need) -> Awaitable[Any]:
            return self.redis.producer.push(producer.outbox.producer, batch, need)

        fate = self.chance.random()
        if fate < 0.15:
            self.late.append(message)
        if fate < 0.08:
            return
        if may_request := self.chance.random() < 0.5:
            await self.client.delete(KEYS.flush_requested)
        before = await self.redis.reader.waiting()
        reply = await message()
        self.happened[f"push: {reply.kind}"] += 1
        if reply.kind == "ok":
            assert before == 0 or before + len(batch) <= MAX_BACKLOG
        if may_request and reply.kind in {"ok", "skip"}:
            assert reply.request_flush == (await self.client.llen(KEYS.metrics_list) >= MAX_ITEMS)
        if fate < 0.9:
            self._replied(producer.outbox, reply, batch)

    async def look(self) -> None:
        producer = self.chance.choice(self.producers)
        if producer.alive:
            await self._look(producer.outbox)

    async def _look(self, outbox: Outbox) -> None:
        self._replied(outbox, await self.redis.producer.look(outbox.producer))

    def _replied(self, outbox: Outbox, reply: PushReply, batch: Batch | None = None) -> None:
        outbox.replied(reply if self.by_lists else reply._replace(lists=range(1)), batch)

    async def work(self) -> None:
        (fate,) = self.chance.choices(
            [Fate.GOOD, Fate.LOST_REPLY, Fate.NEVER_SENT, Fate.LATE, Fate.TWICE],
            weights=[80, 5, 3, 5, 7],
        )
        await self.chance.choice(self.workers).step(fate)

    async def worker_dies(self) -> None:
        await self.chance.choice(self.workers).die()

    async def others_push(self) -> None:
        elements = self.chance.choice([[b"rubbish"], [b'{"func_name":1}'], [foreign("app.a")] * 2])
        self.foreign += len(elements)
        await self.client.rpush("metrics_list", *elements)

    async def late_message(self) -> None:
        if self.late:
            await self.late.pop(self.chance.randrange(len(self.late)))()

    async def take_snapshot(self) -> None:
        keys = await self.client.keys("*")
        self._snapshot = [
            (key, await self.client.dump(key), await self.client.pttl(key)) for key in keys
        ]
        copy_database(self.path)

    async def redis_fails_over(self) -> None:
        if self._snapshot is not None:
            self.lost = self.stale = True
            self._forget()
            await self.client.flushall()
            for key, value, ttl in self._snapshot:
                await self.client.restore(key, max(0, ttl), value)

    async def redis_is_emptied(self) -> None:
        self.lost = True
        self._forget()
        await self.client.flushall()

    async def redis_evicts(self) -> None:
        """Any keys, which no list or claim and its totals survive together."""
        keys = sorted(await self.client.keys("*"))
        if keys:
            self.lost = self.evicted = True
            self._forget()
            await self.client.delete(*self.chance.sample(keys, min(len(keys), 2)))

    async def database_is_rolled_back(self) -> None:
        if roll_back(self.path):
            await self._lose_database()

    async def database_is_deleted(self) -> None:
        if self.path.exists():
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            await self._lose_database()

    async def _lose_database(self) -> None:
        self.database_lost = True
        for producer in self.producers:
            producer.excused = len(producer.ids)
        # What the lost one has committed must not reach Redis after what its successor has.
        self.late.clear()
        for worker in self.workers:
            if worker.next_call in {"acknowledge", "reconcile"}:
                await worker.die()

    def _forget(self) -> None:
        self._life = None
        self._saved.clear()

    async def producer_key_expires(self) -> None:
        self._saved.clear()
        await self.client.delete(KEYS.producer(self.chance.choice(self.producers).outbox.producer))

    async def producer_dies(self) -> None:
        self.chance.choice(self.producers).alive = False

    async def bound_is_kept(self) -> None:
        producer = self.chance.choice(self.producers)
        if producer.alive:
            producer.outbox.enforce(self.chance.randint(4, 12))

    # What must hold

    async def checked(self) -> Held:
        """What Redis holds; which adds up, unless it has lost some keys alone."""
        if self.evicted:
            return await held(self.client)
        await self.check_claims()
        return await check_pending(self.client)

    def check_nothing_is_missing(self, state: Held) -> None:
        """The live totals are never below what SQL has and what is pending."""
        entries = entries_of(state.elements)
        if self.path.exists():
            entries += contents(self.path).entries
        names = {(e.producer, e.number): e.func_name for e in entries if e.producer is not None}
        for name, calls in Counter(names.values()).items():
            assert state.live[name].counts["call_count"] >= calls

    async def leases(self) -> dict[str, bool]:
        """The claims there are, each with whether its lease lasts."""
        now, _ = await self.client.time()
        claims = await self.client.zrange(KEYS.claims, 0, -1, withscores=True)
        return {token.decode(): end / 1000 > now for token, end in claims}

    async def checked_claim(
        self, message: Callable[[], Awaitable[Claim]], *, ignore_leases: bool
    ) -> Claim:
        """One worker drains at a time; whoever asks gets what is free, for the time of a lease."""
        before = await self.leases()
        claim = await message()
        if before:
            free = {token for token, lasts in before.items() if ignore_leases or not lasts}
            assert claim.token in (free or {""})
            assert not claim.fresh
        else:
            assert claim.fresh == bool(claim.token)
            assert not await self.client.exists(KEYS.metrics_list)
        if claim.token:
            assert (await self.leases())[claim.token]
        return claim

    async def check_heeded(self, db: str, told: Mapping[str, FunctionState | Numbered]) -> None:
        """Whatever has become of the claim, Redis knows afterwards what it was told that SQL has."""
        for func_name, state in told.items():
            known, no = await self.client.hmget(KEYS.saved(func_name), "db", "no")
            assert known == db.encode()
            assert int(no) >= state.no

    async def check_claims(self) -> None:
        """There is one claim at most; `life` changes when Redis has lost its data, and only then."""
        pipeline = self.client.pipeline(transaction=False)
        pipeline.keys(KEYS.claim("*"))
        pipeline.zrange(KEYS.claims, 0, -1)
        pipeline.get(KEYS.life)
        lists, tokens, life = await pipeline.execute()
        assert {key.decode() for key in lists} == {KEYS.claim(token.decode()) for token in tokens}
        assert len(tokens) <= 1
        assert self._life in {None, life}
        self._life = life

    async def check_saved(self) -> None:
        """What a producer is told to be saved only grows."""
        for producer in self.producers:
            name = producer.outbox.producer
            text = await self.client.hget(KEYS.producer(name), "saved") or b""
            saved = Intervals.parse(text.decode())
            assert all(saved.covers(*pair) for pair in self._saved.get(name, ()))
            self._saved[name] = saved

    async def rest(self) -> None:
        """Let the producers send and a worker save until nothing waits."""
        flush = self.flush(self.redis.worker, self.database)
        for _ in range(60):
            for producer in self.producers:
                if producer.alive:
                    await self.send_all(producer.outbox)
            await flush.drain(ignore_leases=True)
            await flush.reconcile()
            busy = any(p.alive and p.waits for p in self.producers)
            if not busy and not await self.client.exists(KEYS.metrics_list, KEYS.claims):
                return
        raise AssertionError("it never comes to rest")

    async def send_all(self, outbox: Outbox) -> None:
        await self._look(outbox)
        while following := outbox.next():
            batch, need = following
            reply = await self.redis.producer.push(outbox.producer, batch, need)
            self._replied(outbox, reply, batch)
            if reply.kind == "full":
                return

    async def check_rest(self) -> None:
        state = await check_pending(self.client)
        found = contents(self.path)
        assert set(found.ids.values()) <= {1}, "an entry was saved twice"
        for producer in self.producers:
            if producer.alive:
                self._check_saved(producer, found)
        others = found.foreign + len(found.rejected)
        assert self.lost or self.database_lost or others == self.foreign
        assert self.stale or self.database_lost or others <= self.foreign
        extremes = not (self.database_lost or self.evicted)  # which may be a lost entry's
        assert all_same(state.live, found.totals, extremes=extremes)

    def _check_saved(self, producer: Producer, found: Contents) -> None:
        """SQL has all that the producer has made, but for what it says is dropped, or what went with a database."""
        missing = {number for _, number in producer.ids - found.ids.keys()}
        missing -= set(range(producer.excused + 1))
        counts = producer.outbox.counts()
        assert counts.buffered == 0
        assert not producer.waits
        assert self.lost or not missing, "an entry was lost"
        if producer.excused:
            assert len(missing) <= counts.dropped, "an entry was lost, and nobody said so"
        else:
            assert len(missing) == counts.dropped, "an entry was lost, and nobody said so"
            assert counts.sent == 0
