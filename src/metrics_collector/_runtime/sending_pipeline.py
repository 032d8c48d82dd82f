"""What runs in the sender thread: the sender, its connections, and in the embedded mode worker and scheduler."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._errors import ConfigurationError, StoreFullError, StoreUnavailableError
from metrics_collector._runtime import assembly
from metrics_collector._saving.worker import RECONCILE_EVERY
from metrics_collector._sending.memory_limit import MemoryLimit
from metrics_collector._sending.outbox import BATCH
from metrics_collector._sending.sender import Sender, text_of
from metrics_collector._sending.spool import Replay
from metrics_collector._support import fork_hooks, process
from metrics_collector._support.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from metrics_collector._saving.flush import Flush
    from metrics_collector._saving.worker import Worker
    from metrics_collector._sending.outbox import Outbox
    from metrics_collector._sending.spool import Spool
    from metrics_collector._storage.base import Store
    from metrics_collector._support.rate_limited_log import RateLimitedLog
    from metrics_collector._support.settings import Settings

_CHECK_TIMEOUT: Final = 2.0  # seconds that the beginning of a run waits for Redis
_REQUEST_TIMEOUT: Final = 5.0  # seconds that the loop of the user's broker may take for a request


class SendingPipeline:
    """The running parts. Made, used and stopped on the sender thread's loop; outbox and spool are the process's.

    Args:
        server: the embedded Redis, or `None`.
        broker: the user's own Taskiq broker, which is asked for flushes, or `None` for ours.
        broker_loop: returns the loop that this one is used on, if that runs now.
    """

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        *,
        server: Any,
        broker: Any,
        broker_loop: Callable[[], asyncio.AbstractEventLoop | None],
        spool: Spool | None,
        log: RateLimitedLog,
        failed: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self._outbox = outbox
        self._server = server
        # In the embedded mode only the worker in this process can read what Redis has.
        self._own_broker: Any = broker if server is None else None
        self._broker_loop = broker_loop
        self._broker: Any = None  # ours, made when it is first needed
        self._spool = spool
        self._log = log
        self._failed = failed
        self.redis = assembly.redis_connection(settings, server)
        self._destination = assembly.producer_commands(settings, self.redis)
        # Redis would never take a batch above its limit; and the batch on its way counts to the memory limit.
        batch = min(BATCH, settings.max_backlog, max(1, settings.max_buffered // 4))
        remedy = "; raise METRICS_MAX_BUFFERED"
        self._memory_limit = MemoryLimit(
            outbox,
            settings.max_buffered,
            log=log,
            failed=failed,
            remedy=remedy if spool else f"{remedy}, or set METRICS_SPOOL_DIR to keep them on disk",
            spool=spool,
            batch=batch,
        )
        self.sender = Sender(
            outbox,
            self._destination,
            interval=settings.send_interval,
            memory_limit=self._memory_limit,
            request_flush=self._request_flush,
            log=log,
            failed=failed,
            batch=batch,
        )
        self._worker: Worker | None = None
        self._looked_at = -math.inf  # at the heartbeats of workers, by the loop's clock
        self._save_cancelled = False  # since then no flush has ended
        self._tasks: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        """Start the background tasks."""
        self._spawn(self.sender.run())
        if self._spool is not None:
            replay = Replay(
                self._spool.folder, self._destination, log=self._log, failed=self._failed
            )
            self._spawn(replay.run())
        if self._server is not None:
            try:
                await self._start_embedded()
            except RuntimeError:
                if not process.exiting():
                    raise  # else Taskiq cannot be loaded any more; `finish` saves without it

    async def check(self) -> None:
        """Check that spool and Redis can be used, for a moment only: a service starts without Redis, too.

        Raises:
            StoreUnavailableError: it cannot be reached.
            IncompatibleStoreError: it is too old, or a cluster.
            ConfigurationError: METRICS_SPOOL_DIR cannot be used.
        """
        if self._spool is not None:
            try:
                await process.in_thread(self._spool.check)
            except OSError as error:
                raise ConfigurationError(
                    f"METRICS_SPOOL_DIR={self._spool.folder!r} cannot be used: {error}; "
                    "allowed is a folder that can be written"
                ) from error
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT):
                await self.redis.check_server()
        except TimeoutError:
            raise StoreUnavailableError("Redis does not answer") from None

    async def flush(self, timeout: float) -> int:
        """Send, trying for `timeout` seconds, then save all that Redis holds; the number of entries newly saved.

        Raises:
            StoreUnavailableError: Redis or the database cannot be used.
            IncompatibleStoreError: the database is too new, or not ours.
        """
        saved = 0
        while True:
            try:
                await self.sender.send(timeout, wait_for_room=False)
            except StoreFullError:
                # Only saving what Redis holds makes room.
                some = await self.save()
                if not some:
                    raise
                saved += some
            else:
                return saved + await self.save()

    async def save(self, *, plain: bool = False) -> int:
        """Save all that Redis holds now, as `flush` does; `plain`: without threads, for the exit of the interpreter."""
        flush = assembly.flush(self.settings, self.redis, self._log, plain=plain)
        # Not at the exit, where whoever holds the lock may have stopped for good.
        lock = None if plain or self._worker is None else self._worker.claim_lock
        async with lock or contextlib.nullcontext():
            try:
                saved = await flush.drain(ignore_leases=True, once=True)
            except asyncio.CancelledError:
                self._save_cancelled = True
                raise
        await self.sender.look()
        if saved and not plain:
            await self._warn_if_split(flush)
        return saved

    async def _warn_if_split(self, flush: Flush) -> None:
        """Once a minute: if workers save to another database than this process does."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at < RECONCILE_EVERY:
            return
        self._looked_at = now
        with contextlib.suppress(StoreUnavailableError):  # it is saved all the same
            split = await assembly.split(self.settings, self.redis, flush, socket.gethostname())
            if split is not None:
                self._log.trouble("split", "%s", split)

    async def database(self, *, live: bool) -> Store:
        """The database, to be read; with `live`, what others have saved is added to the embedded Redis's totals."""
        database = assembly.database(self.settings)
        if live and self._worker is not None:
            # Not between a flush's commit and its acknowledgement: those entries would count twice for that moment.
            async with self._worker.claim_lock:
                await self._add_what_others_saved(database)
        return database

    async def _add_what_others_saved(self, database: Store) -> None:
        if self._save_cancelled:
            # What it committed is in its claim all the same, and would count twice, too.
            with contextlib.suppress(StoreUnavailableError):
                flush = assembly.flush(self.settings, self.redis, self._log)
                await flush.drain(ignore_leases=True, once=True)
                self._save_cancelled = False
        async with database.reading() as reader:
            if reader is not None:
                db, no = await reader.state()
                commands = assembly.worker_commands(self.settings, self.redis)
                await commands.reconcile(db, no, await reader.all_totals())

    async def finish(self, timeout: float, *, plain: bool = False) -> bool:
        """Send for the last time, and save for the last time in the embedded mode.

        What cannot be sent in time stays in the outbox; the spool takes it, if there is one.

        Args:
            timeout: seconds.
            plain: without threads, at the exit of the interpreter; the pipeline is not used afterwards.

        Returns:
            Whether all was sent, and saved in the embedded mode.
        """
        if not (self._outbox.unsent or self._outbox.unsaved):
            return True
        deadline = asyncio.get_running_loop().time() + timeout
        try:
            await self.sender.finish(timeout)
            if plain and self._worker is not None:
                # Its last flush has to be over: without threads, a second one would wait for its lock and block it.
                await self._worker.aclose()
            if self._server is not None:
                await self._save_by(deadline, plain=plain)
        except Exception as error:  # noqa: BLE001 - a run and a process end whatever comes
            await self._spool_the_rest()
            counts = self._outbox.counts()
            where = f"{counts.spooled} entries in the spool folder and " if counts.spooled else ""
            text = "%s; %s%d entries in this process wait at the end"
            self._log.trouble("send", text, text_of(error), where, counts.buffered)
            return False
        return True

    async def _spool_the_rest(self) -> None:
        # What was sent to a Redis in this process is lost with the process, too. Failures are logged by the spool, and
        # no caller is left to raise them to.
        with contextlib.suppress(Exception):
            await self._memory_limit.move_to_spool(sent=self._server is not None)

    async def _save_by(self, deadline: float, *, plain: bool) -> None:
        """Save for the last time, trying until the deadline: others may lock the database, or its disk be slow."""
        backoff = Backoff(0.1, 0.2)
        while True:
            try:
                await self.save(plain=plain)
            except StoreUnavailableError:
                delay = backoff.next_delay()
                if asyncio.get_running_loop().time() + delay >= deadline:
                    raise
                await asyncio.sleep(delay)
            else:
                return

    async def stop(self) -> None:
        """End the background tasks and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.sender.aclose()
        if self._broker is not None:
            # Whatever it raises: it is not used any more.
            with contextlib.suppress(Exception):
                await self._broker.shutdown()
        with contextlib.suppress(StoreUnavailableError, OSError):
            await self.redis.aclose()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _start_embedded(self) -> None:
        drivers = assembly.database(self.settings).drivers
        await process.load("metrics_collector._saving.taskiq.embedded", *drivers)
        from metrics_collector._saving import taskiq
        from metrics_collector._saving.taskiq import embedded

        self._worker = worker = assembly.worker(self.settings, self._log, self.redis)
        self._broker = _ready_broker("memory://", "memory://", self._log)
        taskiq.register(
            self._broker,
            make_worker=lambda: worker,
            every=self.settings.max_waiting_time,
            log=self._log,
        )
        await self._broker.startup()
        self._spawn(embedded.scheduler(self._broker, self._log))

    async def _request_flush(self) -> None:
        if self._own_broker is not None:
            await self._ask_own_broker()
            return
        if self._broker is None and (self._server is not None or process.exiting()):
            # The embedded worker is about to start, and begins with a flush. At the exit no broker can be loaded any
            # more, and the worker's own timer will do.
            return
        try:
            await process.load("metrics_collector._saving.taskiq")
        except RuntimeError:
            if process.exiting():
                return  # the exit began meanwhile
            raise
        from metrics_collector._saving import taskiq

        if self._broker is None:
            self._broker = _ready_broker(
                self.settings.taskiq_broker_url, self.settings.taskiq_result_backend_url, self._log
            )
        await taskiq.request_flush(self._broker)

    async def _ask_own_broker(self) -> None:
        """Ask the user's broker on its own loop, where its connections belong."""
        loop = self._broker_loop()
        if loop is None:
            return  # no run: the scheduler's requests and the worker's own timer will do
        from metrics_collector._saving import taskiq

        request = asyncio.run_coroutine_threadsafe(taskiq.request_flush(self._own_broker), loop)
        async with asyncio.timeout(_REQUEST_TIMEOUT):
            await asyncio.wrap_future(request)


def _ready_broker(url: str, result_backend_url: str, log: RateLimitedLog) -> Any:
    """A broker whose first use a fork need not wait for."""
    from metrics_collector._saving import taskiq

    with fork_hooks.no_fork():
        broker = taskiq.make_broker(url, result_backend_url, log=log)
        taskiq.rehearse(broker)
    return broker
