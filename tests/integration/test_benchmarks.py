"""That the benchmarks run, and write what they found; what they found is not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.__main__ import GROUPS
from tests.helpers.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CHEAP = ("calls", "imports", "reading", "growth")


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.benchmarks", *arguments]
    return subprocess.run(
        command, check=False, cwd=ROOT, timeout=150, capture_output=True, text=True
    )


@pytest.mark.usefixtures("redis_server")  # skips the test where there is none
def test_a_quick_run_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    file = tmp_path / "found.json"

    done = benchmarks(*CHEAP, "--quick", "--json", str(file))

    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert {line["group"] for line in found["lines"]} == set(CHEAP)
    for line in found["lines"]:
        assert line["value"] > 0, line
        assert line["reference_value"] > 0, line
        assert line["low"] <= line["ratio"] <= line["high"], line
        assert line["name"] in done.stdout
    assert found["machine"]["python"] in done.stdout


def test_an_unknown_group_is_refused_with_those_there_are() -> None:
    done = benchmarks("speed")

    assert done.returncode == 2
    for group in GROUPS:
        assert group in done.stderr
