"""The tasks `flush_metrics` and `purge_metrics`: how they are requested, and the one worker of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from taskiq import ScheduledTask, TaskiqEvents, TaskiqMessage, TaskiqResult
from taskiq.decor import AsyncTaskiqDecoratedTask
from taskiq.exceptions import NoResultError
from taskiq.kicker import AsyncKicker

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._saving.taskiq.broker import KICK_TIMEOUT, FlushRequestBroker
from metrics_collector._saving.taskiq.shared import PURGE_NAME, TASK_NAME, reason

if TYPE_CHECKING:
    from taskiq import AsyncBroker, TaskiqState

    from metrics_collector._support.rate_limited_log import RateLimitedLog

FlushTask: TypeAlias = AsyncTaskiqDecoratedTask[[], Coroutine[Any, Any, int]]

# In seconds. A worker is to end within 5 of SIGTERM, and Taskiq's manager may take the first.
FLUSH_GRACE: Final = 1.0
CLOSE_TIMEOUT: Final = 1.0
PURGE_EVERY: Final = 3600


class TaskWorker(Protocol):
    """What saves entries; there is one in each worker process."""

    async def start(self) -> None:
        """Start its background tasks, such as a timer of its own."""

    async def flush(self) -> int:
        """Save what waits in Redis; may be cancelled.

        Returns:
            The number of entries saved.
        """

    def begin_purge(self) -> None:
        """Begin to delete what is no longer to be kept, unless that is under way, and return at once."""

    async def aclose(self) -> None:
        """End its background tasks; cancelled after one second."""


def register(
    broker: AsyncBroker,
    *,
    make_worker: Callable[[], TaskWorker],
    every: Callable[[], int] | int,
    log: RateLimitedLog,
) -> FlushTask:
    """Put both tasks on a broker of any kind; one that has them already stays as it is.

    The worker is made and started when the broker starts in a worker process, else by the first
    request that is answered here, as on the in-memory broker; it is closed when the broker shuts
    down. What `make_worker` or `start` raises keeps the process from starting.

    One flush runs at a time. Requests that come while another waits for its turn return 0 at once:
    the one that waits saves for them too.

    Args:
        broker: the one that workers listen to.
        make_worker: called once in each process, or in each loop if it has several.
        every: whole seconds between a scheduler's requests; a function is called when the scheduler starts.
        log: where trouble is logged.

    Returns:
        The task `flush_metrics`.
    """
    registered = broker.local_task_registry.get(TASK_NAME)
    if registered is not None:
        return registered
    flusher = _Flusher(make_worker, log)

    async def flush_metrics() -> int:
        """Save what waits in Redis, and return the number of entries."""
        return await flusher.flush()

    async def purge_metrics() -> None:
        """Begin to delete what is no longer to be kept.

        That goes on beside whatever else the worker does: where a worker takes one task at a time, flushes would have
        to wait for this one.
        """
        await flusher.purge()

    broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, flusher.start)
    broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, flusher.stop)
    if isinstance(broker, FlushRequestBroker):
        broker.on_listening_ended = flusher.end_soon
    broker.register_task(
        purge_metrics, task_name=PURGE_NAME, schedule=_Schedule(PURGE_NAME, PURGE_EVERY)
    )
    return broker.register_task(
        flush_metrics, task_name=TASK_NAME, schedule=_Schedule(TASK_NAME, every)
    )


async def request_flush(broker: AsyncBroker) -> None:
    """Ask a worker for a flush, within three seconds. To ask twice does no harm.

    Raises:
        StoreUnavailableError: the broker did not take the request, for whatever reason.
    """
    task = broker.find_task(TASK_NAME)
    labels = {} if task is None else {k: v for k, v in task.labels.items() if k != "schedule"}
    try:
        async with asyncio.timeout(KICK_TIMEOUT):
            await AsyncKicker(TASK_NAME, broker, labels).kiq()
    except Exception as error:
        raise StoreUnavailableError(f"cannot send a flush request: {reason(error)}") from error


def rehearse(broker: AsyncBroker) -> None:
    """Make, write and read what requests and their answers consist of, for nothing.

    At the first use of each kind pydantic-core takes a lock, and other threads go on meanwhile. If one of them forks,
    the child waits for that lock for ever. So a process that may fork does this where it cannot.
    """
    message = TaskiqMessage(task_id="", task_name=TASK_NAME, labels={}, args=[], kwargs={})
    broker.formatter.loads(broker.formatter.dumps(message).message)
    ScheduledTask(task_name=TASK_NAME, labels={}, args=[], kwargs={}, interval=1)
    TaskiqResult(is_err=False, return_value=0, execution_time=0.0, error=None)


class _Schedule:
    """The label by which Taskiq's schedulers know when to send a task; read as they start, not on import."""

    def __init__(self, name: str, every: Callable[[], int] | int) -> None:
        self._name = name
        self._every = every

    def __iter__(self) -> Iterator[dict[str, Any]]:
        interval = self._every if isinstance(self._every, int) else self._every()
        yield {"interval": interval, "schedule_id": self._name}


class _Flusher:
    """The worker of this process and its flushes: one runs, one waits, and more are not needed."""

    def __init__(self, make_worker: Callable[[], TaskWorker], log: RateLimitedLog) -> None:
        self._make_worker = make_worker
        self._log = log
        self._loop: asyncio.AbstractEventLoop | None = None
        self._forget()

    def _forget(self) -> None:
        self._worker: TaskWorker | None = None
        self._running: asyncio.Task[int] | None = None
        # True from the arrival of a request until its turn comes. Its flush begins only then, so it
        # sees whatever lay in Redis when another request came in between.
        self._waiting = False
        self._turn = asyncio.Lock()
        self._end: asyncio.TimerHandle | None = None
        self._over = False
        # Taskiq may still run what has waited until the shutdown: it is not to start another worker.
        self._stopped = False

    def _follow_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # What belongs to a loop that is gone cannot even be closed any more.
            self._loop = loop
            self._forget()

    async def start(self, _state: TaskiqState) -> None:
        """Make and start the worker."""
        self._follow_loop()
        self._stopped = False
        async with self._turn:
            await self._started()

    async def _started(self) -> TaskWorker:
        if self._worker is None:
            worker = self._make_worker()
            await worker.start()
            self._worker = worker
        return self._worker

    async def flush(self) -> int:
        """Answer a request: the number of entries saved; 0 if another one that waits for its turn covers this one."""
        self._follow_loop()
        if self._waiting:
            return 0
        self._waiting = True
        turn = self._turn  # `stop` makes a new one
        try:
            await turn.acquire()
        finally:
            self._waiting = False
        try:
            self._raise_if_over()
            if self._stopped:
                return 0
            worker = await self._started()
            self._running = asyncio.create_task(worker.flush())
            try:
                return await self._running
            except asyncio.CancelledError:
                self._raise_if_over()
                if self._worker is not worker:
                    return 0  # closed, which is no error; Taskiq would log one
                raise
        finally:
            turn.release()

    async def purge(self) -> None:
        """Have the worker begin a purge."""
        self._follow_loop()
        async with self._turn:
            self._raise_if_over()
            if not self._stopped:
                (await self._started()).begin_purge()

    def _raise_if_over(self) -> None:
        if self._over:
            raise NoResultError  # Taskiq keeps no result then, which could take its time, too

    def end_soon(self) -> None:
        """Give flushes a moment to finish: Taskiq waits for them before it ends the process."""
        if self._loop is not None and self._end is None:
            self._end = self._loop.call_later(FLUSH_GRACE, self._cut_short)

    def _cut_short(self) -> None:
        self._over = True
        if self._running is not None:
            self._running.cancel()

    async def stop(self, _state: TaskiqState) -> None:
        """Close the worker, if this loop has one."""
        self._follow_loop()
        worker = self._worker
        if self._end is not None:
            self._end.cancel()
        self._forget()
        self._stopped = True
        if worker is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await worker.aclose()
        except Exception as error:  # noqa: BLE001 - the process ends anyway, and others have to close as well
            self._log.trouble(
                "close",
                "the worker did not close as it should; another one saves what it has claimed: %s",
                reason(error),
            )
