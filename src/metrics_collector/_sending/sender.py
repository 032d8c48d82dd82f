"""The sender: buffer → batches → Redis, on one event loop.

One push at a time and in order. Without a reply, or when cancelled, the batch is sent again: Redis recognizes a copy by
its numbers. Metrics never break the measured code, so whatever goes wrong here is counted, logged once a minute, and
tried again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from metrics_collector._errors import (
    MetricsCollectorError,
    StoreFullError,
    StoreUnavailableError,
)
from metrics_collector._sending.memory_limit import MemoryLimit
from metrics_collector._sending.outbox import BATCH
from metrics_collector._support import process
from metrics_collector._support.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from metrics_collector._core.pipeline_types import PushReply
    from metrics_collector._sending.batch import Batch, DiskCopy
    from metrics_collector._sending.outbox import Outbox
    from metrics_collector._support.rate_limited_log import RateLimitedLog

LOOK_EVERY: Final = 2.0  # seconds between two looks what SQL has saved, while nothing is sent
LONGEST_PAUSE: Final = 2.0  # seconds between two tries, unless the interval itself is longer
USUAL_MAX_BUFFERED: Final = 100_000  # where no settings can be read: the default of the setting
REQUEST_GRACE: Final = 0.5  # seconds that the end waits for a flush request under way


class SendDestination(Protocol):
    """Redis, as the sender needs it. Every method raises StoreUnavailableError if it cannot be used."""

    async def push(self, producer: str, batch: Batch, need: int, /) -> PushReply:
        """Send a batch; `need` is the number before it that Redis must have seen."""

    async def look(self, producer: str, /) -> PushReply:
        """Ask what Redis has seen of the producer, and what SQL has saved."""

    async def store_dropped(self, producer: str, count: int, /) -> None:
        """Store how many entries the producer has dropped so far."""


class Sender:
    """Sends what the outbox holds, which outlives it.

    Args:
        interval: seconds between two sends.
        request_flush: asks a worker for a flush; called when Redis says that this producer is the one to ask.
        failed: called with what went wrong, for `statistics()`.
        batch: entries sent in one go.
    """

    def __init__(
        self,
        outbox: Outbox,
        destination: SendDestination,
        *,
        interval: float,
        memory_limit: MemoryLimit,
        request_flush: Callable[[], Awaitable[None]],
        log: RateLimitedLog,
        failed: Callable[[str], None],
        batch: int = BATCH,
    ) -> None:
        self._outbox = outbox
        self._destination = destination
        self._interval = interval
        self._memory_limit = memory_limit
        self._request_flush = request_flush
        self._log = log
        self._failed = failed
        self._report = partial(_report, outbox, log, failed)
        self._batch = batch
        self._sending = asyncio.Lock()  # held during a push and a look
        self._replied_at = 0.0
        self._stored_dropped = 0  # what Redis has stored
        self.reached = False  # whether Redis has ever replied
        self._requesting: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Send, and enforce the memory limit, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._enforce_limit())
            group.create_task(self._send_forever())

    async def _send_forever(self) -> None:
        backoff = Backoff(2 * self._interval, max(LONGEST_PAUSE, self._interval))
        pause = self._interval
        while True:
            await asyncio.sleep(pause)
            try:
                await self._cycle()
            except Exception as error:  # noqa: BLE001 - this loop is all that sends, so it goes on whatever comes
                pause = backoff.next_delay()
                self._report(error)
            else:
                pause = self._interval
                backoff.reset()
                self._log.recovered("send", "Redis takes entries again")

    async def _enforce_limit(self) -> None:
        while True:
            try:
                await self._memory_limit.enforce()
            except Exception as error:  # noqa: BLE001 - as above
                self._report(error)
            await asyncio.sleep(self._interval)

    async def _cycle(self) -> None:
        async with self._sending:
            await self._push_until(self._outbox.recorded)
            if self._outbox.unsaved and self._now() - self._replied_at >= LOOK_EVERY:
                await self._look()

    async def send(
        self, timeout: float, *, patient: bool = True, wait_for_room: bool = True
    ) -> None:
        """Bring all that was recorded before the call to Redis.

        Args:
            timeout: seconds to go on trying.
            patient: try again when Redis cannot be reached.
            wait_for_room: try again when Redis is full; else raise `StoreFullError`.

        Raises:
            StoreUnavailableError: that did not work in time; the entries are sent later.
        """
        until = self._outbox.recorded
        deadline = self._now() + timeout
        cause: Exception | None = None
        backoff = Backoff(0.05, 0.5)
        while True:
            try:
                async with asyncio.timeout_at(deadline), self._sending:
                    return await self._push_until(until)
            except TimeoutError:
                pass
            except StoreUnavailableError as error:
                cause = error
                self._report(error)
                if not patient or (isinstance(error, StoreFullError) and not wait_for_room):
                    raise
            remaining = deadline - self._now()
            if remaining <= 0:
                reason = str(cause or "no answer")
                raise StoreUnavailableError(
                    f"not all entries could be sent within {timeout:g} s: {reason}"
                ) from cause
            await asyncio.sleep(min(backoff.next_delay(), remaining))

    async def finish(self, timeout: float) -> None:
        """Send for the last time: as `send`, but trying once if Redis has never replied.

        If there is nothing to send, this asks Redis whether it still has what it was sent, as a push would.
        """
        if self._outbox.unsaved and not self._outbox.unsent:
            # Without a reply, all is in Redis as far as is known.
            with suppress(TimeoutError, StoreUnavailableError):
                async with asyncio.timeout(timeout):
                    await self.look()
        await self.send(timeout, patient=self.reached)

    async def look(self) -> None:
        """Ask Redis what SQL has saved.

        Raises:
            StoreUnavailableError: Redis cannot be used.
        """
        async with self._sending:
            await self._look()

    async def aclose(self) -> None:
        """End a flush request that is under way; the outbox stays as it is."""
        if self._requesting is not None:
            _, late = await asyncio.wait({self._requesting}, timeout=REQUEST_GRACE)
            for request in late:
                request.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _look(self) -> None:
        reply = await self._destination.look(self._outbox.producer)
        await self._process(reply, None)

    async def _push_until(self, until: int) -> None:
        """Push all batches, and the first `until` records."""
        outbox = self._outbox
        while True:
            following = outbox.next()
            if following is None:
                if not outbox.open and not outbox.holds_before(until):
                    return
                await outbox.make_batch(until, self._batch)
                continue
            batch, need = following
            if not batch.in_memory and not await self._read_back(batch):
                continue
            reply = await self._push(batch, need, until)
            await self._process(reply, batch)
            if reply.request_flush:
                self._start_flush_request()
            await self._store_dropped()
            if reply.bad:
                self._log.trouble(
                    "bad totals",
                    "%d keys app:metrics:… in Redis hold no totals of a function; delete or rename them",
                    reply.bad,
                )
            if reply.kind == "full":
                raise StoreFullError(
                    "Redis holds as many unsaved entries as the backlog limit allows; is `taskiq worker` running?"
                )

    async def _push(self, batch: Batch, need: int, until: int) -> PushReply:
        """Push a batch, and make the next one while Redis works on this one.

        Not more than one, however often this is tried: entries in a batch are not dropped at the memory limit any more.
        """
        outbox = self._outbox
        push = self._destination.push(outbox.producer, batch, need)
        if outbox.ahead or not outbox.holds_before(until):
            return await push
        pushing = asyncio.ensure_future(push)
        try:
            await asyncio.sleep(0)  # it begins in this turn of the loop, and the batch in the next
            await outbox.make_batch(until, self._batch)
        except asyncio.CancelledError:
            # The push has to be over before the next one begins.
            pushing.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await pushing
            raise
        except Exception as error:  # noqa: BLE001 - entries of the next batch cannot be encoded
            self._report(error)
        except BaseException:  # Ctrl-C: the loop is about to end
            pushing.cancel()
            raise
        return await pushing

    async def _store_dropped(self) -> None:
        dropped = self._outbox.counts().dropped
        if dropped != self._stored_dropped:
            await self._destination.store_dropped(self._outbox.producer, dropped)
            self._stored_dropped = dropped

    async def _read_back(self, batch: Batch) -> bool:
        """Read a batch from the spool; whether that worked."""
        copy = batch.disk_copy
        assert copy is not None  # noqa: S101 - it is in memory or on disk
        try:
            batch.content = await process.in_thread(copy.read)
        except OSError as error:
            self._outbox.lose(batch)
            what = f"{len(batch)} entries in the spool folder cannot be read back: {error}"
            self._failed(what)
            self._log.trouble("spool", "%s", what)
            return False
        return True

    async def _process(self, reply: PushReply, batch: Batch | None) -> None:
        self._replied_at = self._now()
        self.reached = True
        if lost := self._outbox.replied(reply, batch):
            self._failed(f"Redis lost {lost} entries")
            self._log.trouble(
                "lost",
                "Redis has lost %d entries for good: the memory limit left no copy of them here, or they were "
                "lost again and again",
                lost,
            )
        if released := self._outbox.released():
            await process.in_thread(partial(_discard, released))

    def _start_flush_request(self) -> None:
        # In a task of its own: the broker's Redis may be another one, and may be slow.
        if self._requesting is None or self._requesting.done():
            self._requesting = asyncio.ensure_future(self._send_flush_request())

    async def _send_flush_request(self) -> None:
        try:
            await self._request_flush()
        except Exception as error:  # noqa: BLE001 - whatever a broker raises: the worker's own timer will flush
            self._failed(f"flush request: {error}")
            text = "cannot send a flush request; workers flush by their own timer: %s"
            self._log.trouble("flush request", text, error)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _discard(copies: list[DiskCopy]) -> None:
    for copy in copies:
        copy.discard()


def _report(
    outbox: Outbox, log: RateLimitedLog, failed: Callable[[str], None], error: Exception
) -> None:
    """Say why nothing is sent, and where the entries wait meanwhile."""
    what = text_of(error)
    failed(what)
    counts = outbox.counts()
    where = f"{counts.buffered} entries wait in this process"
    if counts.spooled:
        where += f" and {counts.spooled} in the spool folder"
    log.trouble("send", "%s; %s", what, where)


def text_of(error: Exception) -> str:
    """What an error says, with its type if it is none of ours."""
    return str(error) if isinstance(error, MetricsCollectorError) else repr(error)


async def keep_entries(
    outbox: Outbox, cause: Exception, *, log: RateLimitedLog, failed: Callable[[str], None]
) -> None:
    """Enforce the usual memory limit where there is no pipeline to send with; until cancelled.

    The cause, which nobody is there to raise to, is said again and again, as when Redis cannot be reached.
    """
    what = text_of(cause)
    failed(what)
    log.trouble("send", "%s; entries wait in this process", what)
    memory_limit = MemoryLimit(outbox, USUAL_MAX_BUFFERED, log=log, failed=failed)
    while True:
        try:
            await memory_limit.enforce()
        except Exception as error:  # noqa: BLE001 - whatever it is, the limit is to be enforced further on
            _report(outbox, log, failed, error)
        await asyncio.sleep(1.0)
        _report(outbox, log, failed, cause)
