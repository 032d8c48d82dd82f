"""How the cost of an entry grows with functions, batch size and backlog: the ratio is 1 on a straight line."""

from __future__ import annotations

import asyncio
from functools import partial
from time import perf_counter as clock
from typing import TYPE_CHECKING

from metrics_collector import Settings
from metrics_collector._runtime import assembly
from tests.benchmarks import load, saving
from tests.benchmarks.harness import Line, Run, interleaved, line, surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.helpers.redis_server import RedisServer


def lines(run: Run) -> Iterator[Line]:
    """Seconds an entry; each size beside a middle one."""
    with surroundings() as (redis, place):

        def sent(functions: int, size: int) -> float:
            return asyncio.run(_push(redis, many, functions, size)) / many

        def saved(count: int, functions: int) -> float:
            return asyncio.run(saving.save(redis, place, count, functions=functions)) / count

        def series(
            name: str, middle: int, sizes: tuple[int, ...], take: Callable[[int], float]
        ) -> Iterator[Line]:
            subjects = {str(size): partial(take, size) for size in sizes}
            samples = interleaved(run.pick(3, 1), subjects, warm_up=False)
            reference, of_reference = name.format(middle), samples[str(middle)]
            for size in sizes:
                yield line(name.format(size), samples[str(size)], reference, of_reference)

        many = run.pick(50_000, 4_000)
        functions = (1, 10, 100, 1000, 10_000)[: run.pick(5, 4)]
        waiting = (10_000, 100_000, 1_000_000)[: run.pick(3, 1)]
        yield from series("sent, {:,} functions", 100, functions[:4], lambda n: sent(n, 2000))
        yield from series("sent, {:,} a batch", 2000, (100, 500, 2000), lambda n: sent(100, n))
        yield from series("saved, {:,} functions", 100, functions, lambda n: saved(many, n))
        yield from series("saved, {:,} entries waiting", 10_000, waiting, lambda n: saved(n, 100))


async def _push(redis: RedisServer, count: int, functions: int, size: int) -> float:
    """Seconds for encoding and sending so many entries in batches of a size."""
    settings = Settings(redis_url=redis.url, max_backlog=10**12, max_items=10**12)
    async with assembly.redis_for_a_while(settings) as connection:
        await connection.execute("FLUSHALL")
        commands = assembly.producer_commands(settings, connection)
        outbox = load.filled(count, functions)
        await commands.look(outbox.producer)
        start = clock()
        for _ in load.closing(outbox, count, size):
            following = outbox.next()
            if following is not None:
                await commands.push(outbox.producer, *following)
                outbox._batches.clear()
        return clock() - start
