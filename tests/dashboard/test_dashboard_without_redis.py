"""The dashboard where Redis cannot be used: what SQL has, under a banner, and what is unknown is said to be that."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from metrics_collector import measure
from metrics_collector._runtime.collector import collector
from metrics_collector._storage.sqlite import SQLiteStore
from metrics_collector.dashboard import create_app
from tests.helpers.dashboard import Call, save

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.helpers.redis_server import RedisServer

VIEWS: Final = ("overview", "function?name=shop.till.pay", "errors")
BANNER: Final = "Partial figures:"


@pytest.fixture(autouse=True)
def down(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REDIS_URL", "redis://:S3CR3T@127.0.0.1:1/0")
    collector.reset()
    yield
    collector.reset()


@pytest.fixture
async def calls(tmp_path: Path) -> None:
    """Some calls of the last minutes, saved where the dashboard looks."""
    now = time.time()
    calls = [Call("shop.till.pay", now - 60 - n, 0.25, None if n else "KeyError") for n in range(3)]
    await save([*calls, Call("shop.cart", now - 90)], tmp_path / "metrics.db")


@pytest.fixture
async def local() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(token=False), client=("127.0.0.1", 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as one:
        yield one


def page_of(view: str) -> str:
    return "/" if view == "overview" else f"/{view}"


def tile(page: str, label: str) -> str:
    found = re.search(rf"<dt>{label}</dt><dd><span class=\"value\">\s*(.*?)\s*</span>", page)
    assert found, page
    return found[1]


@pytest.mark.usefixtures("calls")
class TestFigures:
    @pytest.mark.parametrize("view", VIEWS)
    async def test_json_is_partial(self, view: str, local: httpx.AsyncClient) -> None:
        answer = await local.get(f"/api/{view}")
        assert answer.status_code == 200
        found = answer.json()
        assert (found["partial"], found["left_out"]) == (True, None)
        assert "127.0.0.1:1" in found["redis_error"]
        assert found["totals"]["error_count"] == 1
        assert "S3CR3T" not in answer.text

    @pytest.mark.parametrize("view", VIEWS)
    async def test_a_page_has_one_banner_with_the_reason(
        self, view: str, local: httpx.AsyncClient
    ) -> None:
        answer = await local.get(page_of(view))
        assert answer.status_code == 200
        assert "shop.till.pay" in answer.text
        assert answer.text.count(BANNER) == answer.text.count("cannot be used") == 1
        assert 'class="badge"' in answer.text
        assert "S3CR3T" not in answer.text

    async def test_what_waits_in_the_service_itself_is_missing(
        self, local: httpx.AsyncClient
    ) -> None:
        with measure("shop.till.pay"):
            pass
        answer = (await local.get("/api/function?name=till.pay")).json()
        assert (answer["totals"]["call_count"], answer["partial"]) == (3, True)

    async def test_a_name_that_redis_may_know_is_not_unknown(
        self, local: httpx.AsyncClient
    ) -> None:
        answer = await local.get("/api/function?name=shop.never_called")
        assert answer.status_code == 503
        assert "in the database no measured function" in answer.json()["error"]

    async def test_the_banner_goes_as_redis_returns(
        self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, local: httpx.AsyncClient
    ) -> None:
        monkeypatch.setenv("REDIS_URL", redis_server.url)
        collector.reset()
        changes = (
            (lambda: None, False),
            (redis_server.stop, True),
            (redis_server.start, False),
        )
        for change, partial in changes:
            await asyncio.to_thread(change)
            for view in VIEWS:
                assert (BANNER in (await local.get(page_of(view))).text) is partial
                answer = (await local.get(f"/api/{view}")).json()
                assert answer["partial"] is partial
                assert answer["totals"]["error_count"] == 1


@pytest.mark.usefixtures("calls")
class TestPipeline:
    async def test_what_redis_would_say_is_unknown(self, local: httpx.AsyncClient) -> None:
        page = (await local.get("/pipeline")).text
        for label in ("Waiting in Redis", "Lag", "Last flush", "Claims", "Dropped"):
            assert tile(page, label) == "unknown", label
        assert tile(page, "Rejected") == "0"
        assert "No live processes" not in page
        assert "Unknown: their heartbeats are in Redis" in page
        answer = (await local.get("/api/pipeline")).json()
        unknown = ("waiting", "claims", "lag", "last_flush_at", "processes", "producers", "dropped")
        assert {answer[name] for name in unknown} == {None}
        assert answer["database"]["saved"] == 4
        assert BANNER not in page  # it has no figures

    async def test_what_redis_says_is_known(
        self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, local: httpx.AsyncClient
    ) -> None:
        monkeypatch.setenv("REDIS_URL", redis_server.url)
        collector.reset()
        page = (await local.get("/pipeline")).text
        assert (tile(page, "Waiting in Redis"), tile(page, "Lag")) == ("0", "none")
        assert "No live processes" in page


async def test_a_beginning_is_none_once_redis_is_away(
    tmp_path: Path,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    local: httpx.AsyncClient,
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    collector.reset()
    async with SQLiteStore(str(tmp_path / "metrics.db")).writing():
        pass
    assert "Nothing is recorded yet" in (await local.get("/")).text
    await asyncio.to_thread(redis_server.stop)
    for page in ("/", "/errors"):
        answer = (await local.get(page)).text
        assert BANNER in answer
        assert "Nothing is recorded yet" not in answer


async def test_what_an_unreadable_database_would_say_is_unknown(
    unreadable: None, monkeypatch: pytest.MonkeyPatch, local: httpx.AsyncClient
) -> None:
    monkeypatch.setenv("REDIS_URL", "memory://")
    collector.reset()
    page = (await local.get("/pipeline")).text
    assert tile(page, "Rejected") == "unknown"
    assert "not made yet" not in page
    database = (await local.get("/api/pipeline")).json()["database"]
    assert (database["exists"], database["rejected"]) == (None, None)
    assert database["error"]


@pytest.fixture
def unreadable(tmp_path: Path) -> None:
    (tmp_path / "metrics.db").write_bytes(b"no database" * 100)
