"""`backup`: what it writes, and what it refuses."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metrics_collector import flush, measure
from metrics_collector._reading import reports
from tests.helpers.pipeline import contents

if TYPE_CHECKING:
    from tests.cli.conftest import Complaint, Output


@pytest.fixture(autouse=True)
def saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that was made just now, and is saved."""
    monkeypatch.setenv("REDIS_URL", "memory://")
    with measure("shop.checkout"):
        pass
    asyncio.run(flush())


def test_it_says_what_it_has_written(output: Output) -> None:
    said = re.fullmatch(r"[0-9.]+ kB in (metrics\.db\.\d{8}T\d{6}Z\.backup)\n", output("backup"))
    assert said
    assert len(contents(said[1]).entries) == 1
    assert re.fullmatch(r"[0-9.]+ kB in copy\.db\n", output("backup copy.db"))
    assert contents("copy.db").entries == contents(said[1]).entries
    found = {one.name for one in Path.cwd().iterdir()}
    assert found - {"metrics.db-wal", "metrics.db-shm"} == {"metrics.db", "copy.db", said[1]}


@pytest.mark.parametrize(
    ("name", "said"),
    [("metrics.db", "File exists"), ("link", "File exists"), ("no/copy.db", "No such file or")],
)
def test_what_cannot_be_written(name: str, said: str, complaint: Complaint) -> None:
    Path("link").symlink_to("nowhere")
    before = Path("metrics.db").read_bytes()
    assert complaint(f"backup {name}").startswith(f"{name!r} cannot be written: {said}")
    assert Path("metrics.db").read_bytes() == before


def test_there_is_no_database(complaint: Complaint) -> None:
    Path("metrics.db").unlink()
    message = f"there is no database at {Path.cwd()}/metrics.db yet"
    assert complaint("backup copy.db", status=1) == message
    assert [*Path.cwd().iterdir()] == []


def test_somebody_else_takes_the_name_meanwhile(
    monkeypatch: pytest.MonkeyPatch, complaint: Complaint
) -> None:
    async def backup(file: str) -> int:
        await asyncio.to_thread(Path("copy.db").write_text, "somebody's")
        return 1

    monkeypatch.setattr(reports, "backup", backup)
    message = complaint("backup copy.db", status=1)
    assert message == "'copy.db' cannot be written: File exists"
    assert Path("copy.db").read_text() == "somebody's"
    assert {one.name for one in Path.cwd().iterdir()} == {"metrics.db", "copy.db"}


def test_a_signal_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, complaint: Complaint
) -> None:
    async def backup(file: str) -> int:
        status = await asyncio.to_thread(Path(file).stat)
        assert status.st_mode & 0o777 == 0o600
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(60)
        raise AssertionError

    monkeypatch.setattr(reports, "backup", backup)
    with pytest.raises(SystemExit):
        complaint("backup copy.db")
    assert {one.name for one in Path.cwd().iterdir()} == {"metrics.db"}
