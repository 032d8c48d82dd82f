"""`list_metrics` over many functions, beside fetching the same hashes and nothing else."""

from __future__ import annotations

import asyncio
from time import perf_counter as clock
from typing import TYPE_CHECKING, Any

from metrics_collector import MetricsCollector, Settings, list_metrics
from metrics_collector._core.totals import Totals
from metrics_collector._redis.connection import connect
from tests.benchmarks import load
from tests.benchmarks.harness import Line, Run, Target, line, surroundings
from tests.helpers.pipeline import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUCKETS = 30
FIRM_SIZES = (1000, 10_000)
REFERENCE = "HGETALL of each, in pipelines of 100"
FIRM = Target("ratio", 1.4)


def lines(run: Run) -> Iterator[Line]:
    """One line for each number of functions."""
    with surroundings() as (redis, place):
        for functions in (10, 100, *FIRM_SIZES)[: run.pick(4, 2)]:
            ours, bare = asyncio.run(_measured(run, redis.url, place, functions))
            aim = FIRM if functions in FIRM_SIZES else None
            name, reference = f"list_metrics, {functions:,} functions", REFERENCE
            yield line(name, ours, reference, bare, target=aim)


async def _measured(
    run: Run, url: str, folder: Path, functions: int
) -> tuple[list[float], list[float]]:
    settings = Settings(redis_url=url, database_name=str(folder / "db"))
    async with MetricsCollector(settings), connect(url) as client:
        names = [f"shop.orders.function_{number}" for number in range(functions)]
        spread = _spread()
        await client.flushall()
        for name in names:
            totals = Totals()
            for seconds in spread:
                totals.add(seconds, 1.7e9, None)
            fields: dict[Any, Any] = totals.counts | {
                "execution_time": totals.execution_time,
                "min": totals.min,
                "max": totals.max,
                "last_called_at": totals.last_called_at,
                "as_of": 1,
            }
            await client.hset(KEYS.totals(name), mapping=fields)

        async def bare() -> None:
            for start in range(0, functions, 100):
                pipeline = client.pipeline(transaction=False)
                for name in names[start : start + 100]:
                    pipeline.hgetall(KEYS.totals(name))
                await pipeline.execute()

        ours_taken, bare_taken = [], []
        for _ in range(run.pick(11, 3)):
            start = clock()
            found = await list_metrics()
            ours_taken.append(clock() - start)
            if len(found) != functions:
                raise AssertionError(f"{len(found)} of {functions} functions were listed")
            start = clock()
            await bare()
            bare_taken.append(clock() - start)
        return ours_taken, bare_taken


def _spread() -> list[float]:
    """Times in 30 different buckets."""
    times: dict[str, float] = {}
    for seconds in load.durations(10_000):
        totals = Totals()
        totals.add(seconds, 0.0, None)
        times.setdefault(next(iter(totals.counts)), seconds)
        if len(times) == BUCKETS:
            break
    return list(times.values())
