"""A scheduler process that requests flushes and purges, also when Redis was away meanwhile."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from taskiq import TaskiqScheduler
from taskiq.schedule_sources import LabelScheduleSource
from typing_extensions import override  # Taskiq's own dependency; typing has it from 3.12

from metrics_collector._saving.taskiq.broker import KICK_TIMEOUT
from metrics_collector._saving.taskiq.shared import REDIS, TASK_NAME, TASK_NAMES, reason
from metrics_collector._support.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from taskiq import AsyncBroker, ScheduledTask, ScheduleSource

    from metrics_collector._support.rate_limited_log import RateLimitedLog

# All in seconds.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 1.0
BEAT_EVERY: Final = 3.0
BEAT_TIMEOUT: Final = 3.0
LATE_AFTER: Final = 10.0  # a request that is overdue by this has failed


class FlushScheduler(TaskiqScheduler):
    """Requests flushes and purges as often as their labels on the broker say, each until Redis takes it.

    In a process of its own it ends in an orderly way on SIGTERM.

    Args:
        beat: called every three seconds as long as requests are sent in time.
    """

    def __init__(
        self,
        broker: AsyncBroker,
        *,
        beat: Callable[[], Awaitable[None]] | None,
        log: RateLimitedLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(broker, [LabelScheduleSource(broker)])
        self._beat = beat
        self._log = log
        self._clock = clock
        self._in_time_until = clock()  # until then no request is overdue
        self._beating: asyncio.Task[None] | None = None

    @override
    async def startup(self) -> None:
        if self.broker.is_scheduler_process:
            _end_on_sigterm()
        await super().startup()
        if self._beat is not None:
            self._beating = asyncio.create_task(self._keep_beating(self._beat))

    @override
    async def shutdown(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
        await super().shutdown()

    @override
    async def on_ready(self, source: ScheduleSource, task: ScheduledTask) -> None:
        # Taskiq starts no second one of the same schedule meanwhile, so they do not pile up.
        if task.task_name not in TASK_NAMES:
            await super().on_ready(source, task)
            return
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                async with asyncio.timeout(KICK_TIMEOUT):
                    await super().on_ready(source, task)
            except Exception as error:  # noqa: BLE001 - the broker may be anybody's, and the next try may succeed
                text = "cannot send a flush request; retrying: %s"
                self._log.trouble(REDIS, text, reason(error))
                await asyncio.sleep(backoff.next_delay())
            else:
                if task.task_name == TASK_NAME:
                    self._in_time_until = self._clock() + _seconds(task.interval) + LATE_AFTER
                return

    async def _keep_beating(self, beat: Callable[[], Awaitable[None]]) -> None:
        while True:
            if self._clock() < self._in_time_until:
                try:
                    async with asyncio.timeout(BEAT_TIMEOUT):
                        await beat()
                except Exception as error:  # noqa: BLE001 - the next one may succeed; until then the process counts as dead
                    self._log.trouble(
                        REDIS,
                        "cannot send the heartbeat of the scheduler; retrying: %s",
                        reason(error),
                    )
            await asyncio.sleep(BEAT_EVERY)


def _seconds(interval: int | timedelta | None) -> float:
    return interval.total_seconds() if isinstance(interval, timedelta) else float(interval or 0)


def _end_on_sigterm() -> None:
    # Taskiq leaves SIGTERM to the system, which ends the process at once, but does nothing to the
    # first process of a container. Cancelled, Taskiq's main task shuts everything down and returns.
    task = asyncio.current_task()
    default = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if task is not None and default and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
