"""A dashboard to look at: calls saved through the pipeline, and the command as a process."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from metrics_collector import MetricsCollector, Settings, flush
from metrics_collector._runtime.collector import collector
from tests.helpers.commands import PROGRAM
from tests.helpers.processes import Process

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from metrics_collector._runtime.sending_pipeline import SendingPipeline

EVIL = "<img src=x onerror=alert(1)>"
TOKEN = "a-token-that-nobody-guesses"


class Call(NamedTuple):
    """A call that ended at a moment in UTC epoch seconds; `error`: the type's name, or `None` for ok."""

    func_name: str
    at: float
    seconds: float = 0.01
    error: str | None = None


async def save(calls: Iterable[Call], database: Path | str) -> None:
    """Save calls in a database, by way of `metrics_list` in an embedded Redis."""
    lines = [_line(call) for call in calls]

    async def push(pipeline: SendingPipeline) -> None:
        await pipeline.redis.execute("RPUSH", pipeline.redis.keys.metrics_list, *lines)

    async with MetricsCollector(Settings(redis_url="memory://", database_name=str(database))):
        await collector.call(push)
        await flush()
    collector.reset()  # the embedded Redis is the process's: no other test is to find these functions there


def _line(call: Call) -> bytes:
    fields = {
        "func_name": call.func_name,
        "execution_time": call.seconds,
        "error_occurred": int(call.error is not None),
        "created_at": call.at,
        "outcome": "ok" if call.error is None else "error",
        "error_type": call.error,
    }
    return json.dumps(fields).encode()


class Dashboard:
    """The command `dashboard` as it runs, on a port of its own."""

    def __init__(self, process: Process) -> None:
        self.process = process
        process.until(lambda: self._found() is not None)

    def _found(self) -> re.Match[str] | None:
        return re.search(r"The dashboard is at http://([^/ ]+)/", self.process.output)

    @property
    def address(self) -> str:
        """Host and port."""
        found = self._found()
        assert found is not None
        return found[1]

    def url(self, path: str = "", **query: str) -> str:
        """The address of a page."""
        return f"http://{self.address}/{path}" + (f"?{urlencode(query)}" if query else "")


@contextmanager
def dashboard(
    database: Path,
    output: Path,
    *arguments: str,
    program: Sequence[str] = PROGRAM,
    **environment: str,
) -> Iterator[Dashboard]:
    """Run the command, ours or that of another `program`, over a database."""
    process = Process(
        ["dashboard", "--port", "0", *arguments],
        program=program,
        output=output,
        environment={"REDIS_URL": "memory://", "DATABASE_NAME": str(database), **environment},
    )
    with process:
        yield Dashboard(process)


def chromium() -> str | None:
    """The system's Chromium, or `None` if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)
