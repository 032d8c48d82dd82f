"""A Redis, the processes on it and the database that they save to: what each fault test begins with."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

from redis.exceptions import RedisError

from tests.faults import breaking, oracle
from tests.faults.calls import Plan
from tests.faults.producer import Made, Progress
from tests.helpers.pipeline import KEYS
from tests.helpers.processes import Process
from tests.helpers.redis_server import RedisServer, patient_client
from tests.helpers.rows import saved, saved_in_postgres

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from pathlib import Path

    from tests.faults.oracle import Verdict

SAVED_BY = 90.0  # seconds that a producer may wait for its last entry to be saved before that counts as never

WORKER = "metrics_collector.tasks:broker"
BROKEN_WORKER = "tests.faults.broken_worker:broker"
SCHEDULER = "metrics_collector.tasks:scheduler"
SETTINGS = {"MAX_WAITING_TIME": "1", "METRICS_CLAIM_LEASE": "1"}


class World:
    """Starts processes that end with it, in the test's folder, which is the current one.

    They use the server at its own address, or at a URL that leads there.
    With the URL of a database of PostgreSQL, workers save to that.
    """

    def __init__(
        self,
        server: RedisServer,
        folder: Path,
        url: str | None = None,
        *,
        postgres: str | None = None,
    ) -> None:
        self.server = server
        self._url = url
        self.postgres = postgres
        self.database = folder / "metrics.db"  # which the workers save to
        self.redis = patient_client(self.url)  # past all proxies
        self._folder = folder
        self._running = ExitStack()
        self._started = 0
        self._producers: dict[str, Process] = {}
        self._endless: set[str] = set()  # those that go on until they are stopped
        self._calls: dict[str, oracle.Calls] = {}

    @property
    def url(self) -> str:
        """Where Redis is."""
        return self._url or self.server.url

    def worker(self, app: str = WORKER, *, workers: int = 1, **options: Any) -> Process:
        """Start `taskiq worker`."""
        return self.program("taskiq", "worker", app, "-w", str(workers), **options)

    def scheduler(self, **options: Any) -> Process:
        """Start `taskiq scheduler`."""
        return self.program("taskiq", "scheduler", SCHEDULER, **options)

    def producer(self, name: str, calls: int, rate: int, **options: Any) -> Process:
        """Start a producer, whose calls the check at the end will look for."""
        plan = Plan(name, calls, rate, str(self._folder / f"{name}.progress"))
        process = self.program("tests.faults.producer", plan.dumps(), **options)
        self._producers[name] = process
        if not calls:
            self._endless.add(name)
        return process

    def program(
        self, *module: str, url: str | None = None, jumping: bool = False, **settings: str
    ) -> Process:
        """Start a Python module as a program; `jumping`: with a clock that is set all the time."""
        self._started += 1
        place = {"REDIS_URL": url or self.url, "DATABASE_NAME": str(self.database)}
        if self.postgres is not None:
            place["METRICS_DATABASE_URL"] = self.postgres
        process = Process(
            ["-m", *(["tests.faults.jumping_clock"] if jumping else []), *module],
            output=self._folder / f"output-{self._started}",
            environment=place | SETTINGS | settings,
        )
        return self._running.enter_context(process)

    def cut_connections(self) -> None:
        """Have Redis close all but our own."""
        self.redis.client_kill_filter(_type="normal", skipme=True)

    def moved_to(self, server: RedisServer) -> None:
        """Another server is the Redis now."""
        self.redis.close()
        self.server, self.redis = server, patient_client(server.url)

    def stop(self, name: str) -> None:
        """Let a producer make no more calls."""
        self._producers[name].send(signal.SIGTERM)

    def finish(self, name: str, limit: float = SAVED_BY) -> Made:
        """Wait until SQL has all that a producer made; what it says of that."""
        process = self._producers.pop(name)
        assert process.wait(limit) == 0, process.output
        line = next(line for line in process.output.splitlines() if line.startswith("{"))
        made = Made(**json.loads(line))
        assert made.recorded == made.calls == made.saved + made.dropped, made
        self._calls[name] = oracle.Calls(made.calls, made.dropped)
        return made

    def killed(self, name: str) -> tuple[int, int]:
        """Kill a producer; what `progress` says of it."""
        self._producers.pop(name).close()
        self._calls[name] = oracle.Calls(None)
        return self.progress(name)

    def progress(self, name: str) -> tuple[int, int]:
        """How many calls a producer has made, and how many entries Redis has acknowledged, as far as it knows."""
        return Progress.read(self._folder / f"{name}.progress")

    def check(self, *ending: Process, rejected: int = 0, limit: float = SAVED_BY) -> Verdict:
        """Wait until all is at rest, see that nothing was lost or doubled, and end these processes by SIGTERM."""
        assert not self._producers
        ending[0].until(self.at_rest, limit)
        verdict = oracle.check(
            self.postgres or self.database, self.url, self._calls, rejected=rejected
        )
        for process in ending:
            assert process.terminate() == 0, process.output
        return verdict

    def end(self, *ending: Process, rejected: int = 0) -> dict[str, int]:
        """`check`, once the producers came to their end: SQL has each of these calls, of which none was dropped."""
        for name in self._endless & self._producers.keys():
            self.stop(name)
        made = {name: self.finish(name) for name in list(self._producers)}
        verdict = self.check(*ending, rejected=rejected)
        calls = {name: one.calls for name, one in made.items()}
        assert verdict.dropped == 0
        assert verdict.rows == calls
        assert verdict.counted == sum(calls.values())
        return calls

    def saves(self, process: Process, more: int = 0) -> None:
        """Wait until SQL has more entries than now, by so many, while a process lives."""
        rows = self.rows()
        process.until(lambda: self.rows() > rows + more)

    def at_rest(self) -> bool:
        """Whether nothing waits in Redis, and its totals count what SQL has."""
        try:
            if self.waiting():
                return False
            return sum(self.counted().values()) == self.rows()
        except RedisError:
            return False

    def counted(self) -> dict[str, int]:
        """How many calls of each function the live totals tell of."""
        totals = KEYS.totals("")
        names = list(self.redis.scan_iter(f"{totals}*", count=1000))
        return {
            name.decode().removeprefix(totals): int(self.redis.hget(name, "call_count") or 0)
            for name in names
        }

    def waiting(self) -> int:
        """How many elements wait in Redis, in the list or in claims."""
        keys = [KEYS.metrics_list, *self.redis.scan_iter(KEYS.claim("*"))]
        return sum(int(self.redis.llen(key)) for key in keys)

    def rows(self) -> int:
        """How many entries SQL has."""
        return saved(self.database) if self.postgres is None else saved_in_postgres(self.postgres)

    def breaks(self, *lines: str) -> None:
        """What the broken worker is to do to itself."""
        (self._folder / breaking.BREAKS).write_text("\n".join(lines))

    def breaks_left(self) -> int:
        """How much of that it has not done yet."""
        return len((self._folder / breaking.BREAKS).read_text().splitlines())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
        self.redis.close()


def children(worker: Process) -> list[int]:
    """The process ids of the children that a manager has started and that still live; with or without it."""
    started = map(int, re.findall(r"worker-\d+ (?:restarted )?with pid (\d+)", worker.output))
    return [pid for pid in started if _group(pid) == worker.pid]


def kill_one(pids: Sequence[int], chance: random.Random) -> None:
    """SIGKILL for one of them, if there is any."""
    if pids:
        with suppress(ProcessLookupError):
            os.kill(chance.choice(pids), signal.SIGKILL)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
