"""A file that was deleted or replaced, beside the write-ahead log of the one before it."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metrics_collector._errors import IncompatibleStoreError, StoreUnavailableError
from metrics_collector._storage.sqlite import log_ownership, write_ahead_log
from tests.helpers.chunks import chunk_of
from tests.helpers.older_databases import VERSIONS, make_older
from tests.helpers.pipeline import NOON, contents, foreign
from tests.helpers.rows import rows
from tests.storage.runner import refusal
from tests.storage.test_contract import NOW
from tests.storage.test_sqlite_users import as_nobody, not_writable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from metrics_collector._storage.base import StoreWriter
    from tests.storage.runner import Runner

    Copy = Callable[[Path, Path], object]
    Swap = Callable[[Path, Path], object]

FEW = [foreign()]
MANY = [foreign(f"app.f{n % 9}", at=NOON + n) for n in range(400)]


def backup(path: Path, copy: Path) -> None:
    with closing(sqlite3.connect(path)) as original, closing(sqlite3.connect(copy)) as other:
        original.backup(other)


def vacuum(path: Path, copy: Path) -> None:
    rows(path, f"VACUUM INTO '{copy}'")


def overwrite(copy: Path, path: Path) -> None:
    shutil.copyfile(copy, path)


def make_anew(copy: Path, path: Path) -> None:
    path.unlink()
    shutil.copyfile(copy, path)


COPIES = {"cp": shutil.copyfile, "backup": backup, "VACUUM INTO": vacuum}
SWAPS = {"mv": Path.replace, "cp": overwrite, "rm, cp": make_anew}
copies = pytest.mark.parametrize("make", COPIES.values(), ids=COPIES.keys())
swaps = pytest.mark.parametrize("swap", SWAPS.values(), ids=SWAPS.keys())


def leave_log_of_another(path: Path, *statements: str) -> None:
    """The log of another program that has done this and was killed."""
    file, log = path.read_bytes(), Path(f"{path}-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA wal_autocheckpoint = 0")
        for statement in statements:
            other.execute(statement)
        content = log.read_bytes()
    path.write_bytes(file)
    log.write_bytes(content)


def leave_log(run: Runner, path: Path, work: Callable[[StoreWriter], Awaitable[object]]) -> None:
    """Do something in a process that is killed before anything of it comes into the file."""

    async def begin() -> dict[Path, bytes]:
        async with run.store(path).writing() as writer:
            await work(writer)
            return {one: one.read_bytes() for one in (path, Path(f"{path}-wal"))}

    for one, content in run(begin()).items():
        one.write_bytes(content)


async def save_more(writer: StoreWriter) -> None:
    for n in range(3):
        assert await writer.save(chunk_of(f"more {n}", len(MANY), MANY), NOW)


def put_away(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}-wal.replaced-*"))


# The file's own log


async def purge(writer: StoreWriter) -> None:
    assert (await writer.purge({"entry": NOON + 200, "minute": NOON + 3600}, NOW)).entries


async def forget(writer: StoreWriter) -> None:
    await writer.forget_old_ledger(NOW + 1)


async def draw(writer: StoreWriter) -> None:
    db, _ = await writer.state()
    assert await writer.draw_new_db(db) != db


async def in_turn(writer: StoreWriter) -> None:
    for step in (purge, save_more, forget, draw, save_more, purge):
        await step(writer)


@pytest.mark.parametrize(
    ("work", "older"),
    [
        *((work, None) for work in (save_more, purge, forget, draw, in_turn)),
        *((in_turn, version) for version in VERSIONS),
    ],
)
def test_the_log_of_a_killed_writer_is_recovered(
    run: Runner, path: Path, work: Callable[[StoreWriter], Awaitable[None]], older: int | None
) -> None:
    run.save(path, MANY)
    if older is not None:
        make_older(path, older)
    leave_log(run, path, work)
    copy = path.with_name("copy")
    copy.mkdir()
    for one in (path, Path(f"{path}-wal")):
        shutil.copy(one, copy)
    db, no, count = rows(copy / path.name, "SELECT db, no, count(*) FROM meta, metrics")[0]
    assert run.read(path)
    assert rows(path, "SELECT db, no, count(*) FROM meta, metrics") == [(db, no, count)]
    run.save(path, FEW, token="another")
    assert rows(path, "SELECT count(*) FROM metrics") == [(count + 1,)]
    assert put_away(path) == []


def test_a_writer_is_killed_as_it_makes_the_database(run: Runner, path: Path) -> None:
    with closing(sqlite3.connect(path)) as empty:
        empty.execute("PRAGMA auto_vacuum = INCREMENTAL")
        empty.execute("PRAGMA journal_mode = WAL")
    leave_log(run, path, save_more)
    run.save(path, FEW)
    assert len(contents(path).entries) == 3 * len(MANY) + 1


def test_a_log_of_another_program_is_taken(run: Runner, path: Path) -> None:
    run.save(path, FEW)
    leave_log_of_another(path, "UPDATE totals SET call_count = 7")
    assert (run.read(path) or {})["app.f"].counts["call_count"] == 7
    run.save(path, FEW, token="another")
    assert rows(path, "SELECT call_count FROM totals") == [(8,)]
    assert put_away(path) == []


# Another file's


@copies
@swaps
def test_a_copy_is_restored_beside_the_log_of_a_killed_writer(
    run: Runner, path: Path, make: Copy, swap: Swap
) -> None:
    run.save(path, MANY)
    copy = path.with_name("copy.db")
    make(path, copy)
    run.save(path, MANY, token="lost")
    leave_log(run, path, save_more)
    log = Path(f"{path}-wal").read_bytes()
    swap(copy, path)
    saved = run.save(path, FEW, token="another")
    assert saved.saved == 1
    assert len(contents(path).entries) == len(MANY) + 1
    (kept,) = put_away(path)
    assert kept.read_bytes() == log
    run.save(path, FEW, token="and another")
    assert len(contents(path).entries) == len(MANY) + 2


@copies
def test_a_reader_comes_first(run: Runner, path: Path, make: Copy) -> None:
    run.save(path, MANY)
    copy = path.with_name("copy.db")
    make(path, copy)
    run.save(path, MANY, token="lost")
    leave_log(run, path, save_more)
    copy.replace(path)
    assert sum(one.counts["call_count"] for one in (run.read(path) or {}).values()) == len(MANY)
    assert len(put_away(path)) == 1


@copies
@swaps
def test_a_copy_of_the_state_from_which_the_log_goes_on(
    run: Runner, path: Path, make: Copy, swap: Swap
) -> None:
    run.save(path, MANY)
    copy = path.with_name("copy.db")
    make(path, copy)
    leave_log(run, path, save_more)
    swap(copy, path)
    assert run.save(path, FEW, token="another").saved == 1
    # Either is sound: it goes on from there, or that is left out.
    count = len(MANY) * (1 if put_away(path) else 4)
    assert len(contents(path).entries) == count + 1


def test_a_database_that_was_deleted_is_made_anew(run: Runner, path: Path) -> None:
    run.save(path, MANY)
    leave_log(run, path, save_more)
    path.unlink()
    assert run.read(path) is None
    assert run.save(path, MANY).saved == len(MANY)
    assert len(contents(path).entries) == len(MANY)
    assert len(put_away(path)) == 1


def test_another_programs_database_takes_the_place(run: Runner, path: Path) -> None:
    run.save(path, MANY)
    leave_log(run, path, save_more)
    path.unlink()
    other = path.with_name("other.db")
    rows(other, "CREATE TABLE their (x)")
    before = other.read_bytes()
    other.replace(path)
    assert "another program's" in refusal(lambda: run.read(path), IncompatibleStoreError)
    assert path.read_bytes() == before


def test_who_may_not_move_the_log_is_given_the_remedy(run: Runner) -> None:
    with as_nobody() as folder:
        path = folder / "metrics.db"
        run.save(path, MANY)
        shutil.copyfile(path, folder / "copy.db")
        run.save(path, MANY, token="lost")
        leave_log(run, path, save_more)
        (folder / "copy.db").replace(path)
        with not_writable(folder):
            for work in (lambda: run.read(path), lambda: run.save(path, FEW)):
                message = refusal(work, StoreUnavailableError)
                assert f"{path}-wal is not the log of the database {path}" in message
                assert f"stop the workers, delete it and {path}-shm" in message
        assert run.save(path, FEW, token="another").saved == 1
        assert len(contents(path).entries) == len(MANY) + 1


def test_of_two_who_see_it_one_puts_it_away(run: Runner, path: Path) -> None:
    run.save(path, MANY)
    leave_log(run, path, save_more)
    path.unlink()
    log = Path(f"{path}-wal")
    with log.open("rb", buffering=0) as seen:
        log.replace(path.with_name("away"))
        log.write_bytes(b"another one")
        log_ownership._put_away(str(path), seen)
    assert log.read_bytes() == b"another one"


def test_a_log_that_somebody_writes_is_looked_at_again(
    run: Runner, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.save(path, MANY)
    leave_log(run, path, save_more)
    file = path.read_bytes()
    path.unlink()
    looks: list[bool] = []

    def write(_: float) -> None:
        looks.append(path.exists())
        path.write_bytes(file)

    monkeypatch.setattr(time, "sleep", write)
    assert log_ownership.is_own(str(path), 0, 0.0)
    assert looks == [False]


def test_a_table_of_the_same_kind_is_not_taken_for_ours(run: Runner, path: Path) -> None:
    run.save(path, FEW)
    leave_log_of_another(
        path,
        "CREATE TABLE mine (name TEXT, a INTEGER, b INTEGER, c INTEGER)",
        "INSERT INTO mine VALUES ('sixteen letters.', 5, 0, 4)",
    )
    run.save(path, FEW, token="another")
    assert rows(path, "SELECT a FROM mine") == [(5,)]
    assert put_away(path) == []


# Under a session


@copies
@swaps
@pytest.mark.parametrize("before", [True, False], ids=["an old copy", "a copy of now"])
def test_a_copy_is_restored_while_a_session_is_open(
    run: Runner, path: Path, make: Copy, swap: Swap, before: bool
) -> None:
    run.save(path, MANY)
    copy = path.with_name("copy.db")
    make(path, copy)
    if before:
        run.save(path, MANY, token="lost")

    async def go() -> None:
        async with run.store(path).writing() as writer:
            assert await writer.save(chunk_of("lost, too", len(MANY), MANY), NOW)
            swap(copy, path)
            in_place = await writer.save(chunk_of("new", len(MANY), MANY), NOW)
        if not in_place:
            async with run.store(path).writing() as writer:
                assert await writer.save(chunk_of("new", len(MANY), MANY), NOW)

    run(go())
    # A copy of the very state that the log goes on from may become what the original was.
    count = 2 if put_away(path) else 3
    assert len(contents(path).entries) == count * len(MANY)
    assert count == 2 or not before


def test_somebody_has_the_file_open_that_was_replaced(run: Runner, path: Path) -> None:
    run.save(path, MANY)
    copy = path.with_name("copy.db")
    shutil.copyfile(path, copy)
    run.save(path, MANY, token="lost")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("SELECT count(*) FROM metrics").fetchall()
        run.save(path, MANY, token="lost, too")
        copy.replace(path)
        run.save(path, FEW, token="another")
        assert other.execute("SELECT count(*) FROM metrics").fetchone() == (3 * len(MANY),)
        other.execute("DELETE FROM metrics")
        assert len(contents(path).entries) == len(MANY) + 1
    run.save(path, FEW, token="and another")
    assert len(contents(path).entries) == len(MANY) + 2
    assert len(put_away(path)) == 1


@swaps
def test_a_file_that_was_replaced_is_opened_by_mistake(
    run: Runner, path: Path, swap: Swap, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.save(path, MANY)
    copy = path.with_name("copy.db")
    shutil.copyfile(path, copy)
    run.save(path, MANY, token="lost")
    before = copy.read_bytes()
    leave_log(run, path, save_more)
    delete_others = write_ahead_log.delete_others

    def swap_first(*arguments: object) -> None:
        monkeypatch.setattr(write_ahead_log, "delete_others", delete_others)
        swap(copy, path)

    monkeypatch.setattr(write_ahead_log, "delete_others", swap_first)
    if swap is not overwrite:
        assert "was deleted or replaced" in run.refused_save(path)
        assert path.read_bytes() == before
        run.save(path, FEW, token="another")
        assert len(contents(path).entries) == len(MANY) + 1
