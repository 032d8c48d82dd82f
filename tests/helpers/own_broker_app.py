"""A service with a Taskiq broker of its own, which also saves its metrics."""

from __future__ import annotations

import asyncio
import os

from taskiq_redis import RedisStreamBroker

from metrics_collector import MetricsCollector, metrics_collector
from metrics_collector.tasks import register_tasks

CALLS = 50
broker = RedisStreamBroker(os.environ["REDIS_URL"], queue_name="own", consumer_id="0")
register_tasks(broker)


@broker.task
@metrics_collector(name="own.double")
async def double(number: int) -> int:
    return 2 * number


@metrics_collector(name="own.ask")
async def ask(number: int) -> None:
    await double.kiq(number)


async def main() -> None:
    async with MetricsCollector():
        for number in range(CALLS):
            await ask(number)
        await asyncio.sleep(0.5)  # the flush request is sent in a task of its own
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
