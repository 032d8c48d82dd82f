"""A program to be packed, as a zip or by PyInstaller: a measured job, our commands, and Taskiq's."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
from contextlib import suppress

import metrics_collector
from metrics_collector import MetricsCollector, flush, get_metrics, send


@metrics_collector.metrics_collector(name="packed.divide")
async def divide(number: int) -> float:
    return 1 / number


async def job() -> None:
    async with MetricsCollector():
        for number in range(10):
            with suppress(ZeroDivisionError):
                await divide(number)
        await send()
        saved = await flush()
        metrics = await get_metrics(divide, since="1h")
    counts = {"saved": saved, "call_count": metrics.call_count, **metrics.error_types}
    print(json.dumps({"from": metrics_collector.__file__, **counts}))


if __name__ == "__main__":
    multiprocessing.freeze_support()
    if sys.argv[1] == "job":
        asyncio.run(job())
    elif sys.argv[1] == "taskiq":
        from taskiq.__main__ import main

        del sys.argv[1]
        main()
    else:
        from metrics_collector import cli

        cli.main()
