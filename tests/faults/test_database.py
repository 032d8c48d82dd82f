"""A database that cannot be written, or is not the one that it was."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metrics_collector._storage.sqlite.database_file import identity
from tests.faults import breaking, oracle
from tests.faults.world import BROKEN_WORKER, SAVED_BY, World, children
from tests.helpers.locking import locked
from tests.helpers.pipeline import contents

if TYPE_CHECKING:
    from tests.helpers.processes import Process

LOCKED = 30.0  # seconds
SAID_BY = 150.0  # seconds; they look around once a minute, and say what they find twice


@pytest.mark.timeout(300)
def test_another_process_locks_the_database_for_half_a_minute(world: World) -> None:
    worker, scheduler = world.worker(), world.scheduler()
    world.producer("app", 0, 1000)
    worker.until(lambda: world.rows() > 0)
    with locked(world.database):
        worker.until(lambda: "another program holds its lock" in worker.output)
        rows = world.rows()
        time.sleep(LOCKED)
        assert world.rows() == rows
        assert worker.output.count("cannot save entries") == 1
    world.end(worker, scheduler)


def test_no_file_may_grow_any_more(world: World) -> None:
    worker = world.worker()
    world.producer("app", 0, 2000)
    worker.until(lambda: world.rows() > 0)
    (pid,) = children(worker)
    usual = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (world.database.stat().st_size, usual[1]))
    worker.until(lambda: "the disk does not answer or is full" in worker.output)
    worker.until(lambda: world.waiting() > 4000)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, usual)
    world.end(worker)


def test_the_database_takes_no_page_more(world: World) -> None:
    worker = world.worker(BROKEN_WORKER)
    world.producer("app", 0, 2000)
    worker.until(lambda: world.rows() > 0)
    full = Path(breaking.FULL)
    full.touch()
    worker.until(lambda: "the disk is full; make room" in worker.output)
    worker.until(lambda: world.waiting() > 4000)
    full.unlink()
    world.end(worker)


def test_a_reader_holds_one_state_for_long(world: World) -> None:
    worker = world.worker()
    world.producer("app", 20_000, 2000)
    worker.until(lambda: world.rows() > 0)
    wal = Path(f"{world.database}-wal")
    with closing(sqlite3.connect(world.database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        (seen,) = reader.execute("SELECT count(*) FROM metrics").fetchone()
        world.finish("app")
        assert reader.execute("SELECT count(*) FROM metrics").fetchone() == (seen,)
        assert world.rows() == 20_000
        print(f"WAL beside a reader: {wal.stat().st_size / 1e6:.1f} MB")
    world.check(worker)
    assert not wal.exists()


def test_the_file_is_deleted_under_the_worker(world: World) -> None:
    worker = world.worker()
    world.producer("app", 0, 2000)
    deleted = 0.0
    for _ in range(5):
        worker.until(lambda: world.rows() > 2000)
        world.database.unlink()
        deleted = time.time()
    assert missing_from_before(deleted, world, worker)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_an_older_copy_is_restored(world: World, workers: int) -> None:
    """As one should, with no worker at it; or under some, twenty times, as a session has to be open for harm."""
    worker = world.worker(workers=workers or 1)
    world.producer("app", 0, 2000)
    worker.until(lambda: world.rows() > 2000)
    backup = world.program("metrics_collector", "backup", "copy.db")
    assert backup.wait() == 0, backup.output
    world.saves(worker, more=2000)
    restored = 0.0
    if workers:
        for _ in range(20):
            shutil.copyfile("copy.db", "restored.db")
            Path("restored.db").rename(world.database)
            restored = time.time()
            calls, _ = world.progress("app")
            # No look by plain SQLite, which would mix the two files as the worker does not.
            worker.until(lambda: world.progress("app")[0] > calls + 500)  # noqa: B023 - it is over by then
    else:
        worker.terminate()
        Path("copy.db").rename(world.database)
        restored = time.time()
        worker = world.worker()
    assert missing_from_before(restored, world, worker)


def test_an_older_copy_is_restored_after_a_worker_was_killed(world: World) -> None:
    worker = world.worker()
    world.producer("app", 0, 2000)
    worker.until(lambda: world.rows() > 2000)
    log = Path(f"{world.database}-wal")
    left: list[tuple[int, int] | None] = [None]
    restored = 0.0
    while not [*Path.cwd().glob("*.replaced-*")]:
        with (
            closing(sqlite3.connect(world.database)) as original,
            closing(sqlite3.connect("copy.db")) as copy,
        ):
            original.backup(copy)
        world.saves(worker, more=2000)
        worker.until(log.exists)
        worker.close()
        left[0] = identity(str(log))
        Path("copy.db").rename(world.database)
        restored = time.time()
        worker = world.worker()
        # Whoever looks sooner with plain SQLite mixes the two.
        worker.until(lambda: left[0] is None or identity(str(log)) != left[0])
    missing_from_before(
        restored, world, worker
    )  # perhaps none, if all that was saved since was not acknowledged


@pytest.mark.timeout(300)
def test_two_workers_save_to_different_files(world: World) -> None:
    other = world.database.with_name("other.db")
    workers = world.worker(), world.worker(DATABASE_NAME=str(other))
    world.producer("app", 0, 1000)
    for worker in workers:
        worker.until(lambda: "save to different databases" in worker.output, SAID_BY)  # noqa: B023 - called at once
        assert f"{world.database} on " in worker.output
        assert f"{other} on " in worker.output
    for database, worker_left, found in (
        (world.database, True, "FAIL database "),
        (other, False, "warn database "),
    ):
        if not worker_left:
            assert workers[1].terminate() == 0
        doctor = world.program("metrics_collector", "doctor", DATABASE_NAME=str(database))
        assert doctor.wait(SAVED_BY) == int(worker_left)
        assert found in doctor.output
    world.stop("app")
    workers[0].until(world.at_rest, SAVED_BY)  # the live totals are those of the one that is left
    calls, _ = world.killed("app")
    oracle.sound(world.database, world.server.url)
    ids = contents(world.database).ids, contents(other).ids
    # Once in each: what one has saved, and the producer did not learn in time, comes again and may go to the other.
    assert set(ids[0].values()) == set(ids[1].values()) == {1}
    assert len(ids[0].keys() | ids[1].keys()) == calls - 1
    assert workers[0].terminate() == 0


def missing_from_before(change: float, world: World, worker: Process) -> int:
    """How many entries of before that moment (UTC epoch seconds) the file lacks; all since then it has once."""
    calls, _ = world.progress("app")
    worker.until(lambda: world.progress("app")[0] > calls + 2000)
    world.stop("app")

    def at_rest() -> bool:
        nonlocal calls
        calls, acknowledged = world.progress("app")
        return acknowledged == calls - 1 and world.at_rest()

    worker.until(at_rest, SAVED_BY)
    # It may never hear of what was saved just before, in the file that is gone, and wait for that.
    world.killed("app")
    found, _ = oracle.sound(world.database, world.server.url)
    since = min(entry.number for entry in found.entries if entry.created_at > change)
    numbers = {entry.number for entry in found.entries}
    assert numbers >= set(range(since, calls))
    assert worker.terminate() == 0
    return calls - 1 - len(numbers)
