"""What every test gets: clean surroundings, a watch on the loop, and a Redis if it asks for one."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.support import blocking
from tests.support import redis_server as servers
from tests.support.redis_server import RedisServer
from tests.support.skips import SkipsFail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# The settings that are read without the prefix METRICS_ as well.
BARE_SETTINGS = {
    "DATABASE_NAME",
    "MAX_ITEMS",
    "MAX_WAITING_TIME",
    "REDIS_URL",
    "TASKIQ_BROKER_URL",
    "TASKIQ_RESULT_BACKEND_URL",
}


def pytest_configure(config: pytest.Config) -> None:
    # Before the test modules are imported: what they decorate there reads METRICS_ENABLED.
    for name in list(os.environ):
        if name.upper() in BARE_SETTINGS or name.upper().startswith("METRICS_"):
            del os.environ[name]

    # How long an example takes says nothing on a busy machine; pytest-timeout ends what hangs.
    hypothesis.settings.register_profile("here", hypothesis.settings(), deadline=None)
    hypothesis.settings.load_profile("here")

    if os.environ.get("CI") == "true":
        config.pluginmanager.register(SkipsFail())


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder: no `.env` is found there, and its database goes with it."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def no_blocking_in_the_loop() -> Iterator[None]:
    """Fail a test in which the package blocked an event loop, in whatever thread that loop runs."""
    with blocking.watch() as calls:
        yield
    if calls:
        pytest.fail("the event loop was blocked by\n" + "\n".join(calls), pytrace=False)


@pytest.fixture
def start_redis() -> Iterator[Callable[..., RedisServer]]:
    """Start any number of servers that end with the test: `start_redis(appendonly="yes")`."""
    if servers.binary() is None:
        pytest.skip("redis-server is not installed, and this test needs a real one")
    with ExitStack() as running:
        yield lambda **options: running.enter_context(RedisServer(**options))


@pytest.fixture
def redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """Give the test a real Redis server of its own, empty and without persistence."""
    return start_redis()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Address of the test's own Redis server."""
    return redis_server.url
