"""Threads and processes, sync and async: their figures add up, without any set-up in them.

Runs as it stands, with a Redis inside each process and one database. With REDIS_URL set all processes share that Redis.
"""

import asyncio
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

# Before the import of anything measured, so that child processes that are spawned see it too.
os.environ.setdefault("REDIS_URL", "memory://")
# With Redis inside, each process saves what it has as it ends, and they wait for each other at the database.
os.environ.setdefault("METRICS_EXIT_TIMEOUT", "30")

from metrics_collector import get_metrics, metrics_collector

CALLS = 500


@metrics_collector(name="example.compute")
def compute(number: int) -> int:
    """Work for a moment; every tenth call fails."""
    if number % 10 == 0:
        raise ArithmeticError(number)
    return sum(range(number))


@metrics_collector(name="example.wait")
async def wait() -> None:
    """Let others run."""
    await asyncio.sleep(0)


def work(_: int) -> int:
    """Call both: in a thread or process that has no event loop of its own."""

    async def waits() -> None:
        for _ in range(CALLS):
            await wait()

    failed = 0
    for number in range(CALLS):
        try:
            compute(number)
        except ArithmeticError:
            failed += 1
    asyncio.run(waits())
    return failed


def main() -> None:
    """Work in four threads and in four processes, and add up."""
    before = {f: asyncio.run(get_metrics(f)).call_count for f in (compute, wait)}
    with ThreadPoolExecutor(4) as pool:
        failed = sum(pool.map(work, range(4)))
    # A pool's children send what is left when they end, which `with` waits for.
    with ProcessPoolExecutor(4) as pool:
        failed += sum(pool.map(work, range(4)))

    for function in (compute, wait):
        metrics = asyncio.run(get_metrics(function))
        called = metrics.call_count - before[function]
        print(f"{metrics.func_name}: {called} calls in this run, {8 * CALLS} expected")
    print(f"example.compute: {failed} of them failed")


if __name__ == "__main__":
    main()
