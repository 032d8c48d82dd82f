"""A service for the tests of the whole: 2,500 calls of four kinds, a known part of which fails."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from metrics_collector import MetricsCollector, metrics_collector, statistics

ROUNDS = 625
CALLS = 4 * ROUNDS
# The first call of every 25th round fails, in each of the functions that may fail.
FAILURES = ROUNDS // 25


@metrics_collector(name="busy.wait")
async def wait() -> None:
    await asyncio.sleep(0)


@metrics_collector(name="busy.ask")
async def ask(number: int) -> None:
    await asyncio.sleep(0)
    if number % 25 == 0:
        raise ConnectionError(number)


@metrics_collector(name="busy.add")
def add() -> int:
    return 1 + 1


@metrics_collector(name="busy.parse")
def parse(number: int) -> None:
    if number % 25 == 0:
        raise ValueError(number)


async def main() -> None:
    async with MetricsCollector():
        for number in range(ROUNDS):
            await wait()
            with suppress(ConnectionError):
                await ask(number)
            add()
            with suppress(ValueError):
                parse(number)
    counts = statistics()
    print(json.dumps({"recorded": counts.recorded, "dropped": counts.dropped}))


if __name__ == "__main__":
    asyncio.run(main())
