"""Random schedules over the shipped scripts, the real outbox and flush, a real Redis and a real SQLite file.

Two producers, two workers, a network that loses replies and delivers messages late and twice, a Redis that is emptied
or replaced by an older copy of itself, workers that die at any step, producers whose keys expire. After each step the
live totals must be what SQL last said plus what is pending; at the end SQL has each entry of the living producers once.

`SCHEDULES=500 pytest tests/integration/test_schedules.py` runs that many of each kind, instead of the few that fit
into every run of the tests. A failure names its seed; `SCHEDULES_FROM` begins there.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
from collections import Counter, deque
from contextlib import asynccontextmanager, closing, suppress
from importlib import resources
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector import _keys
from metrics_collector._errors import StoreUnavailableError
from metrics_collector._flush import Flush
from metrics_collector._hot_store import connect
from metrics_collector._notice import Notice
from metrics_collector._outbox import Outbox
from metrics_collector._sqlite import Database
from tests.support.folders import fast_folder
from tests.support.pipeline import (
    NOON,
    all_same,
    check_pending,
    contents,
    entries_of,
    foreign,
    store_on,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from metrics_collector._batch import Batch
    from metrics_collector._recorder import Record
    from tests.support.pipeline import Held

RUNS = int(os.environ.get("SCHEDULES", "10"))
FROM = int(os.environ.get("SCHEDULES_FROM", "1"))
STEPS = 120
FUNCTIONS = ("app.a", "app.b", "app.c")


@pytest.fixture
def path() -> Iterator[Path]:
    """Where databases may be made."""
    with fast_folder() as folder:
        yield Path(folder, "metrics.db")


class Producer:
    """A process that records, with its real outbox."""

    def __init__(self) -> None:
        self.buffer: deque[Record] = deque()
        self.outbox = Outbox(self.buffer, monotonic=lambda: 0.0, wall=lambda: NOON)
        self.alive = True
        self.ids: set[tuple[str, int]] = set()

    def record(self, chance: random.Random) -> None:
        """Make up to four calls, and a batch of them."""
        for _ in range(chance.randint(1, 4)):
            seconds = round(chance.lognormvariate(-6, 1.5), 9)
            mark = chance.choice([None, None, None, "", "KeyError", "ValueError"])
            self.buffer.append((chance.choice(FUNCTIONS), 0.0, seconds, mark))
        first = len(self.ids) + 1
        self.ids |= {(self.outbox.producer, n) for n in range(first, first + len(self.buffer))}
        self.outbox.fill()
        self.outbox.close_batch()


class Fate:
    """What becomes of one call of a worker."""

    GOOD, LOST_REPLY, NEVER_SENT, LATE, TWICE = range(5)


class Stepped:
    """A worker whose flush makes one call to Redis or SQL at a time, when it is told to.

    A call that is lost ends the flush with an error, as it would; the next step begins another one.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._task: asyncio.Task[None] | None = None
        self._go: asyncio.Future[int] | None = None
        self._waits = asyncio.Event()

    async def step(self, fate: int) -> None:
        """Let the flush make its next call, or begin."""
        self._waits.clear()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        else:
            assert self._go is not None
            self._go.set_result(fate)
        stepped = asyncio.create_task(self._waits.wait())
        await asyncio.wait([stepped, self._task], return_when=asyncio.FIRST_COMPLETED)
        stepped.cancel()
        if self._task.done():
            self._task.result()

    async def die(self) -> None:
        """End at once: nothing that an orderly end would do reaches Redis."""
        if self._task is not None:
            while not self._task.done():
                self._task.cancel()
                if self._go is not None and not self._go.done():
                    self._go.set_result(Fate.NEVER_SENT)
                await asyncio.wait([self._task], timeout=0.05)
        self._task = None

    async def _work(self) -> None:
        chance = self._world.chance
        flush = self._world.flush(_Calls(self, self._world.store), self)
        with suppress(StoreUnavailableError):
            if chance.random() < 0.8:
                await flush.drain(ignore_leases=chance.random() < 0.5)
            else:
                await flush.true_up()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Any]:
        """The database, call by call."""
        async with self._world.database.writing() as writer:
            yield _Calls(self, writer)

    async def call(
        self, name: str, function: Callable[..., Any], *args: Any, **options: Any
    ) -> Any:
        """Make one call, once told to, with the fate that was told."""
        self._go = asyncio.get_running_loop().create_future()
        self._waits.set()
        fate = await self._go
        if name == "read":  # chunks of all sizes
            args = (args[0], self._world.chance.choice([1, 2, 3, 50]))

        def message() -> Any:
            return function(*args, **options)

        if fate in {Fate.LATE, Fate.TWICE} and name in {"acknowledge", "true_up"}:
            self._world.late.append(message)
        if fate in {Fate.NEVER_SENT, Fate.LATE}:
            raise StoreUnavailableError("never sent")
        result = await message()
        if fate == Fate.LOST_REPLY:
            raise StoreUnavailableError("the reply was lost")
        return result


class _Calls:
    def __init__(self, worker: Stepped, target: Any) -> None:
        self._worker = worker
        self._target = target

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._target, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            return await self._worker.call(name, function, *arguments, **options)

        return call


class World:
    """All there is, and what may happen to it.

    Args:
        client: a real Redis, which is emptied.
        path: where the database goes.
        seed: decides everything.
        losses: how often Redis loses data.
        rollbacks: whether older copies of the database may be put in its place.
        scripts: texts to run in place of the shipped ones.
    """

    def __init__(
        self,
        client: Any,
        path: Path,
        seed: int,
        *,
        losses: float = 1.5,
        rollbacks: bool = False,
        scripts: dict[str, str] | None = None,
    ) -> None:
        self.client = client
        self.path = path
        self.chance = random.Random(seed)
        self.store = store_on(client, max_items=10, max_backlog=14, known_version=True)
        for name, text in (scripts or {}).items():
            self.store._scripts[name] = client.register_script(text)
        self.database = Database(str(path))
        self.producers = [Producer(), Producer()]
        self.workers = [Stepped(self), Stepped(self)]
        self.late: list[Callable[[], Awaitable[object]]] = []
        self.foreign = 0
        self.lost = self.stale = self.rolled_back = False
        self.happened: Counter[str] = Counter()
        self._clock = count(NOON)
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
        }
        if losses:
            self._actions |= {self.redis_fails_over: losses, self.redis_is_emptied: losses}
        if rollbacks:
            self._actions[self.database_is_rolled_back] = 1.5

    def flush(self, source: Any, sink: Any) -> Flush:
        """A flush as the workers make it."""
        return Flush(
            source,
            sink,
            ledger_days=30,
            retention=None,
            notice=Notice(),
            wall=lambda: next(self._clock),
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
                state = await check_pending(self.client)
                for producer in self.producers:
                    check_counts(producer)
                if step % 4 == 0 and not (self.lost or self.rolled_back):
                    self.check_nothing_is_missing(state)
            for worker in self.workers:
                await worker.die()
            for _ in range(2):
                await self.rest()
                await self.check_rest()
                for message in self.late:  # even now
                    await message()
                    await check_pending(self.client)
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
            return self.store.push(producer.outbox.producer, batch, need)

        fate = self.chance.random()
        if fate < 0.15:
            self.late.append(message)
        if fate < 0.08:
            return
        reply = await message()
        self.happened[f"push: {reply.kind}"] += 1
        if fate < 0.9:
            producer.outbox.replied(reply, batch)

    async def look(self) -> None:
        producer = self.chance.choice(self.producers)
        if producer.alive:
            producer.outbox.replied(await self.store.look(producer.outbox.producer))

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
        if self.path.exists():
            with (
                closing(sqlite3.connect(self.path)) as source,
                closing(sqlite3.connect(self.path.with_name("copy.db"))) as copy,
            ):
                source.backup(copy)

    async def redis_fails_over(self) -> None:
        if self._snapshot is not None:
            self.lost = self.stale = True
            await self.client.flushall()
            for key, value, ttl in self._snapshot:
                await self.client.restore(key, max(0, ttl), value)

    async def redis_is_emptied(self) -> None:
        self.lost = True
        await self.client.flushall()

    async def database_is_rolled_back(self) -> None:
        self.rolled_back |= roll_back(self.path)

    async def producer_key_expires(self) -> None:
        await self.client.delete(_keys.producer(self.chance.choice(self.producers).outbox.producer))

    async def producer_dies(self) -> None:
        self.chance.choice(self.producers).alive = False

    async def bound_is_kept(self) -> None:
        producer = self.chance.choice(self.producers)
        if producer.alive:
            producer.outbox.enforce(self.chance.randint(4, 12))

    # What must hold

    def check_nothing_is_missing(self, state: Held) -> None:
        """The live totals are never below what SQL has and what is pending."""
        entries = entries_of(state.elements)
        if self.path.exists():
            entries += contents(self.path).entries
        names = {(e.producer, e.number): e.func_name for e in entries if e.producer is not None}
        for name, calls in Counter(names.values()).items():
            assert state.live[name].counts["call_count"] >= calls

    async def rest(self) -> None:
        """Let the producers send and a worker save until nothing waits."""
        flush = self.flush(self.store, self.database)
        for _ in range(60):
            for producer in self.producers:
                if producer.alive:
                    await self.send_all(producer.outbox)
            await flush.drain(ignore_leases=True)
            await flush.true_up()
            busy = any(p.alive and p.outbox.kept for p in self.producers)
            if not busy and not await self.client.exists("metrics_list"):
                return
        raise AssertionError("it never comes to rest")

    async def send_all(self, outbox: Outbox) -> None:
        outbox.replied(await self.store.look(outbox.producer))
        while following := outbox.next():
            batch, need = following
            reply = await self.store.push(outbox.producer, batch, need)
            outbox.replied(reply, batch)
            if reply.kind == "full":
                return

    async def check_rest(self) -> None:
        state = await check_pending(self.client)
        found = contents(self.path)
        assert set(found.ids.values()) <= {1}, "an entry was saved twice"
        if not self.rolled_back:
            for producer in self.producers:
                if producer.alive:
                    missing = producer.ids - found.ids.keys()
                    counts = producer.outbox.counts()
                    assert len(missing) == counts.dropped, "an entry was lost, and nobody said so"
                    assert (counts.buffered, counts.sent) == (0, 0)
                    assert self.lost or not missing, "an entry was lost"
            others = found.foreign + len(found.rejected)
            assert self.lost or others == self.foreign
            assert self.stale or others <= self.foreign
        assert all_same(state.live, found.totals, extremes=not self.rolled_back)


def roll_back(path: Path) -> bool:
    """Put an older copy in place of a database, if there is one; whether there was."""
    copy = path.with_name("copy.db")
    if not copy.exists():
        return False
    replacement = Path(shutil.copy(copy, copy.with_name("replacement.db")))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    replacement.rename(path)
    return True


def check_counts(producer: Producer) -> None:
    """Each entry is in one place."""
    counts = producer.outbox.counts()
    assert counts.recorded == counts.buffered + counts.sent + counts.saved + counts.dropped
    assert min(counts) >= 0


async def run_all(
    redis_url: str, path: Path, *, first: int, runs: int, **options: Any
) -> Counter[str]:
    client = connect(redis_url)
    happened: Counter[str] = Counter()
    try:
        for seed in range(first, first + runs):
            folder = path.with_name(str(seed))
            folder.mkdir()
            world = World(client, folder / "metrics.db", seed, **options)
            try:
                await world.run()
            except AssertionError as error:
                error.add_note(f"seed {seed}, {options}")
                raise
            happened += world.happened
    finally:
        await client.aclose()
    return happened


@pytest.mark.timeout(60 + 10 * RUNS)
@pytest.mark.parametrize(
    "options",
    [{}, {"losses": 0.0}, {"rollbacks": True}],
    ids=["losses", "no-losses", "rollbacks"],
)
async def test_schedules(redis_url: str, path: Path, options: dict[str, Any]) -> None:
    await run_all(redis_url, path, first=FROM, runs=RUNS, **options)


def mutated(script: str, old: str, new: str) -> dict[str, str]:
    """A shipped script with one thing wrong."""
    text = resources.files("metrics_collector").joinpath(f"_lua/{script}.lua").read_text("utf-8")
    assert text.count(old) == 1
    return {script: text.replace(old, new)}


# What is wrong, and how often Redis loses data where that shows.
MUTANTS = {
    "push without need": ("push", "if seen < need then", "if false then", 1.5),
    "ack whatever the length": ("ack", "redis.call('LLEN', KEYS[1]) == expected", "true", 1.5),
    "ack that takes nothing back": ("ack", "net[field] = -by", "net[field] = 0", 1.5),
    "ack that always settles": ("ack", "if quiet then settle", "if true then settle", 1.5),
    "ack that does not count": ("ack", "redis.call('DECRBY', KEYS[3], n)", "", 1.5),
    "ack that believes what is old": ("ack", "b_no < a_no then", "true then", 0.0),
}


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_mutants_are_caught(redis_url: str, path: Path, mutant: str) -> None:
    script, old, new, losses = MUTANTS[mutant]
    with pytest.raises(AssertionError):
        await run_all(
            redis_url, path, first=1, runs=40, losses=losses, scripts=mutated(script, old, new)
        )
