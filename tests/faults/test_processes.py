"""Processes that stop, stand still, or are many."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from metrics_collector._saving import taskiq
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.faults import breaking
from tests.faults.breaking import STEPS
from tests.faults.world import BROKEN_WORKER, World
from tests.helpers.processes import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

REQUESTS = 50
GUNICORN = ["gunicorn", "--workers", "2", "--bind", "127.0.0.1:{port}"]
UVICORN = "uvicorn_worker.UvicornWorker"
HTTP = ["--http-socket", "127.0.0.1:{port}"]
UWSGI = ["tests.faults.uwsgi", *HTTP, "--master", "--processes", "2", "--die-on-term"]
UWSGI_THREADS = [*UWSGI, "--enable-threads"]
SERVERS = {
    "uvicorn": ["uvicorn", "--port", "{port}"],
    "gunicorn": [*GUNICORN, "--worker-class", "asgi"],
    "gunicorn, preloaded": [*GUNICORN, "--worker-class", "asgi", "--preload"],
    "gunicorn with uvicorn": [*GUNICORN, "--worker-class", UVICORN],
    "gunicorn with uvicorn, preloaded": [*GUNICORN, "--worker-class", UVICORN, "--preload"],
    "gunicorn with gevent": [*GUNICORN, "--worker-class", "gevent"],
    "gunicorn with gevent, preloaded": [*GUNICORN, "--worker-class", "gevent", "--preload"],
    "uWSGI, preloaded": [*UWSGI_THREADS, "--module"],
    "uWSGI without threads, preloaded": [*UWSGI, "--module"],
    "uWSGI with an application for each": [*UWSGI_THREADS, "--lazy-apps", "--module"],
}


@pytest.mark.parametrize("server", SERVERS)
def test_a_web_server_loses_nothing_on_sigterm(world: World, server: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [word.format(port=port) for word in SERVERS[server]]
    # Nothing is sent before the end.
    service = "wsgi_service" if "gevent" in server or "uWSGI" in server else "service"
    serving = world.program(*command, f"tests.faults.{service}:app", METRICS_SEND_INTERVAL="60")
    # A request that is given up may be counted all the same.
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LIMIT) as client:
        serving.until(_answers(client))
        asked = 1
        who: set[str] = set()
        while asked < REQUESTS or len(who) < 1 + ("2" in command):
            # A connection each, so that every worker gets some.
            who.add(httpx.get(str(client.base_url), timeout=LIMIT).text)
            asked += 1
    # uvicorn hands the signal on to the system once its own shutdown is over.
    assert serving.terminate() in {0, -signal.SIGTERM}, serving.output
    loads = 1 if "preloaded" in server else len(who)
    assert world.counted() == {"service.ask": asked, "service.load": loads}, serving.output
    assert "Traceback" not in serving.output
    assert ("set enable-threads = true" in serving.output) == ("without threads" in server)


def _answers(client: httpx.Client) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            return client.get("/").is_success
        except httpx.TransportError:
            return False

    return answers


def test_children_of_celery_lose_nothing_as_they_end(world: World) -> None:
    options = ["--app", "tests.faults.celery_app", "worker"]
    celery = world.program("celery", *options, METRICS_SEND_INTERVAL="60")
    celery.until(lambda: world.counted() == {"task": 10})
    assert celery.terminate() == 0, celery.output


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_stands_still_for_longer_than_its_lease(world: World, step: str) -> None:
    world.breaks(f"{step} 1 stop")
    world.producer("app", 6000, 2000)
    still = world.worker(BROKEN_WORKER)
    stopped = Path(breaking.STOPPED)
    still.until(stopped.exists)
    other = world.worker()
    if step == "saving":  # it holds the database's lock, and nobody can save
        other.until(lambda: "another program holds its lock" in other.output)
    else:
        other.until(lambda: world.rows() > 0 and world.waiting() == 0)
    os.kill(int(stopped.read_text()), signal.SIGCONT)
    assert world.end(still, other) == {"app": 6000}


def test_two_schedulers_four_workers_and_five_hundred_stale_requests(world: World) -> None:
    async def requests() -> None:
        broker = taskiq.make_broker(world.server.url, "memory://", log=RateLimitedLog())
        for _ in range(500):
            await taskiq.request_flush(broker)

    asyncio.run(requests())
    for name in ("one", "two"):
        world.producer(name, 6000, 1500)
    schedulers = [world.scheduler() for _ in range(2)]
    workers = [world.worker(), world.worker(), world.worker(workers=2)]
    assert world.end(*workers, *schedulers) == {"one": 6000, "two": 6000}
    for process in (*workers, *schedulers):
        assert "Traceback" not in process.output
