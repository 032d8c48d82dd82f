"""The scheduler of the embedded mode: a task beside its worker, in the same process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskiq.api import run_scheduler_task

from metrics_collector._saving.taskiq.scheduler import FlushScheduler

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from taskiq import AsyncBroker

    from metrics_collector._support.rate_limited_log import RateLimitedLog


def scheduler(broker: AsyncBroker, log: RateLimitedLog) -> Coroutine[Any, Any, None]:
    """What requests flushes and purges until it is cancelled; nobody needs its heartbeat."""
    return run_scheduler_task(FlushScheduler(broker, beat=None, log=log))
