"""The programs that are measured as processes of their own; each prints one line of JSON.

`python -m tests.benchmarks.programs NAME JSON`, where the JSON object holds the arguments of the function NAME.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from collections import deque
from itertools import count, cycle
from pathlib import Path
from time import perf_counter as clock
from typing import Any

from metrics_collector import MetricsCollector, Settings, statistics
from metrics_collector._recording import recorder
from metrics_collector._redis.reader_commands import ReaderCommands
from metrics_collector._runtime import assembly
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.benchmarks import load, whole_app
from tests.helpers.processes import Process, resident

TICK = 0.001  # seconds

_started = count()


def run(name: str, folder: Path, **arguments: Any) -> dict[str, Any]:
    """What such a program prints, when it has ended."""
    with start(name, folder, **arguments) as program:
        return ended(program)


def ended(program: Process) -> dict[str, Any]:
    """What a program that runs has printed, when it has ended."""
    status = program.wait(600)
    if status:
        raise RuntimeError(f"it ended with {status}:\n{program.output}")
    printed: dict[str, Any] = json.loads(program.output.splitlines()[-1])
    return printed


def start(name: str, folder: Path, **arguments: Any) -> Process:
    """Such a program, running; its output goes to a file of its own in the folder."""
    output = folder / f"{name}-{next(_started)}.log"
    return Process(["-m", __name__, name, json.dumps(arguments)], output=output)


def service(
    *, redis: str, rate: int, seconds: float, recorded: bool, uvloop: bool = False
) -> dict[str, Any]:
    """A service whose calls end at `rate` a second, with a ticker that tells its loop's lag; a second warms up."""

    async def serve() -> dict[str, Any]:
        if not recorded:
            recorder.discard()
            return await _serve(rate, seconds)
        async with MetricsCollector(Settings(redis_url=redis)):
            return await _serve(rate, seconds)

    factory = importlib.import_module("uvloop").new_event_loop if uvloop else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(serve())


async def _serve(rate: int, seconds: float) -> dict[str, Any]:
    names = cycle([f"shop.orders.function_{number}" for number in range(20)])
    durations = cycle(load.durations(10_007))
    lags: list[float] = []
    made = 0
    ending = False

    async def calls() -> None:
        nonlocal made
        begun = clock()
        done = 0
        while not ending:
            await asyncio.sleep(TICK)
            due = int((clock() - begun) * rate)
            record = recorder.record
            for _ in range(due - done):
                end = clock()
                record((next(names), end - next(durations), end, None))
                record = recorder.record
            made += due - done
            done = due

    async def ticks() -> None:
        while not ending:
            before = clock()
            await asyncio.sleep(TICK)
            lags.append(clock() - before - TICK)

    working = [asyncio.create_task(calls()), asyncio.create_task(ticks())]
    await asyncio.sleep(1.0)  # connections, scripts and drivers are there by then
    lags.clear()
    cpu, before = time.process_time(), made
    await asyncio.sleep(seconds)
    cpu, counted = time.process_time() - cpu, made - before
    ordered = sorted(lags)
    ending = True
    await asyncio.gather(*working)
    return {
        "cpu": cpu,
        "entries": counted,
        "p50": ordered[len(ordered) // 2],
        "p99": ordered[len(ordered) * 99 // 100],
        "max": ordered[-1],
    }


def whole(**how: Any) -> dict[str, Any]:
    """An app whose calls one library measures and exports."""
    return asyncio.run(whole_app.run(**how))


def producer(*, redis: str, entries: int) -> dict[str, Any]:
    """Sends so many entries as fast as it can."""

    async def produce() -> None:
        settings = Settings(redis_url=redis, max_buffered=10**9, max_items=10**9, max_backlog=10**9)
        async with assembly.redis_for_a_while(settings) as connection:
            commands = assembly.producer_commands(settings, connection)
            outbox = load.filled(entries)
            for _ in load.closing(outbox, entries):
                while following := outbox.next():
                    outbox.replied(await commands.push(outbox.producer, *following), following[0])

    asyncio.run(produce())
    return {"entries": entries}


def worker(*, redis: str, database: str, entries: int) -> dict[str, Any]:
    """Saves until the database has so many entries, then ends; tells also the peak of its memory, in bytes."""

    async def save() -> float:
        settings = Settings(redis_url=redis, database_name=database)
        store = assembly.database(settings)
        async with assembly.redis_for_a_while(settings) as connection:
            reader = ReaderCommands(connection)
            flush = assembly.flush(settings, connection, RateLimitedLog())
            saved = 0
            if not entries:
                await flush.drain(once=True)
            while entries and not await reader.waiting():
                await asyncio.sleep(0.002)
            begun = ended = clock()
            while saved < entries:
                some = await flush.drain(once=True)
                saved += some
                if some:
                    ended = clock()
                else:
                    await asyncio.sleep(0.05)  # what is asked is to take little from another worker
                    if not await reader.waiting():  # which may have saved it
                        saved = (await store.describe()).saved or 0
            return ended - begun

    seconds = asyncio.run(save())
    return {"seconds": seconds, "peak": _peak()}


def buffered(*, entries: int, bare: bool) -> dict[str, Any]:
    """What so many records in the buffer take, in bytes of the process's memory; `bare`: of three floats each."""
    before = resident(os.getpid())
    kept: deque[tuple[object, ...]] = deque()
    name = "shop.orders.function"
    for _ in range(entries):
        start = clock()
        kept.append((start, clock(), clock()) if bare else (name, start, clock(), None))
    return {"bytes": (resident(os.getpid()) - before) / entries}


def waiting(*, redis: str, entries: int) -> dict[str, Any]:
    """What so many entries take that wait in a producer, in bytes of the process's memory for each.

    They come at 20,000 a second. None is saved; and none is sent if there is no Redis.
    """

    async def wait() -> float:
        names = cycle([f"shop.orders.function_{number}" for number in range(20)])
        durations = cycle(load.durations(10_007))
        started = 1000  # what the drivers and the first batch take is there by then

        async def record(count: int) -> None:
            for number in range(count):
                end = clock()
                recorder.record((next(names), end - next(durations), end, None))
                if number % 200 == 0:
                    await asyncio.sleep(0.01)

        async with MetricsCollector(Settings(redis_url=redis, exit_timeout=0)):
            await record(started)
            await asyncio.sleep(1)
            before = resident(os.getpid())
            await record(entries - started)
            await asyncio.sleep(1)  # what is encoded by then stays so
            counts = statistics()
            assert counts.buffered + counts.sent == counts.recorded == entries
            return (resident(os.getpid()) - before) / (entries - started)

    return {"bytes": asyncio.run(wait())}


def _peak() -> int:
    # Not what `getrusage` says: that begins with the memory of whoever started the process.
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kilobytes) * 1024


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
