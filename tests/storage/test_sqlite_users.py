"""What this user may not read or write, and what other users leave."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiosqlite  # noqa: F401 - as another user, nothing may be left to load from a folder of this one
import pytest

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._storage.reopening import BeginAgainError
from metrics_collector._storage.sqlite import session as session_module
from metrics_collector._storage.sqlite import write_ahead_log
from tests.helpers.pipeline import contents, foreign
from tests.helpers.rows import rows
from tests.storage.runner import refusal
from tests.storage.test_contract import reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.storage.runner import Runner

ROOT = os.geteuid() == 0
NOBODY = 65_534  # ids of users
OTHER = 65_533


@contextmanager
def as_user(user: int) -> Iterator[None]:
    """Be another user of the same group, if this is root; else nothing changes."""
    before = os.geteuid()
    if ROOT:
        os.seteuid(0)
        os.seteuid(user)
    try:
        yield
    finally:
        if ROOT:
            os.seteuid(0)
            os.seteuid(before)


@contextmanager
def as_nobody() -> Iterator[Path]:
    """Be a user whom permissions stop, which they do not root; gives a folder of that user's."""
    folder = Path(tempfile.mkdtemp())
    if ROOT:
        os.chown(folder, NOBODY, -1)
    try:
        with as_user(NOBODY):
            yield folder
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


def test_a_read_only_folder(run: Runner) -> None:
    with as_nobody() as folder:
        path = folder / "metrics.db"
        folder.chmod(0o500)
        message = run.refused_save(path)
        assert message == (
            f"the database {path} cannot be used (unable to open database file): "
            "its folder must exist and be writable by this user"
        )
        assert run.read(path) is None
        folder.chmod(0o700)
        run.save(path, [foreign()])
        folder.chmod(0o500)  # the file may be written, its folder not
        message = run.refused_save(path)
        assert "its folder must" in message or "and its folder must be writable" in message


def test_a_read_only_file(run: Runner) -> None:
    with as_nobody() as folder:
        path = folder / "metrics.db"
        run.save(path, [foreign()])
        path.chmod(0o400)
        message = run.refused_save(path)
        assert message == (
            f"the database {path} cannot be used (attempt to write a readonly database): "
            "the file and its folder must be writable by this user"
        )
        assert (run.read(path) or {}).keys() == {"app.f"}
        path.chmod(0o000)
        message = refusal(lambda: run.read(path), StoreUnavailableError)
        assert message == f"the database {path} cannot be read: let this user read the file"
        folder.chmod(0o000)
        assert "enter its folder" in refusal(lambda: run.read(path), StoreUnavailableError)
        assert "enter its folder" in str(asyncio.run(run.store(path).describe()).error)


@contextmanager
def not_writable(folder: Path) -> Iterator[None]:
    for path in folder.iterdir():
        path.chmod(0o400)
    folder.chmod(0o500)
    try:
        yield
    finally:
        folder.chmod(0o700)
        for path in folder.iterdir():
            path.chmod(0o600)


@pytest.mark.parametrize("log", ["none", "in use", "left over", "without its index"])
def test_a_folder_that_a_reader_may_not_write_is_read_whatever_the_log(
    run: Runner, log: str
) -> None:
    with as_nobody() as folder:
        path = folder / "metrics.db"
        run.save(path, [foreign()])
        with closing(sqlite3.connect(path)) as worker:
            if log != "none":
                worker.execute("UPDATE totals SET call_count = 7")
                worker.commit()
            if log in {"left over", "without its index"}:
                kept = [path, Path(f"{path}-wal"), Path(f"{path}-shm")]
                copies = {one: one.read_bytes() for one in kept}
                worker.close()
                for one, content in copies.items():
                    one.write_bytes(content)
            if log == "without its index":
                Path(f"{path}-shm").unlink()
            elif log == "none":
                worker.close()
            with not_writable(folder):
                if log == "without its index":
                    message = refusal(lambda: run.read(path), StoreUnavailableError)
                    assert f"as {path}-wal holds a part of it: let this user" in message
                else:
                    totals = run.read(path) or {}
                    assert totals["app.f"].counts["call_count"] == (1 if log == "none" else 7)


@pytest.mark.parametrize("moved", [True, False])
def test_what_is_written_while_a_reader_without_a_log_reads(run: Runner, moved: bool) -> None:
    with as_nobody() as folder:
        path = folder / "metrics.db"
        run.save(path, [foreign()])

        async def read() -> None:
            async with reading(run.store(path)) as store:
                assert await store.function_names() == ["app.f"]
                folder.chmod(0o700)
                change = "UPDATE totals SET call_count = 7"
                rows(path, change, *["PRAGMA wal_checkpoint"] * moved)
                folder.chmod(0o500)
                found = await store.totals_of(["app.f"])
                assert found["app.f"].totals.counts["call_count"] == 1

        folder.chmod(0o500)
        if moved:  # from the log into the file
            with pytest.raises(BeginAgainError, match="was written to"):
                run(read())
        else:
            run(read())
        assert (run.read(path) or {})["app.f"].counts["call_count"] == 7


# Several users


@pytest.mark.parametrize("mode", [0o770, 0o3775])
def test_a_reader_of_another_user_keeps_nobody_from_saving(run: Runner, mode: int) -> None:
    with as_nobody() as folder:
        folder.chmod(mode)
        path = folder / "metrics.db"
        run.save(path, [foreign()])
        with as_user(OTHER):
            assert (run.read(path) or {}).keys() == {"app.f"}
        if ROOT:
            assert [one.name for one in folder.iterdir()] == [path.name]
        run.save(path, [foreign()], token="1" * 16)
        assert len(contents(path).entries) == 2


def test_a_link_to_a_file_whose_log_is_in_use_is_read_with_the_log(run: Runner) -> None:
    with as_nobody() as folder:
        path = folder / "metrics.db"
        run.save(path, [foreign()])
        link = folder / "link"
        link.symlink_to(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as worker:
            worker.execute("UPDATE totals SET call_count = 7")
            folder.chmod(0o555)
            with as_user(OTHER):
                totals = run.read(link) or {}
        assert totals["app.f"].counts["call_count"] == 7


def log_of_a_killed_writer(path: Path) -> bytes:
    """A log with a change of which nothing came into the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("UPDATE totals SET call_count = 7")
        log, file = Path(f"{path}-wal").read_bytes(), path.read_bytes()
    path.write_bytes(file)
    return log


def test_a_reader_of_another_user_makes_no_index_for_a_log_that_has_none(run: Runner) -> None:
    with as_nobody() as folder:
        folder.chmod(0o770)
        path = folder / "metrics.db"
        run.save(path, [foreign()])
        index = Path(f"{path}-shm")
        Path(f"{path}-wal").write_bytes(log_of_a_killed_writer(path))
        if ROOT:
            with as_user(OTHER):
                message = refusal(lambda: run.read(path), StoreUnavailableError)
            assert "or start a worker, which ends that" in message
            assert not index.exists()
        run.save(path, [foreign()], token="1" * 16)
        assert (run.read(path) or {})["app.f"].counts["call_count"] == 8


@contextmanager
def reading_as_other(path: Path) -> Iterator[None]:
    """Have the database open as a program of another user that only reads, and leave what it leaves."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
        with as_user(OTHER):
            reader.execute("SELECT count(*) FROM metrics").fetchall()
            for log in (Path(f"{path}-wal"), Path(f"{path}-shm")):
                log.chmod(0o444)
        yield


@pytest.mark.parametrize("linked", [True, False])
def test_a_log_that_another_user_has_left_is_deleted(run: Runner, linked: bool) -> None:
    with as_nobody() as folder:
        folder.chmod(0o770)
        path = folder / "metrics.db"
        run.save(path, [foreign()])
        with reading_as_other(path):
            pass
        link = folder / "link"
        link.symlink_to(path)
        run.save(link if linked else path, [foreign()], token="1" * 16)
        assert len(contents(path).entries) == 2
        assert {one.name for one in folder.iterdir()} == {path.name, link.name}


def test_a_log_of_another_user_is_left_alone_while_somebody_has_the_database_open(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "BUSY_TIMEOUT", 0.05)
    with as_nobody() as folder:
        folder.chmod(0o770)
        path = folder / "metrics.db"
        run.save(path, [foreign()])
        with reading_as_other(path):
            assert run.refused_save(path) == (
                f"the database {path} cannot be written, as {path}-wal is another user's (database is locked): "
                "end the program that has the database open, or give that file to this user by chown"
            )
        run.save(path, [foreign()], token="1" * 16)
        assert len(contents(path).entries) == 2


def test_a_log_of_another_user_that_is_not_empty_is_kept(run: Runner) -> None:
    with as_nobody() as folder:
        folder.chmod(0o770)
        path = folder / "metrics.db"
        run.save(path, [foreign()])
        log = Path(f"{path}-wal")
        content = log_of_a_killed_writer(path)
        with as_user(OTHER):
            log.write_bytes(content)
            log.chmod(0o444)
        assert "is another user's (it is not empty): " in run.refused_save(path)
        with as_user(OTHER):
            log.chmod(0o666)
        run.save(path, [foreign()], token="1" * 16)
        assert (run.read(path) or {})["app.f"].counts["call_count"] == 8


def test_a_file_that_is_deleted_as_a_reader_looks(tmp_path: Path) -> None:
    assert write_ahead_log.may_be_made(str(tmp_path / "metrics.db"))
