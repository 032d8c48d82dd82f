"""What `taskiq worker` and `taskiq scheduler` run in the tests of flush requests.

The worker saves nothing. It notes what happens to it in the file named by FLUSH_REQUEST_EVENTS, where a
test finds it whatever has become of Redis.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from metrics_collector._saving import taskiq
from metrics_collector._support.rate_limited_log import RateLimitedLog

URL = os.environ["FLUSH_REQUEST_URL"]
RESULTS_URL = os.environ.get("FLUSH_REQUEST_RESULTS_URL", URL)
EVENTS = Path(os.environ["FLUSH_REQUEST_EVENTS"])
EVERY = int(os.environ.get("FLUSH_REQUEST_EVERY", "1"))
# While this file exists, a flush does not end.
HOLD = EVENTS.with_name("hold")


def note(event: str) -> None:
    with EVENTS.open("a") as events:
        events.write(f"{event} {os.getpid()}\n")


class NotingWorker:
    async def start(self) -> None:
        note("start")

    async def flush(self) -> int:
        note("flush")
        while HOLD.exists():
            await asyncio.sleep(0.01)
        note("flushed")
        return 1

    def begin_purge(self) -> None:
        note("purge")

    async def aclose(self) -> None:
        note("close")


async def beat() -> None:
    note("beat")


log = RateLimitedLog()
broker = taskiq.make_broker(URL, RESULTS_URL, log=log)
assert isinstance(broker, taskiq.FlushRequestBroker)
broker.idle_timeout = int(os.environ.get("FLUSH_REQUEST_IDLE_TIMEOUT", broker.idle_timeout))
flush_metrics = taskiq.register(broker, make_worker=NotingWorker, every=lambda: EVERY, log=log)
scheduler = taskiq.FlushScheduler(broker, beat=beat, log=log)
