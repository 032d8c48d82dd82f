"""Wrong tokens: who shows one waits, nobody else does, and the log says so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from metrics_collector._runtime.collector import collector
from metrics_collector.dashboard import _wrong_tokens, create_app
from metrics_collector.dashboard._proxy import BehindProxy
from metrics_collector.dashboard._wrong_tokens import MOST_DELAYED
from tests.helpers.dashboard import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

GUESS = "a-guess-of-somebody"
SHOWN: list[dict[str, Any]] = [
    {"params": {"token": GUESS}},
    {"headers": {"authorization": f"Bearer {GUESS}"}},
    {"headers": {"cookie": f"a=b; metrics_dashboard_01234567={GUESS}"}},
]


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REDIS_URL", "memory://")
    monkeypatch.setenv("METRICS_DASHBOARD_TOKEN", TOKEN)
    collector.reset()
    yield
    collector.reset()


def client(app: ASGIApp, ip: Any = "203.0.113.9") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=(ip, 50000))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "token" in record.getMessage()]


@pytest.fixture
def delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that no test lives to see the end of."""
    monkeypatch.setattr(_wrong_tokens, "DELAY", 3600.0)


@pytest.fixture
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_wrong_tokens, "DELAY", 0.0)


@pytest.mark.usefixtures("delay")
@pytest.mark.parametrize("mounted", [False, True])
@pytest.mark.parametrize("shown", SHOWN)
async def test_so_many_wait_and_the_right_one_never_does(
    shown: dict[str, Any], mounted: bool
) -> None:
    app: ASGIApp = create_app()
    path = "/api/pipeline"
    if mounted:
        app, path = Starlette(routes=[Mount("/metrics", app)]), f"/metrics{path}"
    async with client(app) as guesser, client(app) as owner:
        assert (await owner.get(f"{path}?token={TOKEN}")).status_code == 303
        guesses = [asyncio.create_task(guesser.get(path, **shown)) for _ in range(MOST_DELAYED)]
        await asyncio.sleep(0)
        refused = await guesser.get(path, **shown)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert GUESS not in refused.text
        assert (await owner.get(path)).status_code == 200
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert (await guesser.get(path, headers=bearer)).status_code == 200
        assert (await guesser.get(path)).status_code == 401  # which guesses nothing
        assert not any(guess.done() for guess in guesses)
        guesses[0].cancel()
        await asyncio.wait(guesses[:1])
        another = asyncio.create_task(guesser.get(path, **shown))
        assert (await owner.get(path)).status_code == 200
        assert not another.done()
        for guess in (*guesses, another):
            guess.cancel()
        await asyncio.wait({*guesses, another})


@pytest.mark.usefixtures("no_delay")
async def test_the_log_says_whose_there_are(caplog: pytest.LogCaptureFixture) -> None:
    async with client(create_app()) as guesser:
        assert (await guesser.get("/")).status_code == 401
        assert not lines(caplog)
        for shown in SHOWN * 3:
            answer = await guesser.get("/", **shown)
            assert answer.status_code == 401
            assert "This token is not the right one." in answer.text
    (line,) = lines(caplog)
    assert "'203.0.113.9'" in line
    assert GUESS not in line


@pytest.mark.usefixtures("no_delay")
@pytest.mark.parametrize(
    ("ip", "expected"),
    [("\x1b[2J\n" * 100, r"'\x1b[2J\n"), (None, "an unknown address"), ("10.0.0.5", "'192.0.2.7'")],
)
async def test_the_address_is_the_one_that_the_server_sees(
    ip: str | None, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a client behind a proxy that is trusted it is the client's; and it stays within the line."""
    app = BehindProxy(create_app(), root_path=None, forwarded_allow_ips="10.0.0.5")

    async def over_a_socket(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "client": ip and (ip, 1)}, receive, send)

    async with client(over_a_socket) as guesser:
        await guesser.get(f"/?token={GUESS}", headers={"x-forwarded-for": "192.0.2.7"})
    (line,) = lines(caplog)
    assert expected in line
    assert line.isprintable()
    assert len(line) < 250
