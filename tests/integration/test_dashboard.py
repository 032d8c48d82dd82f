"""The command `dashboard` as a user starts and ends it."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from tests.helpers import dashboard as dashboards
from tests.helpers.commands import LIMIT, PROGRAM
from tests.helpers.dashboard import TOKEN, Call
from tests.helpers.reverse_proxy import reverse_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def test_it_ends_by_a_signal(tmp_path: Path) -> None:
    for signum, status in ((signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)):
        with dashboards.dashboard(tmp_path / "none.db", tmp_path / "output.txt") as own:
            assert httpx.get(own.url("pipeline"), timeout=LIMIT).status_code == 200
            own.process.send(signum)
            assert own.process.wait() == status
            assert "Traceback" not in own.process.output
        (tmp_path / "output.txt").unlink()


def test_requests_that_never_end_keep_nobody_else_out(tmp_path: Path) -> None:
    few = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *PROGRAM)
    output = tmp_path / "output.txt"
    with (
        dashboards.dashboard(tmp_path / "none.db", output, program=few) as own,
        ExitStack() as half,
    ):
        host, _, port = own.address.partition(":")
        for _ in range(100):
            connection = half.enter_context(socket.create_connection((host, int(port))))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        assert httpx.get(own.url("pipeline"), timeout=LIMIT).status_code == 200
        assert len(own.process.output.splitlines()) == 1  # and none about descriptors


@asynccontextmanager
async def with_a_token(folder: Path, *options: str) -> AsyncIterator[dashboards.Dashboard]:
    """A dashboard of one call."""
    await dashboards.save([Call("f", time.time() - 1)], folder / "metrics.db")
    with dashboards.dashboard(
        folder / "metrics.db", folder / "output.txt", *options, METRICS_DASHBOARD_TOKEN=TOKEN
    ) as own:
        yield own


async def test_others_are_let_in_with_the_token(tmp_path: Path) -> None:
    options = ("--host", "0.0.0.0", "--allow-host", "metrics.example.com")  # noqa: S104 - it has a token
    async with with_a_token(tmp_path, *options) as own:
        url = own.url("api/overview").replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - as above
        async with httpx.AsyncClient(
            headers={"Authorization": f"Bearer {TOKEN}"}, timeout=LIMIT
        ) as program:
            assert (await program.get(url)).json()["totals"]["call_count"] == 1
            for host, status in (("metrics.example.com", 200), ("evil.example.com", 400)):
                assert (await program.get(url, headers={"Host": host})).status_code == status
        async with httpx.AsyncClient(timeout=LIMIT) as stranger:
            assert (await stranger.get(url)).status_code == 401
            assert (await stranger.get(url, params={"token": TOKEN})).status_code == 303
        assert TOKEN not in own.process.output


async def test_real_proxies_show_it_under_their_paths(tmp_path: Path) -> None:
    options = ("--root-path", "/metrics", "--forwarded-allow-ips", "127.0.0.1")
    async with with_a_token(tmp_path, *options) as own:
        assert f"http://{own.address}/metrics/?token=" in own.process.output
        # Whoever asks the proxy, the prefix is the proxy's.
        client = "X-Forwarded-For: 203.0.113.9\nX-Forwarded-Proto: https"
        for path, strips, headers in (
            ("/metrics", True, ""),
            ("/metrics", False, client),
            ("/team/figures", True, f"{client}\nX-Forwarded-Prefix: /team/figures"),
        ):
            async with (
                reverse_proxy(own.address, path, strips=strips, headers=headers) as url,
                httpx.AsyncClient(timeout=LIMIT) as browser,
            ):
                answer = await browser.get(f"{url}/errors", params={"token": TOKEN})
                assert answer.headers["location"] == f"{path}/errors"
                cookie = answer.headers["set-cookie"].split("; ")
                assert f"Path={path}" in cookie
                assert ("Secure" in cookie) == bool(headers)
