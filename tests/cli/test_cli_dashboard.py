"""The command `dashboard` in this process: what it takes and refuses."""

from __future__ import annotations

import re
import socket
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.helpers.commands import finished
from tests.helpers.dashboard import TOKEN

if TYPE_CHECKING:
    import subprocess

    from tests.cli.conftest import Complaint, Output


@pytest.fixture(autouse=True)
def nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test whose command is not refused: it would serve for ever."""
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: pytest.fail("it serves"))


def without(package: str, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in which a package cannot be imported, as if it were not installed."""
    program = f"import sys; sys.modules[{package!r}] = None; {program}"
    return finished(sys.executable, "-c", program)


@pytest.mark.parametrize("package", ["starlette", "jinja2", "uvicorn"])
def test_without_the_extra_it_is_named(package: str) -> None:
    done = without(package, "from metrics_collector import cli; sys.exit(cli.run(['dashboard']))")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "metrics-collector: the dashboard needs an extra: pip install 'metrics-collector[dashboard]'\n"
    )


@pytest.mark.parametrize("package", ["starlette", "jinja2"])
def test_without_the_extra_a_service_hears_of_it(package: str) -> None:
    program = "from metrics_collector.dashboard import create_app; create_app(token=False)"
    last_line = without(package, program).stderr.splitlines()[-1]
    assert last_line.startswith("metrics_collector._errors.ConfigurationError: the dashboard needs")


def test_without_the_library_of_charts_it_does_not_start() -> None:
    # A name of sys.modules that is None makes find_spec raise; a package that is not installed makes it find nothing.
    program = (
        "import importlib.util as util; find = util.find_spec;"
        "util.find_spec = lambda name, *more: None if name == 'plotly' else find(name, *more);"
        "from metrics_collector.dashboard import create_app; create_app(token=False)"
    )
    last_line = without("nothing", program).stderr.splitlines()[-1]
    assert last_line.startswith("metrics_collector._errors.ConfigurationError: plotly.js")
    assert "metrics-collector[dashboard]" in last_line


@pytest.mark.parametrize("wrong", ["--port x", "--port 70000", "--port -1", "--hosts a", "8765"])
def test_wrong_input_gets_one_line_and_2(wrong: str, complaint: Complaint) -> None:
    assert complaint(f"dashboard {wrong}")


@pytest.mark.parametrize(
    ("arguments", "token", "status", "told"),
    [
        ("--host 0.0.0.0", "", 2, "a token is needed: set METRICS_DASHBOARD_TOKEN"),
        ("--host ::", "", 2, "a token is needed: set METRICS_DASHBOARD_TOKEN"),
        ("", "S3CR3T", 2, "METRICS_DASHBOARD_TOKEN=***"),  # too weak
        ("--root-path metrics", TOKEN, 2, "allowed is a path such as /metrics"),
        ("--forwarded-allow-ips localhost", TOKEN, 2, "allowed are addresses and networks"),
        ("--forwarded-allow-ips *,::1", TOKEN, 2, "or * for all"),
        ("--host host.invalid", TOKEN, 1, "cannot listen at host.invalid"),
        ("--port {taken}", "", 1, "port {taken}: Address already in use; choose another"),
    ],
)
def test_where_it_cannot_be_served_it_is_not(
    arguments: str,
    token: str,
    status: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    complaint: Complaint,
) -> None:
    monkeypatch.setenv("METRICS_DASHBOARD_TOKEN", token)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        taken = server.getsockname()[1]
        line = complaint(f"dashboard --port 0 {arguments}".format(taken=taken), status)
    assert told.format(taken=taken) in line
    assert not token or token not in line


def test_help_tells_of_host_and_port(output: Output) -> None:
    out = output("dashboard --help")
    options = ("--host", "--port", "--allow-host", "--root-path", "--forwarded-allow-ips")
    assert all(option in out for option in options)
    assert "METRICS_DASHBOARD_TOKEN" in out
    assert re.search("^  dashboard +Serve", output("--help"), re.MULTILINE)
