"""`taskiq worker` and `taskiq scheduler` as processes, on a real Redis that fails in all ways."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._saving import taskiq
from metrics_collector._saving.taskiq.stream import DOORBELL, GROUP, LENGTH
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.helpers import processes
from tests.helpers.redis_server import patient_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.helpers.processes import Process
    from tests.helpers.redis_server import RedisServer


class Doorbell:
    """A Redis, the processes on it, and what their workers and schedulers have noted."""

    def __init__(self, server: RedisServer, folder: Path, running: ExitStack) -> None:
        self.server = server
        self.redis = patient_client(server.url, decode_responses=True)
        self.hold = folder / "hold"
        self._events = folder / "events"
        self._folder = folder
        self._running = running
        self._started = 0

    def worker(self, *arguments: str, uvloop: bool = True, **environment: str) -> Process:
        arguments = ("worker", "tests.helpers.doorbell_app:broker", *(arguments or ("-w", "1")))
        return self._start(*arguments, uvloop=uvloop, environment=environment)

    def scheduler(self, **environment: str) -> Process:
        return self._start(
            "scheduler", "tests.helpers.doorbell_app:scheduler", environment=environment
        )

    def _start(self, *arguments: str, environment: dict[str, str], **options: Any) -> Process:
        self._started += 1
        process = processes.taskiq(
            *arguments,
            output=self._folder / f"output-{self._started}",
            environment={
                "DOORBELL_URL": self.server.url,
                "DOORBELL_EVENTS": str(self._events),
                **{f"DOORBELL_{name.upper()}": value for name, value in environment.items()},
            },
            **options,
        )
        return self._running.enter_context(process)

    def ring(self, times: int = 1) -> None:
        async def rings() -> None:
            broker = taskiq.make_broker(self.server.url, "memory://", log=RateLimitedLog())
            for _ in range(times):
                await taskiq.ring(broker)

        asyncio.run(rings())

    def count(self, event: str) -> int:
        """How often an event was noted; `flush` is the start of one, `flushed` its end."""
        if not self._events.exists():
            return 0
        return sum(line.split()[0] == event for line in self._events.read_text().splitlines())

    def more(self, event: str, times: int = 1) -> Callable[[], bool]:
        """A condition: the event has happened that often since this call."""
        enough = self.count(event) + times
        return lambda: self.count(event) >= enough

    def is_heard(self) -> bool:
        """Whether a worker listens, and all rings are answered and acknowledged."""
        groups: Any = self.redis.xinfo_groups(DOORBELL) if self.redis.exists(DOORBELL) else []
        return any(not group["pending"] and not group["lag"] for group in groups)


@contextmanager
def paused(server: RedisServer) -> Iterator[None]:
    """The server takes connections and answers nothing, as behind a broken network."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def complaints(process: Process) -> int:
    """How many warnings of ours, one line each, a process has logged."""
    lines = process.output.splitlines()
    return sum("WARNING" in line and "taskiq" not in line for line in lines)


@pytest.fixture
def doorbell(redis_server: RedisServer, tmp_path: Path) -> Iterator[Doorbell]:
    with ExitStack() as running:
        bell = Doorbell(redis_server, tmp_path, running)
        running.callback(bell.redis.close)
        yield bell


@pytest.mark.parametrize("uvloop", [True, False])
def test_a_ring_sent_before_the_first_start_is_answered(doorbell: Doorbell, uvloop: bool) -> None:
    doorbell.ring()
    worker = doorbell.worker(uvloop=uvloop)
    worker.until(lambda: doorbell.count("flushed") == 1 and doorbell.is_heard())
    (result,) = doorbell.redis.keys("{metrics_list}:result:*")
    assert 0 < doorbell.redis.ttl(result) <= 3600
    assert '"return_value": 1' in str(doorbell.redis.get(result))


def test_the_scheduler_rings_each_interval_and_beats(doorbell: Doorbell) -> None:
    doorbell.worker()
    scheduler = doorbell.scheduler()
    scheduler.until(lambda: doorbell.count("flushed") >= 3 and doorbell.count("beat") >= 1)


@pytest.mark.parametrize(("fall", "uvloop"), [("stop", True), ("kill", False)])
def test_both_outlive_a_restart_of_redis_without_its_data(
    doorbell: Doorbell, fall: str, uvloop: bool
) -> None:
    worker, scheduler = doorbell.worker(uvloop=uvloop), doorbell.scheduler()
    worker.until(doorbell.more("flushed"))
    getattr(doorbell.server, fall)()
    worker.until(lambda: min(complaints(worker), complaints(scheduler)) > 0)
    flushed = doorbell.more("flushed")
    doorbell.server.start()
    worker.until(flushed)
    assert doorbell.count("start") == 1
    for process in worker, scheduler:
        assert complaints(process) == 1
        assert "Traceback" not in process.output


def test_both_may_start_before_redis(doorbell: Doorbell) -> None:
    doorbell.server.stop()
    worker, scheduler = doorbell.worker(), doorbell.scheduler()
    worker.until(lambda: min(complaints(worker), complaints(scheduler)) > 0)
    doorbell.server.start()
    worker.until(doorbell.more("flushed"))
    assert doorbell.count("start") == 1
    assert "Traceback" not in worker.output + scheduler.output


def test_a_redis_that_hangs_is_noticed(doorbell: Doorbell) -> None:
    worker = doorbell.worker()
    worker.until(doorbell.is_heard)
    with paused(doorbell.server):
        scheduler = doorbell.scheduler()
        worker.until(lambda: min(complaints(worker), complaints(scheduler)) > 0)
    worker.until(doorbell.more("flushed"))
    assert doorbell.count("start") == 1


def test_an_emptied_redis_is_heard_again(doorbell: Doorbell) -> None:
    worker = doorbell.worker()
    worker.until(doorbell.is_heard)
    for _ in range(5):
        doorbell.redis.flushall()
        flushed = doorbell.more("flushed")
        doorbell.ring()
        worker.until(flushed)
    assert doorbell.count("start") == 1
    assert complaints(worker) == 0
    assert "Traceback" not in worker.output


def test_a_redis_that_refuses_is_heard_again(doorbell: Doorbell) -> None:
    worker = doorbell.worker()
    worker.until(doorbell.is_heard)

    doorbell.redis.replicaof("127.0.0.1", "1")
    worker.until(lambda: "ReadOnlyError" in worker.output)
    doorbell.redis.replicaof("NO", "ONE")
    flushed = doorbell.more("flushed")
    doorbell.ring()
    worker.until(flushed)

    doorbell.redis.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailableError, match="OutOfMemoryError"):
        doorbell.ring()
    doorbell.redis.config_set("maxmemory", 0)
    flushed = doorbell.more("flushed")
    doorbell.ring()
    worker.until(flushed)
    assert doorbell.count("start") == 1


def test_cut_connections_are_made_again_without_noise(doorbell: Doorbell) -> None:
    worker, scheduler = doorbell.worker(), doorbell.scheduler()
    worker.until(doorbell.more("flushed"))
    for _ in range(40):
        doorbell.redis.client_kill_filter(_type="normal", skipme=True)
        with suppress(StoreUnavailableError):
            doorbell.ring()
    worker.until(doorbell.more("flushed", 2))
    worker.until(doorbell.is_heard)
    assert doorbell.count("start") == 1
    for process in worker, scheduler:
        assert complaints(process) <= 1
        assert "Traceback" not in process.output


def test_stale_rings_become_few_flushes(doorbell: Doorbell) -> None:
    doorbell.ring(500)
    worker = doorbell.worker()
    worker.until(doorbell.is_heard)
    assert 1 <= doorbell.count("flush") <= 3


def test_without_a_worker_rings_do_not_pile_up(doorbell: Doorbell) -> None:
    with doorbell.redis.pipeline() as stale:
        for _ in range(2 * LENGTH):
            stale.xadd(DOORBELL, {"data": "of another release"})
        stale.execute()
    doorbell.ring()
    # Redis trims whole nodes of 100 entries.
    assert LENGTH <= doorbell.redis.xlen(DOORBELL) <= LENGTH + 100


def test_results_that_cannot_be_kept_hinder_nothing(doorbell: Doorbell) -> None:
    worker = doorbell.worker(results_url="redis://127.0.0.1:1/0")
    for _ in range(3):
        flushed = doorbell.more("flushed")
        doorbell.ring()
        worker.until(flushed)
    worker.until(doorbell.is_heard)
    assert worker.output.count("the result of a flush was not kept") == 1
    assert "Traceback" not in worker.output


def test_what_a_killed_worker_took_is_rung_again(doorbell: Doorbell) -> None:
    doorbell.hold.touch()
    doorbell.ring()
    killed = doorbell.worker("-w", "2")
    killed.until(lambda: doorbell.count("flush") == 1)
    killed.close()
    doorbell.hold.unlink()
    # Counted as abandoned at once: nobody else is alive.
    heir = doorbell.worker(idle_timeout="1")
    heir.until(lambda: doorbell.count("flushed") == 1)
    heir.until(doorbell.is_heard)


def test_several_workers_and_schedulers_are_harmless(doorbell: Doorbell) -> None:
    workers = [doorbell.worker("-w", "2"), doorbell.worker("-w", "2")]
    schedulers = [doorbell.scheduler(), doorbell.scheduler()]
    workers[0].until(doorbell.more("flushed", 4))
    for scheduler in schedulers:
        assert scheduler.terminate() == 0
    workers[0].until(doorbell.is_heard)
    assert doorbell.count("start") == 4
    for worker in workers:
        assert worker.terminate() == 0
    assert doorbell.count("close") == 4
    assert doorbell.redis.xinfo_consumers(DOORBELL, GROUP) == []


@pytest.mark.parametrize(
    ("state", "uvloop"),
    [
        ("up", True),
        ("down", True),
        ("down", False),
        ("hanging", True),
        ("hanging", False),
        ("hanging in a flush", True),
    ],
)
def test_sigterm_ends_both(doorbell: Doorbell, state: str, uvloop: bool) -> None:
    if "flush" in state:
        doorbell.hold.touch()
    worker, scheduler = doorbell.worker(uvloop=uvloop), doorbell.scheduler()
    worker.until(doorbell.more("flush"))
    with ExitStack() as trouble:
        if "hanging" in state:
            trouble.enter_context(paused(doorbell.server))
        if state == "down":
            doorbell.server.stop()
            worker.until(lambda: min(complaints(worker), complaints(scheduler)) > 0)
        scheduler.send(signal.SIGTERM)
        assert worker.terminate() == 0
        assert scheduler.wait() == 0
    assert doorbell.count("close") == 1
    assert "Traceback" not in worker.output + scheduler.output
