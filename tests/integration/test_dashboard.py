"""The command `dashboard` as a user starts and ends it."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.helpers import dashboard as dashboards
from tests.helpers.commands import LIMIT, run
from tests.helpers.dashboard import TOKEN, Call

if TYPE_CHECKING:
    from pathlib import Path


def refused(*arguments: str, **environment: str) -> tuple[int, str]:
    """The exit status of the command, and the one line that it complains with."""
    done = run("dashboard", "--port", "0", *arguments, REDIS_URL="memory://", **environment)
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    return done.returncode, line


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.com"])  # noqa: S104 - what is to be refused
def test_others_are_not_let_in_without_a_token(host: str) -> None:
    status, line = refused("--host", host)
    assert status == 2
    assert "METRICS_DASHBOARD_TOKEN" in line


def test_a_weak_token_is_refused_and_not_shown() -> None:
    status, line = refused(METRICS_DASHBOARD_TOKEN="S3CR3T")
    assert status == 2
    assert "METRICS_DASHBOARD_TOKEN=***" in line
    assert "S3CR3T" not in line


def test_a_port_that_is_taken_is_named() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        status, line = refused("--port", port)
    assert status == 1
    assert f"port {port}" in line
    assert "--port" in line


def test_a_host_that_is_not_here() -> None:
    status, line = refused("--host", "host.invalid", METRICS_DASHBOARD_TOKEN=TOKEN)
    assert status == 1
    assert "cannot listen at host.invalid" in line


def test_it_ends_by_a_signal(tmp_path: Path) -> None:
    for signum, status in ((signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)):
        with dashboards.dashboard(tmp_path / "none.db", tmp_path / "output.txt") as own:
            assert httpx.get(own.url("pipeline"), timeout=LIMIT).status_code == 200
            own.process.send(signum)
            assert own.process.wait() == status
            assert "Traceback" not in own.process.output
        (tmp_path / "output.txt").unlink()


async def test_others_are_let_in_with_the_token(tmp_path: Path) -> None:
    await dashboards.save([Call("f", time.time() - 1)], tmp_path / "metrics.db")
    with dashboards.dashboard(
        tmp_path / "metrics.db",
        tmp_path / "output.txt",
        *("--host", "0.0.0.0", "--allow-host", "metrics.example.com"),  # noqa: S104 - it has a token
        METRICS_DASHBOARD_TOKEN=TOKEN,
    ) as own:
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
