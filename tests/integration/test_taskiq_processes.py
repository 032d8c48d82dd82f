"""`taskiq worker` and `taskiq scheduler` as processes, on a real Redis that fails in all ways."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._saving import taskiq
from metrics_collector._saving.taskiq.stream import GROUP, LENGTH, STREAM
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.helpers import processes
from tests.helpers.pipeline import KEYS
from tests.helpers.redis_server import patient_client
from tests.helpers.rows import saved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.helpers.processes import Process
    from tests.helpers.redis_server import RedisServer


class Deployment:
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
        program = ("worker", "tests.helpers.flush_request_app:broker")
        arguments = arguments or ("-w", "1")
        return self._start(*program, *arguments, uvloop=uvloop, environment=environment)

    def scheduler(self, **environment: str) -> Process:
        program = ("scheduler", "tests.helpers.flush_request_app:scheduler")
        return self._start(*program, environment=environment)

    def _start(self, *arguments: str, environment: dict[str, str], **options: Any) -> Process:
        self._started += 1
        process = processes.taskiq(
            *arguments,
            output=self._folder / f"output-{self._started}",
            environment={
                "FLUSH_REQUEST_URL": self.server.url,
                "FLUSH_REQUEST_EVENTS": str(self._events),
                **{f"FLUSH_REQUEST_{name.upper()}": value for name, value in environment.items()},
            },
            **options,
        )
        return self._running.enter_context(process)

    def request(self, times: int = 1) -> None:
        async def requests() -> None:
            broker = taskiq.make_broker(self.server.url, "memory://", log=RateLimitedLog())
            for _ in range(times):
                await taskiq.request_flush(broker)

        asyncio.run(requests())

    def answer_a_request(self, worker: Process) -> None:
        flushed = self.more("flushed")
        self.request()
        worker.until(flushed)

    def count(self, event: str) -> int:
        """How often an event was noted; `flush` is the start of one, `flushed` its end."""
        if not self._events.exists():
            return 0
        return sum(line.split()[0] == event for line in self._events.read_text().splitlines())

    def more(self, event: str, times: int = 1) -> Callable[[], bool]:
        """A condition: the event has happened that often since this call."""
        enough = self.count(event) + times
        return lambda: self.count(event) >= enough

    def has_answered(self) -> bool:
        """Whether a worker listens, and all requests are answered and acknowledged."""
        groups: Any = self.redis.xinfo_groups(STREAM) if self.redis.exists(STREAM) else []
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
    # From Python 3.14 on Taskiq sets up no logging in its workers: they print warnings alone, and these bare.
    return sum(
        "taskiq" not in line and ("WARNING" in line or not line.startswith("["))
        for line in process.output.splitlines()
    )


@pytest.fixture
def deployment(redis_server: RedisServer, tmp_path: Path) -> Iterator[Deployment]:
    with ExitStack() as running:
        deployment = Deployment(redis_server, tmp_path, running)
        running.callback(deployment.redis.close)
        yield deployment


@pytest.mark.parametrize("uvloop", [True, False])
def test_a_flush_request_sent_before_the_first_start_is_answered(
    deployment: Deployment, uvloop: bool
) -> None:
    deployment.request()
    worker = deployment.worker(uvloop=uvloop)
    worker.until(lambda: deployment.count("flushed") == 1 and deployment.has_answered())
    (result,) = deployment.redis.keys(f"{KEYS.results}:*")
    assert 0 < deployment.redis.ttl(result) <= 3600
    assert '"return_value": 1' in str(deployment.redis.get(result))


def test_the_scheduler_requests_a_flush_each_interval_and_beats(deployment: Deployment) -> None:
    deployment.worker()
    scheduler = deployment.scheduler()
    scheduler.until(lambda: deployment.count("flushed") >= 3 and deployment.count("beat") >= 1)


@pytest.mark.parametrize(("fall", "uvloop"), [("stop", True), ("kill", False)])
def test_both_outlive_a_restart_of_redis_without_its_data(
    deployment: Deployment, fall: str, uvloop: bool
) -> None:
    worker, scheduler = deployment.worker(uvloop=uvloop), deployment.scheduler()
    worker.until(deployment.more("flushed"))
    getattr(deployment.server, fall)()
    worker.until(lambda: min(complaints(worker), complaints(scheduler)) > 0)
    flushed = deployment.more("flushed")
    deployment.server.start()
    worker.until(flushed)
    assert deployment.count("start") == 1
    for process in worker, scheduler:
        assert complaints(process) == 1
        assert "Traceback" not in process.output


def test_both_may_start_before_redis(deployment: Deployment) -> None:
    deployment.server.stop()
    worker, scheduler = deployment.worker(), deployment.scheduler()
    worker.until(lambda: min(complaints(worker), complaints(scheduler)) > 0)
    deployment.server.start()
    worker.until(deployment.more("flushed"))
    assert deployment.count("start") == 1
    assert "Traceback" not in worker.output + scheduler.output


def test_a_redis_that_hangs_is_noticed(deployment: Deployment) -> None:
    worker = deployment.worker()
    worker.until(deployment.has_answered)
    with paused(deployment.server):
        scheduler = deployment.scheduler()
        worker.until(lambda: min(complaints(worker), complaints(scheduler)) > 0)
    worker.until(deployment.more("flushed"))
    assert deployment.count("start") == 1


def test_an_emptied_redis_has_answered_again(deployment: Deployment) -> None:
    worker = deployment.worker()
    worker.until(deployment.has_answered)
    for _ in range(5):
        deployment.redis.flushall()
        deployment.answer_a_request(worker)
    assert deployment.count("start") == 1
    assert complaints(worker) == 0
    assert "Traceback" not in worker.output


def test_a_redis_that_refuses_has_answered_again(deployment: Deployment) -> None:
    worker = deployment.worker()
    worker.until(deployment.has_answered)

    deployment.redis.replicaof("127.0.0.1", "1")
    worker.until(lambda: "ReadOnlyError" in worker.output)
    deployment.redis.replicaof("NO", "ONE")
    deployment.answer_a_request(worker)

    deployment.redis.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailableError, match="OutOfMemoryError"):
        deployment.request()
    deployment.redis.config_set("maxmemory", 0)
    deployment.answer_a_request(worker)
    assert deployment.count("start") == 1


def test_cut_connections_are_made_again_without_noise(deployment: Deployment) -> None:
    worker, scheduler = deployment.worker(), deployment.scheduler()
    worker.until(deployment.more("flushed"))
    for _ in range(40):
        deployment.redis.client_kill_filter(_type="normal", skipme=True)
        with suppress(StoreUnavailableError):
            deployment.request()
    worker.until(deployment.more("flushed", 2))
    worker.until(deployment.has_answered)
    assert deployment.count("start") == 1
    for process in worker, scheduler:
        assert complaints(process) <= 1
        assert "Traceback" not in process.output


def test_stale_requests_become_few_flushes(deployment: Deployment) -> None:
    deployment.request(500)
    worker = deployment.worker()
    worker.until(deployment.has_answered)
    assert 1 <= deployment.count("flush") <= 3


def test_without_a_worker_requests_do_not_pile_up(deployment: Deployment) -> None:
    with deployment.redis.pipeline() as stale:
        for _ in range(2 * LENGTH):
            stale.xadd(STREAM, {"data": "of another release"})
        stale.execute()
    deployment.request()
    # Redis trims whole nodes of 100 entries.
    assert LENGTH <= deployment.redis.xlen(STREAM) <= LENGTH + 100


def test_results_that_cannot_be_kept_hinder_nothing(deployment: Deployment) -> None:
    worker = deployment.worker(results_url="redis://127.0.0.1:1/0")
    for _ in range(3):
        deployment.answer_a_request(worker)
    worker.until(deployment.has_answered)
    assert worker.output.count("cannot keep the result of a flush") == 1
    assert "Traceback" not in worker.output


def test_what_a_killed_worker_took_is_requested_again(deployment: Deployment) -> None:
    deployment.hold.touch()
    deployment.request()
    killed = deployment.worker("-w", "2")
    killed.until(lambda: deployment.count("flush") == 1)
    killed.close()
    deployment.hold.unlink()
    # Counted as abandoned at once: nobody else is alive.
    heir = deployment.worker(idle_timeout="1")
    heir.until(lambda: deployment.count("flushed") == 1)
    heir.until(deployment.has_answered)


def test_several_workers_and_schedulers_are_harmless(deployment: Deployment) -> None:
    workers = [deployment.worker("-w", "2"), deployment.worker("-w", "2")]
    schedulers = [deployment.scheduler(), deployment.scheduler()]
    workers[0].until(deployment.more("flushed", 4))
    for scheduler in schedulers:
        assert scheduler.terminate() == 0
    workers[0].until(deployment.has_answered)
    assert deployment.count("start") == 4
    for worker in workers:
        assert worker.terminate() == 0
    assert deployment.count("close") == 4
    assert deployment.redis.xinfo_consumers(STREAM, GROUP) == []


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
def test_sigterm_ends_both(deployment: Deployment, state: str, uvloop: bool) -> None:
    if "flush" in state:
        deployment.hold.touch()
    worker, scheduler = deployment.worker(uvloop=uvloop), deployment.scheduler()
    worker.until(deployment.more("flush"))
    with ExitStack() as trouble:
        if "hanging" in state:
            trouble.enter_context(paused(deployment.server))
        if state == "down":
            deployment.server.stop()
            worker.until(lambda: min(complaints(worker), complaints(scheduler)) > 0)
        scheduler.send(signal.SIGTERM)
        assert worker.terminate() == 0
        assert scheduler.wait() == 0
    assert deployment.count("close") == 1
    assert "Traceback" not in worker.output + scheduler.output


@pytest.mark.parametrize("remedy", [None, ".gitignore", "--reload-dir"])
def test_a_worker_that_reloads_says_how_its_database_does_not_restart_it(
    remedy: str | None, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environment = {"REDIS_URL": redis_server.url}
    folder = tmp_path_factory.mktemp("output")  # for what it logs is not to restart it either
    call = "from metrics_collector import metrics_collector; metrics_collector(len)(())"
    with processes.Process(["-c", call], output=folder / "log", environment=environment) as program:
        assert program.wait() == 0
    Path("src").mkdir()
    if remedy == ".gitignore":
        Path(".gitignore").write_text("metrics.db*\n")
    arguments = ["--reload-dir=src"] if remedy == "--reload-dir" else []
    with processes.worker(folder, environment, "--reload", *arguments) as worker:
        worker.until(lambda: saved("metrics.db") == 1)
        if remedy is not None:
            assert "Scheduled workers reload" not in worker.output
            Path("src/app.py").touch()
        worker.until(lambda: "Scheduled workers reload" in worker.output)
        warning = f"it watches {Path('metrics.db').absolute()}: add metrics.db* to the .gitignore"
        assert (warning in worker.output) == (remedy is None)
        assert (worker.output.count("Scheduled workers reload") > 3) == (remedy is None)
