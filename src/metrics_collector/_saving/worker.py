"""What a worker process does beside answering flush requests: a timer of its own, reconciling, and a heartbeat.

A flush request may be lost (a full Redis takes none), so no entry may depend on one.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._errors import MetricsCollectorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from metrics_collector._redis.heartbeat import Heartbeat
    from metrics_collector._saving.flush import Flush
    from metrics_collector._saving.purge import Purge
    from metrics_collector._support.rate_limited_log import RateLimitedLog

RECONCILE_EVERY: Final = 60.0  # seconds
BEAT_EVERY: Final = 5.0
BEAT_TTL: Final = 20.0  # after which a process without a heartbeat counts as dead
GRACE: Final = 0.5  # seconds that a flush may go on while the worker closes


class Worker:
    """Flushes when it is asked to and by a timer, purges, and sends heartbeats.

    Args:
        every: seconds between two flush requests of the scheduler.
        dangers: asks what threatens the entries in Redis; a line for each.
        split: asks whether other workers save to other databases; a line if so.
        close: closes the connections.
    """

    def __init__(
        self,
        flush: Flush,
        purge: Purge,
        heartbeat: Heartbeat,
        *,
        every: float,
        log: RateLimitedLog,
        dangers: Callable[[], Awaitable[Sequence[str]]],
        split: Callable[[], Awaitable[str | None]],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self._flush = flush
        self._purge = purge
        self._heartbeat = heartbeat
        self._every = every
        self._log = log
        self._dangers = dangers
        self._split = split
        self._close = close
        self._flush_lock = asyncio.Lock()  # held during a flush
        # Held while a claim is saved and acknowledged; released between claims, so that readers are let in.
        self.claim_lock = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._known_life: str | None = None
        self._known_split: str | None = None
        self._reconciled_at: float | None = None
        self._flushed_at: float | None = None  # UTC epoch seconds
        self._error: str | None = None
        self._flushing: asyncio.Task[Any] | None = None
        self._purging: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Start the timer and the heartbeat on the running loop."""
        self._tasks = [
            asyncio.create_task(self._flush_forever()),
            asyncio.create_task(self._beat_forever()),
        ]

    async def flush(self) -> int:
        """Save what waits in Redis; the number of entries newly saved. Trouble is logged, and ends it."""
        saved = 0
        async with self._flush_lock:
            self._flushing = asyncio.current_task()
            try:
                while True:
                    # Claim by claim: busy producers may never let Redis be empty, and reconciling is due all the same.
                    async with self.claim_lock:
                        if self._closed:
                            break
                        some = await self._flush.drain(once=True)
                        saved += some
                        await self._reconcile_if_due()
                    self._succeeded()
                    if not some:
                        break
            except MetricsCollectorError as error:
                self._failed(str(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, entries wait and the timer goes on
                self._failed(f"{type(error).__name__}: {error}")
            finally:
                self._flushing = None
        return saved

    def begin_purge(self) -> None:
        """Begin a purge, unless one is under way, and return at once. Trouble is logged."""
        if not self._closed and (self._purging is None or self._purging.done()):
            self._purging = asyncio.create_task(self._purge_once())

    async def _purge_once(self) -> None:
        try:
            await self._purge.run()
        except Exception as error:  # noqa: BLE001 - the next one, an hour later, may work
            self._log.trouble(
                "purge", "cannot delete old entries, trying again in an hour: %s", error
            )
        else:
            self._log.recovered("purge", "old entries are deleted again")

    def _succeeded(self) -> None:
        self._error = None
        self._flushed_at = time.time()
        self._log.recovered("flush", "saving entries works again")

    def _failed(self, error: str) -> None:
        self._error = error
        self._log.trouble("flush", "cannot save entries; they wait in Redis: %s", error)

    async def aclose(self) -> None:
        """End timer and heartbeat, and close the connections.

        A flush under way has half a second to finish, and is then cancelled; what it has not saved stays in Redis.
        """
        self._closed = True
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE), self._flush_lock:
                    pass
        finally:
            if self._flushing is not None:
                self._flushing.cancel()
            tasks = [*self._tasks, *([] if self._purging is None else [self._purging])]
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with self._flush_lock:  # until the flush has closed the database
            pass
        with suppress(MetricsCollectorError):  # it expires by itself
            await self._heartbeat.stop()
        await self._close()

    async def _reconcile_if_due(self) -> None:
        now = asyncio.get_running_loop().time()
        lost = self._flush.life != self._known_life
        if lost or self._reconciled_at is None or now - self._reconciled_at >= RECONCILE_EVERY:
            if lost or self._reconciled_at is None:
                for danger in await self._dangers():
                    self._log.trouble(danger, "%s", danger)
            await self._flush.reconcile()
            await self._flush.report_lost()
            self._known_life = self._flush.life
            self._reconciled_at = now
            await self._warn_if_split()

    async def _warn_if_split(self) -> None:
        split = await self._split()
        # Twice, as others may not know yet that a copy was restored, which gave the database a new id.
        if split and split == self._known_split:
            self._log.trouble("split", "%s", split)
        self._known_split = split

    async def _flush_forever(self) -> None:
        """Flush at the start, every minute to reconcile, and after two waiting times without a flush request."""
        pause = min(2 * self._every, RECONCILE_EVERY)
        while True:
            await self.flush()
            # After trouble sooner, so that entries do not wait for a whole round once it is over. No backoff: flush
            # requests bring tries in between all the same.
            await asyncio.sleep(pause if self._error is None else min(pause, BEAT_EVERY))

    async def _beat_forever(self) -> None:
        while True:
            state = {"flushed_at": self._flushed_at, "error": self._error, "db": self._flush.db}
            try:
                await self._heartbeat.beat(state, BEAT_TTL)
            except MetricsCollectorError as error:
                self._log.trouble("beat", "%s", error)
            await asyncio.sleep(BEAT_EVERY)
