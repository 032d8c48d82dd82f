"""How many reads there are at once, and for whom."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.exceptions import HTTPException

from metrics_collector._reading import reports
from metrics_collector._runtime.collector import collector
from metrics_collector.dashboard import _reads, create_app
from metrics_collector.dashboard._reads import AT_ONCE, MOST_WAITING, Reads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metrics_collector._reading.reports import Overview


async def turns() -> None:
    """Let all tasks get as far as they can without another event."""
    for _ in range(20):
        await asyncio.sleep(0)


class Gate:
    """Reads that end when it is opened."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.open = asyncio.Event()

    async def read(self) -> int:
        self.begun += 1
        number = self.begun
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return number


async def test_so_many_at_once_and_the_others_after_them() -> None:
    reads, gate = Reads(), Gate()
    asking = [asyncio.create_task(reads.in_turn(key, gate.read)) for key in range(AT_ONCE + 2)]
    await turns()
    assert gate.begun == AT_ONCE
    gate.open.set()
    assert sorted(await asyncio.gather(*asking)) == [*range(1, AT_ONCE + 3)]


async def test_what_is_asked_for_twice_at_once_is_read_once() -> None:
    reads, gate = Reads(), Gate()
    asking = [asyncio.create_task(reads.in_turn("same", gate.read)) for _ in range(100)]
    await turns()
    gate.open.set()
    assert set(await asyncio.gather(*asking)) == {1}
    assert await reads.in_turn("same", gate.read) == 2  # and later anew


async def test_who_is_cancelled_waits_no_more_and_what_is_begun_keeps_its_place() -> None:
    reads, gate = Reads(), Gate()
    running = [asyncio.create_task(reads.in_turn(key, gate.read)) for key in range(AT_ONCE)]
    waiting = asyncio.create_task(reads.in_turn("waiting", gate.read))
    last = asyncio.create_task(reads.in_turn("last", gate.read))
    await turns()
    waiting.cancel()
    running[0].cancel()
    await asyncio.wait({waiting, running[0]})
    await turns()
    assert (gate.begun, gate.cancelled) == (AT_ONCE, 0)
    gate.open.set()
    assert await last == AT_ONCE + 1


async def test_a_read_goes_on_as_long_as_anybody_waits_for_it() -> None:
    reads, gate = Reads(), Gate()
    first, second = (asyncio.create_task(reads.once("same", gate.read)) for _ in range(2))
    await turns()
    first.cancel()
    await asyncio.wait({first})
    gate.open.set()
    assert await second == 1
    assert first.cancelled()


async def test_one_that_fails_fails_for_all_and_gives_its_place_back() -> None:
    async def fail() -> int:
        raise ZeroDivisionError

    reads = Reads()
    for _ in range(2):
        asking = [reads.in_turn(number // 2, fail) for number in range(4 * AT_ONCE)]
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert all(isinstance(one, ZeroDivisionError) for one in found)


async def test_one_that_fails_when_nobody_asks_any_more_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reads, gate = Reads(), Gate()

    async def fail() -> None:
        try:
            await gate.read()
        finally:
            raise ZeroDivisionError

    for ask in (reads.once, reads.in_turn):
        asking = asyncio.create_task(ask(ask.__name__, fail))
        await turns()
        asking.cancel()
        await asyncio.wait({asking})
        gate.open.set()
        await turns()
        del asking
        gc.collect()
    assert not caplog.records


async def test_of_those_that_wait_there_are_not_too_many() -> None:
    reads, gate = Reads(), Gate()
    asking = [
        asyncio.create_task(reads.in_turn(key, gate.read)) for key in range(AT_ONCE + MOST_WAITING)
    ]
    await turns()
    with pytest.raises(HTTPException, match="Try again in 5 seconds"):
        await reads.in_turn("one more", gate.read)
    shared = asyncio.create_task(reads.in_turn(0, gate.read))
    gate.open.set()
    await asyncio.gather(*asking)
    assert await shared == 1


def test_on_one_loop_after_another() -> None:
    reads = Reads()

    async def ask() -> list[int]:
        gate = Gate()
        asking = [asyncio.create_task(reads.in_turn(key, gate.read)) for key in range(AT_ONCE + 1)]
        await turns()
        gate.open.set()
        return await asyncio.gather(*asking)

    for _ in range(2):
        assert len(asyncio.run(ask())) == AT_ONCE + 1


@pytest.fixture
def own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REDIS_URL", "memory://")
    collector.reset()
    yield
    collector.reset()


@pytest.mark.usefixtures("own_settings")
async def test_who_has_gone_has_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, overview = Gate(), reports.overview

    async def slow(*window: object) -> Overview:
        await gate.read()
        return await overview(*window)  # type: ignore[arg-type]  # as the dashboard gives them

    monkeypatch.setattr(reports, "overview", slow)
    app = create_app(token=False)
    gone = asyncio.Event()

    async def receive() -> dict[str, object]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(_: object) -> None:
        pass

    def ask(number: int) -> asyncio.Task[None]:
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/api/overview",
            "query_string": f"window={number}m".encode(),
            "headers": [(b"host", b"127.0.0.1")],
            "client": ("127.0.0.1", 1),
        }
        return asyncio.create_task(app(scope, receive, send))  # type: ignore[arg-type]  # ours are narrower

    asking = [ask(number) for number in range(1, AT_ONCE + 4)]
    while gate.begun < AT_ONCE:
        await asyncio.sleep(0.001)
    await turns()
    gone.set()
    await asyncio.gather(*asking)
    gate.open.set()
    await turns()
    assert gate.begun == AT_ONCE


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.usefixtures("own_settings")
async def test_a_server_that_does_not_say_when_a_client_goes(ends: bool) -> None:
    """As those of some tests, which give the same message without a pause, or fail."""
    sent: list[dict[str, object]] = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/overview",
        "query_string": b"window=1m",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 1),
    }

    async def receive() -> dict[str, object]:
        if ends:
            raise RuntimeError("there is nothing more")
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await create_app(token=False)(scope, receive, send)  # type: ignore[arg-type]  # ours are narrower
    assert sent[0]["status"] == 200


@pytest.mark.usefixtures("own_settings")
async def test_pages_that_wait_too_long_are_refused_and_the_others_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, overview = Gate(), reports.overview

    async def slow(*window: object) -> Overview:
        await gate.read()
        return await overview(*window)  # type: ignore[arg-type]  # as the dashboard gives them

    monkeypatch.setattr(reports, "overview", slow)
    transport = httpx.ASGITransport(create_app(token=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as browser:
        running = [
            asyncio.create_task(browser.get(f"/api/overview?window={number}m"))
            for number in range(1, AT_ONCE + 1)
        ]
        while gate.begun < AT_ONCE:
            await asyncio.sleep(0.001)
        monkeypatch.setattr(_reads, "PATIENCE", 0.01)
        for path in ("/", "/api/errors", "/api/function?name=f"):
            refused = await browser.get(path)
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "5"
            assert "too many others wait" in refused.text
        assert (await browser.get("/api/pipeline")).status_code == 200
        assert (await browser.get("/pipeline")).status_code == 200
        gate.open.set()
        assert {(await one).status_code for one in running} == {200}
