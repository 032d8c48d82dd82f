"""Seconds from the end of a call until it is seen: in the live totals, and in SQL."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter as clock
from typing import TYPE_CHECKING

from metrics_collector import MetricsCollector, Settings, metrics_collector
from metrics_collector._runtime import assembly
from tests.benchmarks.harness import Target, line
from tests.helpers import processes
from tests.helpers.pipeline import KEYS
from tests.helpers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.benchmarks.harness import Line, Run

GROUP = "delay"
INTERVAL = 0.1
LOOK_EVERY = 0.002


def lines(run: Run) -> Iterator[Line]:
    """Both; SQL's with a worker and a scheduler as users start them."""
    waiting_time = run.pick(5, 1)
    live, saved = asyncio.run(_measured(run, waiting_time))
    yield line(
        GROUP,
        "call to live total",
        live,
        "METRICS_SEND_INTERVAL",
        [INTERVAL] * len(live),
        target=Target("ratio", 2.0),
    )
    yield line(
        GROUP,
        "call to SQL",
        saved,
        "MAX_WAITING_TIME",
        [float(waiting_time)] * len(saved),
        target=Target("above", 1.0),
    )


async def _measured(run: Run, waiting_time: int) -> tuple[list[float], list[float]]:
    with TemporaryDirectory() as folder, RedisServer() as redis:
        place = Path(folder)
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
        tasks = "metrics_collector.tasks"
        with (
            processes.taskiq(
                "worker",
                f"{tasks}:broker",
                "--workers=1",
                output=place / "w",
                environment=environment,
            ),
            processes.taskiq(
                "scheduler", f"{tasks}:scheduler", output=place / "s", environment=environment
            ),
        ):
            async with (
                MetricsCollector(settings),
                assembly.redis_for_a_while(settings) as connection,
            ):
                work = metrics_collector(name="work")(_nothing)

                async def counted() -> int:
                    return int(
                        await connection.execute("HGET", KEYS.totals("work"), "call_count") or 0
                    )

                async def rows() -> int:
                    return await asyncio.to_thread(_rows, settings.database_name)

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
                    await asyncio.sleep(
                        waiting_time * 0.618
                    )  # another place in the intervals each time
                return live, saved


def _nothing() -> None: ...


def _rows(path: str) -> int:
    if not Path(path).exists():
        return 0
    with closing(sqlite3.connect(path)) as connection:
        try:
            count: int = connection.execute("SELECT count(*) FROM metrics").fetchone()[0]
        except sqlite3.OperationalError:  # its tables are being made
            return 0
        return count


async def _until(count: Callable[[], Awaitable[int]], wanted: int) -> None:
    async with asyncio.timeout(60):
        while await count() < wanted:
            await asyncio.sleep(LOOK_EVERY)
