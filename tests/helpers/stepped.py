"""The processes of `schedules`: a producer, and a worker that makes one call at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._sending.outbox import Outbox
from tests.helpers.pipeline import (
    NOON,
)

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from metrics_collector._recording.recorder import Record
    from tests.helpers.schedules import World

FUNCTIONS = ("app.a", "app.b", "app.c")


class Producer:
    """A process that records, with its real outbox."""

    def __init__(self) -> None:
        self.buffer: deque[Record] = deque()
        self.outbox = Outbox(self.buffer, monotonic=lambda: 0.0, wall=lambda: NOON)
        self.alive = True
        self.ids: set[tuple[str, int]] = set()
        self.excused = 0  # numbers up to this may be lost, with a database

    @property
    def waits(self) -> bool:
        """Whether it has yet to learn that something is saved."""
        if self.excused:
            kept = self.outbox._batches
            return self.outbox.unsent or any(batch.last > self.excused for batch in kept)
        return self.outbox.unsaved

    def record(self, chance: random.Random) -> None:
        """Make up to four calls, and a batch of them."""
        for _ in range(chance.randint(1, 4)):
            seconds = round(chance.lognormvariate(-6, 1.5), 9)
            mark = chance.choice([None, None, None, "", "KeyError", "ValueError"])
            self.buffer.append((chance.choice(FUNCTIONS), 0.0, seconds, mark))
        self._cut()

    def make(self, *func_names: str) -> None:
        """Make a call of each of these, and a batch of them."""
        self.buffer.extend((func_name, 0.0, 0.5, None) for func_name in func_names)
        self._cut()

    def check_counts(self) -> None:
        """Each entry is in one place."""
        counts = self.outbox.counts()
        assert counts.recorded == counts.buffered + counts.sent + counts.saved + counts.dropped
        assert min(counts) >= 0

    def _cut(self) -> None:
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
        self._ahead: tuple[asyncio.Future[None], asyncio.Future[None]] | None = None
        self._waits = asyncio.Event()
        self.next_call = ""

    async def step(self, fate: int) -> None:
        """Let the flush make its next call, or begin."""
        await self._read_ahead()
        self._waits.clear()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        else:
            assert self._go is not None
            self._go.set_result(fate)
        stepped = asyncio.create_task(self._waits.wait())
        await asyncio.wait([stepped, self._task], return_when=asyncio.FIRST_COMPLETED)
        stepped.cancel()
        if self._world.chance.random() < 0.5:
            await self._read_ahead()
        if self._task.done():
            self._task.result()

    async def _read_ahead(self) -> None:
        """Let it read ahead, if it is about to; of what it does beside its next call, Redis sees nothing else."""
        if self._ahead is not None:
            go, done = self._ahead
            go.set_result(None)
            await done

    async def _ahead_of_the_next_call(self, read: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        go, done = self._ahead = loop.create_future(), loop.create_future()
        try:
            await go
            if self._world.chance.random() < 0.05:
                raise StoreUnavailableError("the reply was lost")
            return await read()
        finally:
            self._ahead = None
            done.set_result(None)

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
        flush = self._world.flush(_Calls(self, self._world.redis.worker), self)
        with suppress(StoreUnavailableError):
            if chance.random() < 0.8:
                await flush.drain(ignore_leases=chance.random() < 0.5)
            else:
                await flush.reconcile()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Any]:
        """The database, call by call."""
        async with self._world.database.writing() as writer:
            yield _Calls(self, writer)

    def reading(self) -> AbstractAsyncContextManager[object | None]:
        """The database, at once: what is asked there changes nothing."""
        return self._world.database.reading()

    async def warning(self) -> str | None:
        """The database's, at once, too."""
        return await self._world.database.warning()

    async def call(
        self, name: str, function: Callable[..., Any], *args: Any, **options: Any
    ) -> Any:
        """Make one call, once told to, with the fate that was told."""
        if name == "read":  # chunks of all sizes
            args = (args[0], self._world.chance.choice([1, 2, 3, 50]), *args[2:])
            if args[2]:
                return await self._ahead_of_the_next_call(lambda: function(*args))
        self._go = asyncio.get_running_loop().create_future()
        self.next_call = name
        self._waits.set()
        fate = await self._go

        def message() -> Any:
            return function(*args, **options)

        if fate in {Fate.LATE, Fate.TWICE} and name in {"acknowledge", "reconcile"}:
            self._world.late.append(message)
        if fate in {Fate.NEVER_SENT, Fate.LATE}:
            raise StoreUnavailableError("never sent")
        if name == "claim":
            result = await self._world.checked_claim(message, **options)
        else:
            result = await message()
        if name == "acknowledge":
            await self._world.check_heeded(options["db"], options["functions"])
        elif name == "reconcile":
            await self._world.check_heeded(args[0], args[2])
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
