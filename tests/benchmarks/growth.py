"""How the cost of an entry grows with functions, batch size and backlog: the ratio is 1 on a straight line."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter as clock
from typing import TYPE_CHECKING

from metrics_collector import Settings
from metrics_collector._runtime import assembly
from tests.benchmarks import load, saving
from tests.benchmarks.harness import interleaved, line
from tests.helpers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.benchmarks.harness import Line, Run

GROUP = "growth"


def lines(run: Run) -> Iterator[Line]:
    """Seconds an entry; each size beside a middle one."""
    with RedisServer() as redis, TemporaryDirectory() as folder:
        place = Path(folder)

        def sent(count: int, functions: int, size: int) -> float:
            return asyncio.run(_push(redis, count, functions, size)) / count

        def saved(count: int, functions: int) -> float:
            return asyncio.run(saving.save(redis, place, count, functions=functions)) / count

        many = run.pick(50_000, 4_000)
        yield from _series(
            run,
            "sent, {:,} functions",
            {n: lambda n=n: sent(many, n, 2000) for n in (1, 10, 100, 1000)},  # type: ignore[misc]  # mypy infers no type of a lambda with a default
            100,
        )
        yield from _series(
            run,
            "sent, {:,} a batch",
            {n: lambda n=n: sent(many, 100, n) for n in (100, 500, 2000)},  # type: ignore[misc]  # mypy infers no type of a lambda with a default
            2000,
        )
        yield from _series(
            run,
            "saved, {:,} functions",
            {n: lambda n=n: saved(many, n) for n in (1, 10, 100, 1000, 10_000)[: run.pick(5, 4)]},  # type: ignore[misc]  # mypy infers no type of a lambda with a default
            100,
        )
        yield from _series(
            run,
            "saved, {:,} entries waiting",
            {n: lambda n=n: saved(n, 100) for n in (10_000, 100_000, 1_000_000)[: run.pick(3, 1)]},  # type: ignore[misc]  # mypy infers no type of a lambda with a default
            10_000,
        )


def _series(
    run: Run, name: str, sizes: dict[int, Callable[[], float]], middle: int
) -> Iterator[Line]:
    samples = interleaved(
        run.pick(3, 1), {str(size): take for size, take in sizes.items()}, warm_up=False
    )
    reference = name.format(middle)
    for size in sizes:
        yield line(GROUP, name.format(size), samples[str(size)], reference, samples[str(middle)])


async def _push(redis: RedisServer, count: int, functions: int, size: int) -> float:
    """Seconds for encoding and sending so many entries in batches of a size."""
    settings = Settings(redis_url=redis.url, max_backlog=10**12, max_items=10**12)
    async with assembly.redis_for_a_while(settings) as connection:
        await connection.execute("FLUSHALL")
        commands = assembly.producer_commands(settings, connection)
        outbox = load.filled(count, functions)
        await commands.look(outbox.producer)
        start = clock()
        while outbox.holds_before(count):
            while outbox.holds_before(count) and not outbox.fill(size):
                pass
            outbox.close_batch()
            following = outbox.next()
            if following is not None:
                await commands.push(outbox.producer, *following)
                outbox._batches.clear()
        return clock() - start
