"""What `--help` of each command says, and what it says of input that it cannot read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest
import typer.main

from metrics_collector.cli._app import app

if TYPE_CHECKING:
    from tests.cli.conftest import Complaint, Output

GROUP: Final[Any] = typer.main.get_command(app)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("command", ["", *GROUP.commands])
def test_help_is_plain_text_that_fits(
    command: str, width: int, monkeypatch: pytest.MonkeyPatch, output: Output
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = output(f"{command} --help")
    assert text.startswith(f"Usage: metrics-collector {command}".rstrip())
    assert max(map(len, text.splitlines())) <= 80
    # Of typer: `{FUNCTION}`, `FILTER <str>`, `[[FILTER]]`, `\[default: 5]`, `[x>=1]`. Of rich: `[bold]`, `[/]`.
    assert not re.findall(r"[{}<>\\]|\[\[|\[/?[a-z ]*\]", text.replace("[required]", ""))
    assert not re.findall(r"\[default:\s*\n", text)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("demo --seconds x", "'x' is not a number from 0.1 to 3600"),
        ("demo --seconds nan", "'nan' is not a number from 0.1 to 3600"),
        ("top --interval 0", "'0' is not a number from 0.1 to 3600"),
        ("stats --limit 0", "'0' is not a whole number from 1 on"),
        ("stats --limit 1.5", "'1.5' is not a whole number from 1 on"),
        ("stats --sort size", "'size' is not one of total, calls, errors, average, p50,"),
        ("history f --what size", "'size' is not one of calls, errors, average, p50, p90,"),
        ("export --format xml", "'xml' is not one of csv, jsonl"),
        ("dashboard --port 70000", "'70000' is not a whole number from 0 to 65535"),
        ("dashboard --port http", "'http' is not a whole number from 0 to 65535"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_can(
    command: str, said: str, complaint: Complaint
) -> None:
    option = re.escape(command.split()[-2])
    assert re.match(rf"Invalid value for '{option}': {re.escape(said)}", complaint(command))
