"""The commands as a user runs them: in a pipe, in a terminal, and with real Redis, worker and scheduler."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from metrics_collector import Settings
from metrics_collector._runtime import assembly
from metrics_collector.cli import _demo_database
from tests.helpers import processes
from tests.helpers.commands import finished, run
from tests.helpers.dashboard import Call, save
from tests.helpers.pipeline import KEYS
from tests.helpers.rows import rows
from tests.helpers.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.helpers.redis_server import RedisServer

FUNCTIONS = [
    f"demo.{name}"
    for name in ("charge_card", "check_stock", "fetch_cart", "parse_cart", "place_order")
] + [f"demo.{name}" for name in ("price_cart", "render_mail", "send_mail")]
# The colours that each terminal has in its own shades, light or dark; bold and dim; and none.
ANSI_STYLES = {"", "0", "1", "2", *map(str, range(30, 38)), *map(str, range(90, 98)), "39"}


def counts(database: str | Path) -> dict[str, tuple[int, int]]:
    """Calls and errors of each function, as SQL has them."""
    query = "SELECT func_name, count(*), sum(error_occurred) FROM metrics GROUP BY func_name"
    return {name: (calls, errors) for name, calls, errors in rows(database, query)}


def counts_shown(output: str) -> dict[str, tuple[int, int]]:
    """The same as the table has them."""
    cells = [re.findall(r"[^\s|]+", line) for line in output.splitlines()]
    return {
        row[0]: (int(row[1].replace(",", "")), int(row[2].replace(",", "")))
        for row in cells
        if row and row[0] in FUNCTIONS and row[-1].endswith("s")
    }


def block(output: str, first: str) -> list[str]:
    """The indented lines of an output, from the one that begins so to the next blank one."""
    text = output[output.index(f"\n  {first}") + 1 :].partition("\n\n")[0]
    return [line.removeprefix("  ") for line in text.splitlines()]


def checks(output: str) -> dict[str, str]:
    """What `doctor` says of each part."""
    return {what: state for state, what, *_ in map(str.split, output.splitlines())}


def test_the_demo_in_a_pipe_is_plain_text_and_true() -> None:
    done = run("demo", "--seconds", "0.5", DATABASE_NAME="real.db")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "calls/s" not in done.stdout
    database = Path("metrics-demo.db")
    in_sql = counts(database)
    assert sorted(in_sql) == FUNCTIONS
    assert counts_shown(done.stdout) == in_sql
    raised = {kind for (kind,) in rows(database, "SELECT error_type FROM metrics") if kind}
    saved = sum(calls for calls, _ in in_sql.values())
    assert f"\n{saved:,} entries are saved in this SQLite database:\n" in done.stdout
    assert f"\n  {database.absolute()}\n" in done.stdout
    assert not Path("real.db").exists()
    assert "from metrics_collector import metrics_collector" in block(done.stdout, "from ")

    # What it prints to look at the figures works as it is printed, here with another command that ends.
    dashboard = "\n".join(block(done.stdout, "REDIS_URL="))
    stats = f"{sys.executable} -m metrics_collector stats --since 1h"
    assert dashboard.endswith("metrics-collector dashboard")
    looked = finished("/bin/sh", "-c", dashboard.replace("metrics-collector dashboard", stats))
    assert looked.returncode == 0
    assert all(name in looked.stdout for name in FUNCTIONS)
    program = "sqlite3" if shutil.which("sqlite3") or sys.version_info < (3, 12) else "python -m"
    shell, *queries = block(done.stdout, program)
    assert shell.endswith(f"sqlite3 {Path('metrics-demo.db').absolute()}")
    shells = [[sys.executable, "-m", "sqlite3"]] if sys.version_info >= (3, 12) else []
    for command in [*shells, *([["sqlite3"]] if shutil.which("sqlite3") else [])]:
        answer = finished(*command, "metrics-demo.db", stdin="\n".join(queries) + "\n")
        assert answer.returncode == 0
        assert all(name in answer.stdout for name in FUNCTIONS)
        assert "rror" not in answer.stderr
        assert all(kind in answer.stdout for kind in raised)


def test_ctrl_c_in_a_narrow_terminal_ends_the_demo_with_what_there_is() -> None:
    earlier = assembly.database(Settings(database_name=str(_demo_database.PATH)))
    _demo_database.renew(earlier)
    with Terminal("demo", "--seconds", "120", columns=60) as terminal:
        terminal.read_until("charge_card")  # the figures are there
        terminal.read_until("╸")  # and the bar grows
        terminal.press("\x03")
        assert terminal.wait() == 0
    assert "\x1b[1A" in terminal.shown.rpartition("calls/s")[2]  # the display is taken away
    styles = ";".join(re.findall(r"\x1b\[([\d;]*)m", terminal.shown))
    assert set(styles.split(";")) <= ANSI_STYLES
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", terminal.shown)
    lines = re.split(r"[\r\n]+", text)
    assert [line for line in lines if len(line) > 60 and "/metrics-demo.db" not in line] == []
    assert re.search(r"^━+ +[\d.]+ of 120 s +[\d,]+ calls/s +[\d,]+ errors?", text, re.MULTILINE)
    assert "^C" in text
    after = text.rpartition("calls/s")[2]
    assert "Traceback" not in after
    assert after.count("function ") == after.count("entries are saved") == 1
    in_sql = counts(_demo_database.PATH)
    assert sorted(in_sql) == FUNCTIONS
    assert counts_shown(after) == in_sql


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("command", "where", "why"),
    [
        ("health --help", ">/dev/full", "No space left on device"),
        ("--help", ">/dev/full", "No space left on device"),
        ("export --format jsonl", ">/dev/full", "No space left on device"),
        ("export --format jsonl", ">&-", "it is closed"),
    ],
)
def test_output_that_cannot_be_written_is_reported_in_a_line(
    command: str, where: str, why: str, unbuffered: str, tmp_path: Path
) -> None:
    database = tmp_path / "metrics.db"
    asyncio.run(save([Call("f", 1.0)] * 500, database))  # more than a buffer holds
    environment = {"REDIS_URL": "memory://", "DATABASE_NAME": str(database)}
    shell = f'exec "$0" -m metrics_collector {command} {where}'
    done = finished("sh", "-c", shell, sys.executable, **environment, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr == f"metrics-collector: standard output cannot be written: {why}\n"


def test_health_loads_only_what_it_needs() -> None:
    done = run("health", REDIS_URL="unix:///nowhere/redis.sock", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 1
    modules = {
        line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()
    }
    assert modules & {"aiosqlite", "fakeredis", "rich", "taskiq", "typer"} == set()
    assert "redis" in modules


def test_health_and_demo_with_real_processes(redis_server: RedisServer, tmp_path: Path) -> None:
    database = tmp_path / "saved.db"
    environment = {
        "REDIS_URL": redis_server.url,
        "DATABASE_NAME": str(database),
        "MAX_WAITING_TIME": "1",
    }
    client = redis.Redis.from_url(redis_server.url)
    assert run("health", "scheduler", **environment).returncode == 1

    def alive(role: str) -> bool:
        return bool(client.keys(KEYS.heartbeat(role, "*")))

    with (
        closing(client),
        processes.worker(tmp_path, environment, "-w", "1") as worker,
        processes.scheduler(tmp_path, environment) as scheduler,
    ):
        worker.until(lambda: alive("worker"))
        done = run("health", **environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("worker: alive (1 process), ")

        done = run("demo", "--seconds", "0.5", **environment)
        assert (done.returncode, done.stderr) == (0, "")
        # The second, if the worker has not come so far.
        assert re.search(r"^(A worker is alive|worker: alive)", done.stdout, re.MULTILINE)
        assert f"\n  {database}\n" in done.stdout
        assert not Path("metrics-demo.db").exists()
        shown = counts_shown(done.stdout)
        assert sorted(shown) == FUNCTIONS
        worker.until(lambda: database.exists() and counts(database) == shown)

        scheduler.until(lambda: alive("scheduler"))
        done = run("health", "scheduler", **environment)
        assert (done.returncode, done.stdout) == (0, "scheduler: alive (1 process)\n")

        done = run("doctor", **environment)
        assert done.returncode == 0, done.stdout
        states = checks(done.stdout)
        assert states.pop("persistence") == "warn"  # such is the test's server
        assert states == dict.fromkeys(
            ("redis", "worker", "scheduler", "clocks", "backlog", "lag", "producers", "database"),
            "ok",
        )

        worker.terminate()
        done = run("health", "worker", **environment)
        assert done.returncode == 1
        assert re.fullmatch(r"worker: no heartbeat from this host \(.+\); is .+\?\n", done.stdout)
        done = run("doctor", **environment)
        assert done.returncode == 1
        assert checks(done.stdout)["worker"] == "FAIL"
        assert "run `taskiq worker metrics_collector.tasks:broker`" in done.stdout


def test_the_demo_without_a_worker_and_without_a_micro_sign(redis_url: str) -> None:
    done = run("demo", "--seconds", "0.2", METRICS_REDIS_URL=redis_url, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "entries wait in Redis, and no worker has saved any yet." in done.stdout
    assert "worker: no heartbeat from this host" in done.stdout
    assert re.search(r"^demo\.parse_cart .*\?s", done.stdout, re.MULTILINE)
    with closing(redis.Redis.from_url(redis_url)) as client:
        assert client.llen("metrics_list") == sum(n for n, _ in counts_shown(done.stdout).values())


def test_the_doctor_makes_no_database(redis_url: str) -> None:
    done = run("doctor", REDIS_URL=redis_url, DATABASE_NAME="elsewhere.db")
    assert done.returncode == 1
    states = checks(done.stdout)
    assert (states["redis"], states["worker"], states["database"]) == ("ok", "FAIL", "warn")
    assert str(Path("elsewhere.db").absolute()) in done.stdout
    assert not Path("elsewhere.db").exists()


def test_no_part_of_a_password_is_shown(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis(requirepass="hush/hush")
    for url in (server.url, server.url.replace("hush", "wrong")):
        done = run("doctor", REDIS_URL=url)
        assert "hush" not in done.stdout + done.stderr
        assert checks(done.stdout)["redis"] == ("ok" if url == server.url else "FAIL")


def test_a_redis_that_never_answers_holds_up_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        done = run("doctor", REDIS_URL=f"redis://127.0.0.1:{port}/0")
    assert (done.returncode, done.stderr) == (1, "")
    assert checks(done.stdout) == {"redis": "FAIL", "database": "warn"}


def test_trouble_is_reported_once_and_not_logged_beside() -> None:
    Path("notes.txt").write_text("my notes\n" * 200)
    environment = {"REDIS_URL": "memory://", "DATABASE_NAME": "notes.txt"}
    done = run("doctor", **environment)
    assert (done.returncode, done.stderr) == (1, "")
    assert checks(done.stdout) == {"redis": "ok", "database": "FAIL"}
    done = run("errors", **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"metrics-collector: .*/notes\.txt is not a SQLite database; .*\n", done.stderr
    )
