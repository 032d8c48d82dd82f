"""The processes' entry points.

```
taskiq worker metrics_collector.tasks:broker
taskiq scheduler metrics_collector.tasks:scheduler
```

Both objects are built on first access, so that importing this module reads no environment.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from metrics_collector._runtime import assembly
from metrics_collector._runtime.collector import collector
from metrics_collector._saving import taskiq
from metrics_collector._saving.worker import BEAT_TTL

if TYPE_CHECKING:
    from taskiq import AsyncBroker, TaskiqScheduler

    from metrics_collector._saving.worker import Worker

    broker: AsyncBroker
    scheduler: TaskiqScheduler

__all__ = ["broker", "register_tasks", "scheduler"]


def register_tasks(broker: AsyncBroker) -> None:
    """Put the task `flush_metrics` on one's own broker, which from then on is the one that flush requests go to.

    Its workers save entries, and a scheduler with a `LabelScheduleSource` of it requests a flush every
    `MAX_WAITING_TIME` seconds. Call it where the broker is made, so that producers, workers and scheduler all do.
    A producer uses it on the loop on which its `async with MetricsCollector()` was entered.

    Args:
        broker: any Taskiq broker.
    """
    _register(broker)
    collector.broker = broker


def _register(broker: AsyncBroker) -> None:
    taskiq.register(
        broker,
        make_worker=_worker,
        every=lambda: collector.settings().max_waiting_time,
        log=collector.log,
    )


def _worker() -> Worker:
    settings = collector.settings()
    taskiq.warn_of_reloads(assembly.database(settings).files, collector.log)
    return assembly.worker(settings, collector.log)


@cache
def _broker() -> AsyncBroker:
    settings = collector.settings()
    broker = taskiq.make_broker(
        settings.taskiq_broker_url,
        settings.taskiq_result_backend_url,
        log=collector.log,
    )
    _register(broker)
    return broker


@cache
def _scheduler() -> TaskiqScheduler:
    return taskiq.FlushScheduler(_broker(), beat=_beat, log=collector.log)


async def _beat() -> None:
    settings = collector.settings()
    async with assembly.redis_for_a_while(settings) as redis:
        await assembly.heartbeat("scheduler", redis).beat({"error": None}, BEAT_TTL)


def __getattr__(name: str) -> Any:
    if name == "broker":
        return _broker()
    if name == "scheduler":
        return _scheduler()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
