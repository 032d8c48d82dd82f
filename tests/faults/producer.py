"""A program that makes calls at a steady rate, and watches its own statistics all the while.

`python -m tests.faults.producer PLAN`, a plan as JSON. It lives until SQL has all that it recorded, but for what it
dropped, and prints then what it did: one line of JSON, `Made`. If the sum in `statistics()` ever breaks, it ends with
status 9 and says how.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from metrics_collector import MetricsCollector, metrics_collector, statistics
from tests.faults.calls import FUNCTIONS, KINDS, Plan, error_of, function_of, split

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from metrics_collector import Statistics

TICK = 0.01  # seconds
WATCH_EVERY = 0.002
BROKEN = 9  # exit status


class Made(NamedTuple):
    """What a producer did, and its statistics at the end, when nothing was on its way any more."""

    calls: int
    recorded: int
    saved: int
    dropped: int
    retried: int
    looks: int  # at the statistics
    most_held: int  # entries that were neither in Redis nor dropped, at most


class Progress:
    """What a killed producer leaves: how many calls it had made, and how many entries Redis had acknowledged."""

    _FORM = struct.Struct("<qq")

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY)

    def note(self, calls: int, acknowledged: int) -> None:
        os.pwrite(self._file, self._FORM.pack(calls, acknowledged), 0)

    @classmethod
    def read(cls, path: Path) -> tuple[int, int]:
        """Both; none of either if it has not begun yet."""
        content = path.read_bytes() if path.exists() else b""
        calls, acknowledged = cls._FORM.unpack(content or bytes(cls._FORM.size))
        return calls, acknowledged


class Watch(threading.Thread):
    """Looks every two milliseconds whether the statistics count each entry once and none goes back."""

    def __init__(self, calls: Calls, progress: Progress) -> None:
        super().__init__(daemon=True)
        self._calls = calls
        self._progress = progress
        self._before = statistics()
        self.looks = 0
        self.most_held = 0

    def run(self) -> None:
        while True:
            self.look()
            time.sleep(WATCH_EVERY)

    def look(self) -> None:
        least = self._calls.made
        now = statistics()
        most = self._calls.made + 1  # one may be ending
        if wrong := self._wrong(now, least, most):
            print(f"the statistics broke: {wrong}: {self._before}, {now}", flush=True)
            os._exit(BROKEN)
        self._before = now
        self.looks += 1
        self.most_held = max(self.most_held, now.buffered)
        self._progress.note(most, now.saved + now.sent)

    def _wrong(self, now: Statistics, least: int, most: int) -> str:
        parts = (now.saved, now.sent, now.spooled, now.buffered, now.dropped)
        if now.recorded != sum(parts):
            return "they do not add up"
        if min(parts) < 0:
            return "one is below zero"
        if not least <= now.recorded <= most:
            return f"recorded is not within {least} and {most}"
        if now.saved < self._before.saved or now.retried < self._before.retried:
            return "one went back"
        return ""


class Calls:
    """The measured functions, and how many calls of them were made."""

    def __init__(self, name: str) -> None:
        errors = [type(error_of(kind) or "none", (Exception,), {}) for kind in range(KINDS)]
        self._functions = [
            _function(function_of(name, index), errors, sync=index % 2 == 0)
            for index in range(FUNCTIONS)
        ]
        self.made = 0

    async def make(self, count: int) -> None:
        """Make so many in a row."""
        for number in range(self.made, self.made + count):
            index, kind = split(number)
            try:
                result = self._functions[index](kind)
                if result is not None:
                    await result
            except Exception:  # noqa: BLE001, S110 - they are the point
                pass
            self.made += 1


def _function(
    name: str, errors: list[type[Exception]], *, sync: bool
) -> Callable[[int], Awaitable[None] | None]:
    if sync:

        @metrics_collector(name=name)
        def call(kind: int) -> None:
            if kind:
                raise errors[kind]

        return call

    @metrics_collector(name=name)
    async def call_later(kind: int) -> None:
        if kind:
            raise errors[kind]

    return call_later


async def work(plan: Plan) -> None:
    """Make the calls, and wait until they are saved."""
    calls = Calls(plan.name)
    enough = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, enough.set)
    async with MetricsCollector():
        watch = Watch(calls, Progress(plan.progress))
        watch.start()
        began = time.perf_counter()
        while not enough.is_set() and (not plan.calls or calls.made < plan.calls):
            due = int((time.perf_counter() - began) * plan.rate) + 1
            await calls.make(min(due, plan.calls or due) - calls.made)
            await asyncio.sleep(TICK)
        while (now := statistics()).sent or now.buffered or now.spooled:
            await asyncio.sleep(TICK)
        watch.look()
    counts = {name: getattr(now, name) for name in Made._fields if hasattr(now, name)}
    made = Made(calls=calls.made, **counts, looks=watch.looks, most_held=watch.most_held)
    print(json.dumps(made._asdict()), flush=True)


if __name__ == "__main__":
    asyncio.run(work(Plan(**json.loads(sys.argv[1]))))
