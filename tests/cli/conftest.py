"""Runs commands in this process."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

import pytest

from metrics_collector import cli
from metrics_collector._runtime.collector import collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[[str], "Ran"]
    Output = Callable[[str], str]
    Complaint = Callable[..., str]


class Ran(NamedTuple):
    """What became of a command."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def own_settings() -> Iterator[None]:
    """Let each test read its own settings, as each command does in its own process."""
    collector.reset()
    yield
    collector.reset()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command."""
    return lambda command: Ran(cli.run(shlex.split(command)), *capsys.readouterr())


@pytest.fixture
def output(run: Run) -> Output:
    """What a command writes that has nothing to complain of."""

    def output_of(command: str) -> str:
        status, out, err = run(command)
        assert (status, err) == (0, "")
        assert "\x1b" not in out
        return out

    return output_of


@pytest.fixture
def complaint(run: Run) -> Complaint:
    """The one line that a command says, without its own name, when it is all that it does."""

    def complaint_of(command: str, status: int = 2) -> str:
        ran = run(command)
        assert (ran.status, ran.out) == (status, "")
        line = re.fullmatch(r"metrics-collector: (.*)\n", ran.err)
        assert line, ran.err
        return line[1]

    return complaint_of
