"""The package away from its folder: in a zip, and in a program that PyInstaller froze."""

from __future__ import annotations

import json
import re
import runpy
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zipfile import ZipFile

import httpx
import psycopg
import pytest

import metrics_collector
from tests.helpers import dashboard as dashboards
from tests.helpers import packed_program
from tests.helpers.commands import LIMIT, finished
from tests.helpers.processes import Process
from tests.helpers.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers.redis_server import RedisServer

PACKAGE: Final = Path(metrics_collector.__file__).parent
FREEZING: Final = 900  # seconds that it may take; some 60 are usual
# What optional imports of others would bring from the environment of these tests.
UNUSED: Final = ("hypothesis", "mypy", "numpy", "pytest")


def files_of_the_package() -> Iterator[Path]:
    return (file for file in PACKAGE.rglob("*") if file.is_file() and file.suffix != ".pyc")


def zipped(folder: Path) -> list[str]:
    """The program and the package in one zip; what the package needs stays where it is installed."""
    path = folder / "packed.pyz"
    with ZipFile(path, "w") as archive:
        archive.write(packed_program.__file__, "__main__.py")
        for file in files_of_the_package():
            archive.write(file, file.relative_to(PACKAGE.parent))
    return [sys.executable, str(path)]


def frozen(folder: Path) -> list[str]:
    """The program as PyInstaller makes it, with all that it needs."""
    process = Process(
        ["-m", "PyInstaller", "--name", "packed", "--distpath", str(folder), "--log-level", "WARN"]
        + [f"--exclude-module={name}" for name in UNUSED]
        + [packed_program.__file__],
        output=folder / "freezing.txt",
    )
    with process:
        assert process.wait(FREEZING) == 0, process.output
    return [str(folder / "packed" / "packed")]


def check(program: list[str], folder: Path) -> None:
    """Run the job, the demo and the dashboard, none of which finds a source of the package."""
    done = finished(*program, "job")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert Path(told.pop("from")).is_relative_to(folder)
    assert told == {"saved": 10, "call_count": 10, "ZeroDivisionError": 1}

    demo = finished(*program, "demo", "--seconds", "0.1", REDIS_URL="")
    assert demo.returncode == 0, demo.stderr
    database, output = folder / "metrics-demo.db", folder / "dashboard.txt"
    with (
        dashboards.dashboard(database, output, program=program) as served,
        httpx.Client(base_url=served.url(), timeout=LIMIT) as browser,
    ):
        page = browser.get("/")
        assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)
        assert {Path(asset).name for asset in assets} >= {"app.js", "plotly.js", "style.css"}
        views = ["/", "/errors", "/pipeline", "/api", "/api/overview"]
        assert {browser.get(path).status_code for path in (*views, *assets)} == {200}


@pytest.mark.integration
def test_a_zip_has_all_that_it_needs(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):  # the zip will be gone
        monkeypatch.delenv(name, raising=False)
    check(zipped(tmp_path), tmp_path)


@pytest.mark.integration
@pytest.mark.long
@pytest.mark.timeout(FREEZING + 300)
def test_a_frozen_program_has_all_that_it_needs(
    redis_server: RedisServer, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = frozen(tmp_path)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    check(program, tmp_path)
    again = finished(*program, "job", METRICS_DATABASE_URL=postgres_url)
    assert again.returncode == 0, again.stderr
    with psycopg.connect(postgres_url) as database:
        saved = database.execute("SELECT count(*) FROM metrics_collector.metrics").fetchone()
    assert saved == (10,)
    with Terminal("top", program=program, columns=80) as terminal:
        terminal.see("packed.divide")
    with Process(
        ["taskiq", "worker", "metrics_collector.tasks:broker", "--workers", "1"],
        program=program,
        output=tmp_path / "worker.txt",
    ) as worker:
        worker.until(lambda: finished(*program, "health").returncode == 0)


def test_the_hooks_collect_each_file_that_is_no_module() -> None:
    (entry,) = entry_points(group="pyinstaller40", module="metrics_collector._pyinstaller")
    (folder,) = entry.load()()
    hooks = [
        # As modules of the package, so that coverage counts them.
        runpy.run_path(str(file), run_name=f"{entry.module}.{file.stem}")
        for file in Path(folder).glob("hook-*.py")
    ]

    collected = {Path(source) for hook in hooks for source, _ in hook.get("datas", ())}
    others = {file for file in files_of_the_package() if file.suffix != ".py"}
    assert others - {PACKAGE / "py.typed"} == {f for f in collected if f.is_relative_to(PACKAGE)}
    assert {"plotly.min.js", "commands.json"} <= {file.name for file in collected}

    modules = {name for hook in hooks for name in hook.get("hiddenimports", ())}
    assert {"metrics_collector.tasks", "taskiq.cli.worker.cmd", "lupa.lua51"} <= modules
    assert not [name for name in modules if name.startswith("metrics_collector.cli")]
