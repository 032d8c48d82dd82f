"""The scheduler of the embedded mode: a task beside its worker, in the same process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskiq.api import run_scheduler_task

from metrics_collector._saving.taskiq.scheduler import FlushScheduler

if TYPE_CHECKING:
    from taskiq import AsyncBroker

    from metrics_collector._support.rate_limited_log import RateLimitedLog


async def run_scheduler(broker: AsyncBroker, log: RateLimitedLog) -> None:
    """Request flushes and purges until cancelled; nobody needs its heartbeat."""
    await run_scheduler_task(FlushScheduler(broker, beat=None, log=log))
