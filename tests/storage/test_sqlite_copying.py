"""Copies of a database that others write to."""

from __future__ import annotations

import asyncio
import resource
import shutil
import sqlite3
import stat
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._storage.sqlite import SQLiteStore, copying
from tests.helpers.chunks import chunk_of
from tests.helpers.pipeline import NOON, all_same, contents, foreign
from tests.helpers.rows import rows
from tests.storage.runner import Runner, refusal
from tests.storage.test_contract import NOW, kept, reading
from tests.storage.test_sqlite_replaced import leave_log, put_away, save_more
from tests.storage.test_sqlite_users import as_nobody, not_writable

if TYPE_CHECKING:
    from pathlib import Path

MANY = [foreign(f"app.f{n % 9}", at=NOON + n) for n in range(3000)]


async def copied(store: SQLiteStore, copy: Path) -> int:
    async with reading(store) as reader:
        return await reader.copy(str(copy))


def test_a_copy_is_a_database_of_its_own(run: Runner, path: Path) -> None:
    run.save(path, MANY)
    path.chmod(0o640)
    copy = path.with_name("copy.db")
    assert run(copied(run.store(path), copy)) == copy.stat().st_size
    assert stat.S_IMODE(copy.stat().st_mode) == 0o640
    assert {one.name for one in path.parent.glob("copy*")} == {copy.name}
    one, other = run(kept(run.store(copy))), run(kept(run.store(path)))
    assert all_same(one.totals, other.totals)
    assert (one.state.db, one.state.no > other.state.no) == (other.state.db, True)
    assert one._replace(totals={}, state=other.state) == other._replace(totals={})
    path.unlink()
    assert len(contents(copy).entries) == len(MANY)
    run.save(copy, MANY, token="another")
    assert len(contents(copy).entries) == 2 * len(MANY)


def test_a_copy_is_of_one_moment(run: Runner, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run.save(path, MANY)
    copy = path.with_name("copy.db")
    monkeypatch.setattr(copying, "_PAGES", 5)
    saving = threading.Event()
    saved = 0

    def save() -> None:
        nonlocal saved
        while saving.is_set():
            saved += 1
            rows(path, "UPDATE totals SET error_count = error_count + 1")

    saving.set()
    writer = threading.Thread(target=save)
    writer.start()
    try:
        run(copied(run.store(path), copy))
    finally:
        saving.clear()
        writer.join()
    assert saved
    counts = {count for (count,) in rows(copy, "SELECT error_count FROM totals")}
    assert len(counts) == 1
    assert rows(copy, "PRAGMA integrity_check") == [("ok",)]


def test_what_is_only_in_the_log_is_copied(run: Runner, path: Path) -> None:
    run.save(path, MANY)
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as worker:
        worker.execute("UPDATE totals SET error_count = 7")
        run(copied(run.store(path), copy))
    assert {*rows(copy, "SELECT error_count FROM totals")} == {(7,)}


@pytest.mark.parametrize(
    "change",
    [
        "VACUUM",
        "CREATE INDEX more ON metrics (created_at)",
        "DELETE FROM metrics WHERE rowid % 3 = 0",
        "UPDATE metrics SET func_name = 'other' WHERE rowid % 3 = 0",
    ],
)
def test_another_program_changes_the_original_before_a_copy_is_restored(
    run: Runner, path: Path, change: str
) -> None:
    run.save(path, MANY)
    copy = path.with_name("copy.db")
    run(copied(run.store(path), copy))
    rows(path, change)
    leave_log(run, path, save_more)
    copy.replace(path)
    run.save(path, MANY, token="another")
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert len(contents(path).entries) == 2 * len(MANY)
    assert len(put_away(path)) == 1


def test_who_may_only_read_can_copy(run: Runner) -> None:
    with as_nobody() as folder, as_nobody() as own:
        path = folder / "metrics.db"
        run.save(path, MANY)
        with not_writable(folder):
            run(copied(run.store(path), own / "copy.db"))
        assert len(contents(own / "copy.db").entries) == len(MANY)


def test_a_disk_that_becomes_full(run: Runner, path: Path) -> None:
    run.save(path, MANY)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        message = refusal(
            lambda: run(copied(run.store(path), path.with_name("copy.db"))), StoreUnavailableError
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"the database {path} cannot be copied (" in message
    assert run.read(path)


def test_a_disk_that_has_too_little_room(
    run: Runner, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.save(path, MANY)
    usage = shutil.disk_usage(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=12_345))
    message = refusal(
        lambda: run(copied(run.store(path), path.with_name("copy.db"))), StoreUnavailableError
    )
    assert message.startswith("a copy needs ")
    assert message.endswith(" MB, and where it is to be written 0.0 MB are free")


def test_a_damaged_database_is_said_to_be_so(run: Runner, path: Path) -> None:
    run.save(path, MANY)
    (root,) = rows(path, "SELECT rootpage FROM sqlite_master WHERE name = 'rejected_entries'")[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xa5" * 4096)
    message = refusal(
        lambda: run(copied(run.store(path), path.with_name("copy.db"))), StoreUnavailableError
    )
    assert f"the database {path} " in message
    assert "damaged" in message or "malformed" in message


def test_a_copy_ends_between_two_parts_of_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Runner(plain=True).save(path, MANY)

    class Soon(threading.Event):
        asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            return self.asked > 3

    monkeypatch.setattr(copying, "_PAGES", 1)
    stop = Soon()
    with closing(sqlite3.connect(path)) as source, pytest.raises(copying._StoppedError):
        copying.copy(source, str(path.with_name("copy.db")), stop)
    assert stop.asked == 4


async def test_a_copy_that_nobody_waits_for_any_more_ends(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(str(path))
    async with store.writing() as writer:
        await writer.save(chunk_of("token", len(MANY), MANY), NOW)
    copy = path.with_name("copy.db")
    await asyncio.to_thread(copy.touch)
    begun, cancelled = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        begun.set()
        cancelled.wait()

    monkeypatch.setattr(copying, "_must_fit", wait)
    monkeypatch.setattr(copying, "_PAGES", 1)
    task = asyncio.create_task(copied(store, copy))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.sleep(0)
    cancelled.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await asyncio.to_thread(copy.stat)).st_size == 0
