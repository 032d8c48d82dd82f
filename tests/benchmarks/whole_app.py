"""An app whose calls are measured by one library, and exported by it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from itertools import cycle
from time import perf_counter as clock
from typing import TYPE_CHECKING, Any

from metrics_collector import MetricsCollector, Settings, metrics_collector
from tests.benchmarks import peers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

FUNCTIONS = 20
SCRAPE_EVERY = 15.0  # seconds, Prometheus's usual one
EXPORT_EVERY = 10.0  # seconds
TICK = 0.001  # seconds


def others(*, awaits: bool) -> tuple[str, ...]:
    """The libraries that are measured beside ours."""
    return (reference(awaits=awaits), "OpenTelemetry")


def reference(*, awaits: bool) -> str:
    """The one that ours is compared with."""
    return "prometheus-async" if awaits else "prometheus_client"


async def run(
    *, library: str, rate: int, seconds: float, awaits: bool, redis: str, endpoint: str
) -> dict[str, Any]:
    """Calls at `rate` a second, in runs of a millisecond; the CPU of all threads, once all is warm."""
    async with _measured(library, awaits=awaits, redis=redis, endpoint=endpoint) as decorate:
        functions = cycle(
            [decorate(_function(number, awaits=awaits)) for number in range(FUNCTIONS)]
        )
        # Connections, scripts and drivers are there by then.
        await _call(functions, rate, 2.0, awaits=awaits)
        before = time.process_time()
        calls = await _call(functions, rate, seconds, awaits=awaits)
        return {"cpu": time.process_time() - before, "calls": calls}


async def _call(functions: Any, rate: int, seconds: float, *, awaits: bool) -> int:
    begun = clock()
    done = 0
    while (passed := clock() - begun) < seconds:
        due = int(passed * rate)
        if awaits:
            for _ in range(due - done):
                await next(functions)(1)
        else:
            for _ in range(due - done):
                next(functions)(1)
        done = due
        await asyncio.sleep(TICK)
    return done


def _function(number: int, *, awaits: bool) -> Callable[..., Any]:
    async def later(value: int) -> int:
        return value

    def at_once(value: int) -> int:
        return value

    function = later if awaits else at_once
    function.__qualname__ = function.__name__ = f"function_{number}"
    return function


@asynccontextmanager
async def _measured(
    library: str, *, awaits: bool, redis: str, endpoint: str
) -> AsyncIterator[Callable[[Any], Any]]:
    if library == "bare":
        yield lambda function: function
    elif library == "metrics_collector":
        async with MetricsCollector(Settings(redis_url=redis, max_backlog=10**9)):
            yield metrics_collector
    elif library == "OpenTelemetry":
        with peers.exporting(endpoint, every=EXPORT_EVERY, awaits=awaits) as decorate:
            yield decorate
    else:
        decorate, port = peers.scraped(awaits=awaits)
        scraper = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _SCRAPER, str(port), str(SCRAPE_EVERY), stdout=subprocess.DEVNULL
        )
        try:
            yield decorate
        finally:
            scraper.terminate()
            await scraper.wait()


_SCRAPER = """
import sys, time, urllib.request
while True:
    time.sleep(float(sys.argv[2]))
    urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics").read()
"""
