"""The whole cost of a measured call to the app: CPU of all its threads, export included, beside other libraries.

What is not the same: the others keep sums and buckets in the process, and what a scrape or an export has not yet taken
is lost with it. Of ours each call arrives, in Redis, and a worker in a process of its own saves it.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tests.benchmarks import programs, whole_app
from tests.benchmarks.harness import (
    Line,
    Run,
    Target,
    interleaved,
    line,
    over,
    surroundings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

RATES = (20_000, 1_000, 100_000)
BARE, OURS = "bare", "metrics_collector"
TARGET = Target("ratio", 1.0)


def lines(run: Run) -> Iterator[Line]:
    """CPU a call above the same app without metrics, at three rates; the reference is prometheus_client or -async."""
    with surroundings() as (redis, place), _collector() as endpoint:
        saving = {"database": str(place / "db"), "entries": 10**12}
        with programs.start("worker", place, redis=redis.url, **saving):
            for rate in RATES[: run.pick(3, 1)]:
                for awaits in (False, True):

                    def cpu(library: str, *, rate: int = rate, awaits: bool = awaits) -> float:
                        how = {"library": library, "rate": rate, "awaits": awaits}
                        where = {"redis": redis.url, "endpoint": endpoint}
                        seconds = run.pick(16, 1)  # in which there is a scrape
                        used = programs.run("whole", place, seconds=seconds, **how, **where)
                        return float(used["cpu"] / used["calls"])

                    subjects = {
                        name: (lambda name=name: cpu(name))
                        for name in (BARE, OURS, *whole_app.others(awaits=awaits))
                    }
                    samples = interleaved(run.pick(3, 1), subjects, warm_up=False)
                    yield from _compared(over(samples, BARE), rate, awaits=awaits)


def _compared(samples: Any, rate: int, *, awaits: bool) -> Iterator[Line]:
    kind = "coroutine function" if awaits else "function"
    reference = whole_app.reference(awaits=awaits)
    for name, values in samples.items():
        if name != reference:
            aim = TARGET if name == OURS and rate == RATES[0] else None
            title = f"{kind}, {rate:,}/s: {name}"
            yield line(title, values, reference, samples[reference], target=aim)


class _Receiver(BaseHTTPRequestHandler):
    """Takes what OTLP exporters send."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def _collector() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/metrics"
        server.shutdown()
