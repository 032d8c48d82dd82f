"""Redis for the tests of the parts that use it, the one in the process and a real one; and a place for a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
import pytest_asyncio

from metrics_collector._connection import connect
from tests.support import redis_server as servers
from tests.support.folders import fast_folder
from tests.support.pipeline import store_on
from tests.support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from metrics_collector._hot_store import HotStore


@pytest.fixture
def path() -> Iterator[Path]:
    """Where a database may be made."""
    with fast_folder() as folder:
        yield Path(folder, "metrics.db")


@pytest_asyncio.fixture
async def fake_client() -> AsyncIterator[Any]:
    """An empty Redis in this process."""
    client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    yield client
    await client.aclose()


@pytest_asyncio.fixture(
    params=["fakeredis", pytest.param("redis-server", marks=pytest.mark.integration)]
)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """An empty Redis of either kind."""
    if request.param == "fakeredis":
        connection: Any = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    else:
        connection = connect(request.getfixturevalue("shared_server").url)
        await connection.flushall()
    yield connection
    await connection.aclose()


@pytest.fixture(scope="session")
def shared_server() -> Iterator[RedisServer]:
    """A real server for tests that leave it as it is, but for its data: starting one takes longer than most of them."""
    if servers.binary() is None:
        pytest.skip("redis-server is not installed, and this test needs a real one")
    with RedisServer() as server:
        yield server


@pytest.fixture
def store(client: Any) -> HotStore:
    """The pipeline's commands on that Redis."""
    return store_on(client)
