"""What the README says of settings, SQL and code is so."""

from __future__ import annotations

import ast
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from metrics_collector import MetricsCollector, Settings, flush, measure

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_settings_table_has_every_setting_with_its_default() -> None:
    table = dict(re.findall(r"^\| ((?:`[A-Z_]+`(?:, )?)+) \| (.*?) \|", README, re.MULTILINE))
    rows = {name: default for names, default in table.items() for name in re.findall(r"\w+", names)}
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert {name.removeprefix("METRICS_").lower() for name in rows} == defaults.keys()
    for variable, shown in rows.items():
        name = variable.removeprefix("METRICS_").lower()
        if shown == "unset":
            assert defaults[name] is None
        elif shown == "`REDIS_URL`":
            assert (
                getattr(Settings(redis_url="redis://elsewhere:1/2"), name)
                == "redis://elsewhere:1/2"
            )
        else:
            assert str(getattr(Settings(), name)).lower().removesuffix(".0") == shown.strip("`")


@pytest.mark.parametrize("block", _blocks("python"))
def test_python_blocks_are_python(block: str) -> None:
    compile(block, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)


async def test_the_queries_answer() -> None:
    async with MetricsCollector(Settings(redis_url="memory://")):
        for _ in range(12):
            with measure("charge_card"):
                pass
        with pytest.raises(OSError, match="no"), measure("charge_card"):
            raise OSError("no")
        await flush()
    statements = [s for s in "".join(_blocks("sql")).split(";") if s.strip()]
    with closing(sqlite3.connect("metrics.db")) as database:
        slowest, failures, calls = (database.execute(s).fetchall() for s in statements)
    assert [row[:2] for row in slowest] == [("charge_card", 13)]
    assert [row[:3] for row in failures] == [("charge_card", "OSError", 1)]
    assert len(calls) == 10


def test_the_test_command_is_the_one_that_ci_runs() -> None:
    assert ".venv/bin/python -m pytest\n" in README
    assert "-m pytest" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
