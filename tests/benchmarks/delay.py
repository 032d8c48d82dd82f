"""Seconds from the end of a call until it is seen: in the live totals, and in SQL."""

from __future__ import annotations

import asyncio
from time import perf_counter as clock
from typing import TYPE_CHECKING

from metrics_collector import MetricsCollector, Settings, metrics_collector
from metrics_collector._runtime import assembly
from tests.benchmarks.harness import Line, Run, Target, line, surroundings
from tests.helpers import processes
from tests.helpers.pipeline import KEYS
from tests.helpers.rows import saved as saved_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

INTERVAL = 0.1
LOOK_EVERY = 0.002


def lines(run: Run) -> Iterator[Line]:
    """Both; SQL's with a worker and a scheduler as users start them."""
    waiting_time = run.pick(5, 1)
    live, saved = asyncio.run(_measured(run, waiting_time))
    interval, waiting = [INTERVAL] * len(live), [float(waiting_time)] * len(saved)
    aim = Target("ratio", 2.0)
    yield line("call to live total", live, "METRICS_SEND_INTERVAL", interval, target=aim)
    yield line("call to SQL", saved, "MAX_WAITING_TIME", waiting, target=Target("above", 1.0))


async def _measured(run: Run, waiting_time: int) -> tuple[list[float], list[float]]:
    with surroundings() as (redis, place):
        settings = Settings(
            redis_url=redis.url,
            database_name=str(place / "db"),
            max_waiting_time=waiting_time,
            send_interval=INTERVAL,
            max_items=10**9,  # the scheduler alone requests flushes, which takes longest
        )
        environment = {
            "REDIS_URL": redis.url,
            "DATABASE_NAME": settings.database_name,
            "MAX_WAITING_TIME": str(waiting_time),
        }
        with (
            processes.worker(place, environment, "--workers=1"),
            processes.scheduler(place, environment),
        ):
            async with (
                MetricsCollector(settings),
                assembly.redis_for_a_while(settings) as connection,
            ):
                work = metrics_collector(name="work")(_nothing)

                async def counted() -> int:
                    key = KEYS.totals("work")
                    return int(await connection.execute("HGET", key, "call_count") or 0)

                async def rows() -> int:
                    return await asyncio.to_thread(saved_in, settings.database_name)

                work()
                await _until(rows, 1)  # worker and scheduler are up by then
                live, saved = [], []
                for number in range(run.pick(7, 1)):
                    work()
                    start = clock()
                    await _until(counted, number + 2)
                    live.append(clock() - start)
                    await _until(rows, number + 2)
                    saved.append(clock() - start)
                    # Another place in the intervals each time.
                    await asyncio.sleep(waiting_time * 0.618)
                return live, saved


def _nothing() -> None: ...


async def _until(count: Callable[[], Awaitable[int]], wanted: int) -> None:
    async with asyncio.timeout(60):
        while await count() < wanted:
            await asyncio.sleep(LOOK_EVERY)
