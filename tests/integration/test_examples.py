"""The examples run as they stand, and what they print adds up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.helpers.processes import ROOT, Process
from tests.helpers.rows import rows

if TYPE_CHECKING:
    from tests.helpers.redis_server import RedisServer

ORDERS = 100  # of examples/main.py
REQUESTS = 200  # of examples/asgi_service.py


def _run(example: str, tmp_path: Path, **environment: str) -> str:
    with Process(
        ["-W", "error", str(ROOT / "examples" / example)],
        output=tmp_path / "output",
        environment=environment,
    ) as process:
        assert process.wait(150) == 0, process.output
        return process.output


def _calls(output: str) -> dict[str, int]:
    found = re.findall(r"^Function: (\S+)\nNumber of calls: (\d+)$", output, re.MULTILINE)
    return {name: int(calls) for name, calls in found}


def _rows() -> dict[str, int]:
    return dict(rows("metrics.db", "SELECT func_name, count(*) FROM metrics GROUP BY 1"))


def test_main_prints_each_report_and_the_rows(tmp_path: Path) -> None:
    output = _run("main.py", tmp_path)
    calls = _calls(output)
    assert calls["fetch_price"] == calls["charge_card"] == calls["order"] == ORDERS
    assert calls["shop.parse_coupon"] == ORDERS
    assert 0 < calls["render_receipt"] < ORDERS
    assert _rows() == calls
    for name, count in calls.items():
        assert re.search(rf"^{re.escape(name)} +{count} ", output, re.MULTILINE)


def test_main_on_a_redis_that_is_named(redis_server: RedisServer, tmp_path: Path) -> None:
    Path(".env").write_text(f"REDIS_URL={redis_server.url}\n")
    assert _calls(_run("main.py", tmp_path))["order"] == ORDERS
    assert _rows()["order"] == ORDERS


def test_asgi_service_answers_and_is_measured(tmp_path: Path) -> None:
    output = _run("asgi_service.py", tmp_path)
    assert f"{REQUESTS} requests, {REQUESTS * 9 // 10} answered" in output
    assert _calls(output) == {"get_order": REQUESTS, "load_order": REQUESTS}
    assert _rows() == {"get_order": REQUESTS, "load_order": REQUESTS}


def test_threads_and_processes_add_up(tmp_path: Path) -> None:
    # Several processes end at once at one database: on a busy machine that may take longer than usual.
    output = _run("threads_and_processes.py", tmp_path, METRICS_EXIT_TIMEOUT="30")
    assert "example.compute: 4000 calls in this run, 4000 expected" in output
    assert "example.wait: 4000 calls in this run, 4000 expected" in output
    assert _rows() == {"example.compute": 4000, "example.wait": 4000}


def test_threads_and_processes_on_one_redis(redis_server: RedisServer, tmp_path: Path) -> None:
    output = _run("threads_and_processes.py", tmp_path, REDIS_URL=redis_server.url)
    assert "example.compute: 4000 calls in this run, 4000 expected" in output
    assert "example.wait: 4000 calls in this run, 4000 expected" in output
