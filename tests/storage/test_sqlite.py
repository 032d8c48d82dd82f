"""The database: what is saved, once; files that cannot be used; cancels; several writers."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import aiosqlite  # noqa: F401 - as another user, nothing may be left to load from a folder of this one
import pytest

from metrics_collector._core.histogram import bucket
from metrics_collector._core.rollup_ranges import SECONDS, RollupRange
from metrics_collector._errors import IncompatibleStoreError, StoreUnavailableError
from metrics_collector._storage.base import ErrorTime
from metrics_collector._storage.sqlite import (
    SQLiteStore,
    database_file,
    deletion,
    schema,
)
from metrics_collector._storage.sqlite import session as session_module
from metrics_collector._storage.sqlite.reads import QUERIES
from metrics_collector._storage.sqlite.save import ROWS
from metrics_collector._storage.steps import Pause, Statement
from tests.helpers.cancelling import at_each_await
from tests.helpers.chunks import chunk_of
from tests.helpers.locking import locked
from tests.helpers.older_databases import VERSIONS, make_older
from tests.helpers.pipeline import NOON, Call, batch_of, contents, entries_of, foreign, lines_of
from tests.helpers.rows import counts_of, rows
from tests.helpers.threads import allow_no_more, at_once
from tests.storage.runner import Runner, assert_no_threads, refusal
from tests.storage.test_contract import (
    FIRST,
    LATER,
    NOW,
    TOKEN,
    kept,
    purge,
    reading,
    rollup_starts,
    save,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from metrics_collector._core.pipeline_types import Purged, Saved
    from metrics_collector._storage.sqlite.session import Steps

T = TypeVar("T")


# What is saved


@pytest.mark.parametrize("count", [1, ROWS[1] - 1, ROWS[1], ROWS[0], 2 * ROWS[0] + ROWS[1] + 7])
def test_rows_are_saved_whether_together_or_alone(run: Runner, path: Path, count: int) -> None:
    batch = batch_of(*[Call("app.fg"[: 5 + n % 2], 0.25 * n) for n in range(count)])
    assert run.save(path, lines_of(batch)).saved == count
    found = contents(path)
    assert sorted(found.entries) == sorted(entries_of(lines_of(batch)))


def test_plain_sql_finds_what_the_readme_names(run: Runner, path: Path) -> None:
    run.save(path, [*lines_of(batch_of(Call(), Call(seconds=1.5, mark="KeyError")))])
    (row,) = rows(
        path,
        "SELECT func_name, count(*), avg(execution_time), sum(error_occurred), "
        "datetime(max(created_at), 'unixepoch'), group_concat(outcome), max(error_type) "
        "FROM metrics GROUP BY func_name",
    )
    assert row == ("app.f", 2, 1.0, 1, "2023-11-15 12:00:01", "ok,error", "KeyError")


def test_paths_with_characters_of_urls(run: Runner, path: Path) -> None:
    path = path.with_name("my metrics?mode=rw#1%20ü.db")
    run.save(path, [foreign()])
    assert (run.read(path) or {}).keys() == {"app.f"}
    assert all(p.name.startswith(path.name) for p in path.parent.iterdir())


def test_the_file_is_as_designed(run: Runner, path: Path) -> None:
    run.save(path, [])
    ours = {"user_version": schema.VERSION, "application_id": schema.APPLICATION_ID}
    incremental = 2
    for name, value in {**ours, "journal_mode": "wal", "auto_vacuum": incremental}.items():
        assert rows(path, f"PRAGMA {name}") == [(value,)]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_commits_are_on_the_disk(run: Runner, path: Path) -> None:
    async def synchronous() -> object:
        async with session_module.open_writing(str(path), plain=run.plain) as session:
            return await session.run(query("PRAGMA synchronous"))

    assert run(synchronous()) == [(2,)]  # FULL


def query(sql: str) -> Any:
    rows = yield Statement(sql)
    return rows


# Files that cannot be used


def after_preparing(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[sqlite3.Connection], object]
) -> None:
    """Let something happen when a database is open and no one knows it yet."""
    prepare = schema.prepare

    def prepare_and_act(connection: sqlite3.Connection, name: str) -> None:
        prepare(connection, name)
        act(connection)

    monkeypatch.setattr(schema, "prepare", prepare_and_act)


def test_a_folder_in_place_of_the_file(run: Runner, tmp_path: Path) -> None:
    message = run.refused_save(tmp_path)
    advice = f"give the path of a file, such as {tmp_path}/metrics.db"
    assert message == f"{tmp_path} is a folder; {advice}"
    assert refusal(lambda: run.read(tmp_path), StoreUnavailableError) == message


def test_a_folder_that_does_not_exist(run: Runner, tmp_path: Path) -> None:
    path = tmp_path / "no" / "metrics.db"
    message = run.refused_save(path)
    assert "its folder must exist and be writable" in message
    assert run.read(path) is None


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda path: path.write_text("longer than the header of a database is" * 100),
            "not a SQLite database; use another file, or move that one away",
        ),
        (
            lambda path: rows(path, "CREATE TABLE metrics (their TEXT)"),
            "another program's SQLite database; use another file",
        ),
    ],
    ids=["no database", "another program's"],
)
def test_a_file_that_is_not_ours(
    run: Runner, path: Path, make: Callable[[Path], object], said: str
) -> None:
    make(path)
    before = path.read_bytes()
    for work in (lambda: run.save(path, [foreign()]), lambda: run.read(path)):
        assert refusal(work, IncompatibleStoreError) == f"{path} is {said}"
    assert path.read_bytes() == before


def test_a_database_that_is_newer(run: Runner, path: Path) -> None:
    run.save(path, [foreign()])
    rows(path, f"PRAGMA user_version = {schema.VERSION + 1}")
    for work in (lambda: run.save(path, [foreign()]), lambda: run.read(path)):
        message = refusal(work, IncompatibleStoreError)
        versions = f"schema {schema.VERSION + 1}, this release knows {schema.VERSION}"
        assert f"was written by a newer release ({versions}); upgrade" in message


def test_a_full_disk(run: Runner, path: Path) -> None:
    run.save(path, [foreign()])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    many = lines_of(batch_of(*[Call()] * 2000))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        message = refusal(lambda: run.save(path, many), StoreUnavailableError)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "full" in message
    assert "the entries wait in Redis" in message
    assert len(contents(path).entries) == 1
    run.save(path, many)
    assert len(contents(path).entries) == 2001


def test_a_disk_without_room(run: Runner, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run.save(path, [foreign()])
    # That is: as many as there are.
    after_preparing(monkeypatch, lambda connection: connection.execute("PRAGMA max_page_count = 1"))
    many = lines_of(batch_of(*[Call()] * 2000))
    assert refusal(lambda: run.save(path, many), StoreUnavailableError) == (
        f"the database {path} cannot be used (database or disk is full): "
        "the disk is full; make room, the entries wait in Redis"
    )


def test_a_lock_that_another_program_holds(
    run: Runner, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "BUSY_TIMEOUT", 0.05)
    run.save(path, [foreign()])
    with locked(path):
        assert run.refused_save(path) == (
            f"the database {path} cannot be used (database is locked): "
            "another program holds its lock; the entries wait in Redis"
        )
        assert (run.read(path) or {})["app.f"].counts["call_count"] == 1  # readers go on
    run.save(path, [foreign()])


def test_a_damaged_file(run: Runner, path: Path) -> None:
    run.save(path, lines_of(batch_of(*[Call()] * 500)))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    message = refusal(lambda: run.save(path, [foreign()], token="1" * 16), StoreUnavailableError)
    advice = "move it away and restore a copy, the entries wait in Redis"
    assert f"the file is damaged; {advice}" in message
    assert "damaged" in refusal(lambda: run.read(path), StoreUnavailableError)


# Databases of earlier releases


MARKS = (None, "KeyError", "")
USUAL = lines_of(batch_of(*[Call("app.fg"[: 5 + n % 2], 0.25 * n, MARKS[n % 3]) for n in range(9)]))


async def answers(store: SQLiteStore) -> list[object]:
    """What a reader gets of everything, after a look at whether rollups and totals add up."""
    rollup_range = RollupRange("minute", 0, None)
    entries, _, ledger, state = await kept(store)
    async with reading(store) as reader:
        return [
            state,
            entries,
            ledger,
            await reader.purged(),
            counts_of(await reader.counts(rollup_range, 60)),
            await reader.failures([rollup_range], None),
            await reader.slowest("app.f", rollup_range, 3),
            sorted(await reader.function_names()),
        ]


def shape(path: Path) -> list[tuple[object, ...]]:
    """Every column of every table and index, with what a row without it gets."""
    columns = (
        'SELECT m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk '
        "FROM sqlite_master AS m, pragma_table_info(m.name) AS c ORDER BY m.name, c.cid"
    )
    indexes = "SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name"
    return [*rows(path, columns), *rows(path, indexes), *rows(path, "PRAGMA user_version")]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_earlier_version_is_read_as_it_is_and_upgraded(
    run: Runner, path: Path, version: int
) -> None:
    store = run.store(path)
    run.save(path, [*USUAL, foreign(), b"rubbish"])
    if version > 1:
        purge_of(run, path, entry=NOON - 3600)
    before, fresh = run(answers(store)), shape(path)
    make_older(path, version)
    rows(
        path,
        "CREATE VIEW mine AS SELECT * FROM rollups",
        "CREATE VIEW functions AS SELECT func_name FROM totals",
    )
    older = shape(path)

    assert run(answers(store)) == before
    assert shape(path) == older  # a reader changes nothing

    assert run.save(path, USUAL, token="another").saved == 0
    assert run(answers(store))[1:] == before[1:]
    assert [row for row in shape(path) if row[0] not in ("mine", "functions")] == fresh
    assert rows(path, "SELECT count(*) FROM mine") == [(6,)]  # views on the tables go on
    assert rows(path, "SELECT count(*) FROM functions") == [(2,)]
    run.save(path, [foreign()], token="one more")
    assert len(run(kept(store)).entries) == len(USUAL) + 2


KILLED_UPGRADE = """
import os, signal, sqlite3, sys
from metrics_collector._storage.sqlite import schema
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # so that much of it is in the write-ahead log by then
def at(sql):
    if sql.startswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
connection.set_trace_callback(at)
schema.prepare(connection, sys.argv[1])
"""


@pytest.mark.parametrize(
    "at", ["ALTER TABLE metrics", "DROP TABLE totals", "DROP TABLE rollups", "COMMIT"]
)
def test_an_upgrade_that_is_killed_changes_nothing(path: Path, at: str) -> None:
    run = Runner(plain=True)
    store = run.store(path)
    run.save(path, [foreign("app.f", at=NOON + 60 * n) for n in range(500)])
    make_older(path, 2)
    before, older = run(answers(store)), shape(path)
    killed = subprocess.run([sys.executable, "-c", KILLED_UPGRADE, str(path), at], check=False)
    assert killed.returncode == -9
    assert (run(answers(store)), shape(path)) == (before, older)
    run.save(path, [foreign()], token="another")
    assert len(run(kept(store)).entries) == 501


FULL_DISK = """
import resource, sqlite3, sys
from metrics_collector._storage.sqlite import schema
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
try:
    schema.prepare(connection, sys.argv[1])
except sqlite3.Error as error:
    print(error.sqlite_errorname)
"""


def test_an_upgrade_on_a_full_disk_says_so_and_changes_nothing(path: Path) -> None:
    run = Runner(plain=True)
    run.save(path, [foreign("app.f", at=NOON + 60 * n) for n in range(500)])
    make_older(path, 2)
    older = shape(path)
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout in {"SQLITE_FULL\n", "SQLITE_IOERR_WRITE\n"}
    assert shape(path) == older


def test_an_upgrade_that_a_newer_release_forestalls_is_none(path: Path) -> None:
    Runner(plain=True).save(path, [foreign()])
    make_older(path, 2)

    def forestall(sql: str) -> None:
        if sql == "BEGIN IMMEDIATE":
            rows(path, f"PRAGMA user_version = {schema.VERSION + 1}")

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.set_trace_callback(forestall)
        message = refusal(lambda: schema.prepare(connection, str(path)), IncompatibleStoreError)
        assert "was written by a newer release" in message
        connection.set_trace_callback(None)
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION + 1,)


def test_a_worker_of_an_earlier_release_that_has_it_open_goes_on(path: Path) -> None:
    run = Runner(plain=True)
    run.save(path, [foreign()])
    make_older(path, 2)
    figures = (1, 0, 0, 0.5, 0.5, 0.5, NOON, json.dumps({bucket(0.5): 1}))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute("SELECT count(*) FROM metrics").fetchone() == (1,)
        run.save(path, [foreign()], token="another")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO metrics (func_name, execution_time, created_at, error_occurred, outcome, error_type, id) "
            "VALUES ('app.g', 0.5, ?, 0, 'ok', NULL, NULL)",
            (NOON,),
        )
        for _ in range(2):  # the second takes the place of the first
            connection.executemany(
                "INSERT OR REPLACE INTO rollups (resolution, start, func_name, call_count, error_count, "
                "cancelled_count, execution_time, min_execution_time, max_execution_time, last_called_at, details) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(name, NOON // s * s, "app.g", *figures) for name, s in SECONDS.items()],
            )
            connection.execute(
                "INSERT OR REPLACE INTO totals (func_name, call_count, error_count, cancelled_count, "
                "execution_time, min_execution_time, max_execution_time, last_called_at, details, no) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ("app.g", *figures, FIRST + 5),
            )
        connection.execute("UPDATE meta SET no = ?", (FIRST + 5,))
        connection.execute("COMMIT")
    found = run(kept(run.store(path)))
    assert len(found.entries) == 3
    assert found.state.no == FIRST + 5


def test_figures_of_several_releases_and_shards_are_summed(run: Runner, path: Path) -> None:
    store = run.store(path)
    run.save(path, USUAL)
    before = run(answers(store))
    rows(path, "UPDATE rollups SET release = '1.2', shard = 1", "UPDATE totals SET shard = 1")
    assert run(answers(store)) == before
    saved = run.save(path, [*USUAL, foreign(), foreign()], token="another")
    assert saved.functions["app.f"].total.counts["call_count"] == 2  # Redis has one shard
    found = run(kept(store))
    assert len(found.entries) == len(USUAL) + 2
    assert found.totals["app.f"].counts["call_count"] == 5 + 2

    async def some() -> tuple[object, ...]:
        rollup_range = RollupRange("minute", int(NOON), None)
        async with reading(store) as reader:
            steps = counts_of(await reader.counts(rollup_range, 60))
            slowest = await reader.slowest("app.f", rollup_range, 3)
            return (
                (await reader.totals_of(["app.f"]))["app.f"].totals.counts["call_count"],
                [(name, calls) for name, _, calls, _ in steps],
                sorted(await reader.function_names()),
                [entry.execution_time for entry in slowest],
            )

    assert run(some()) == (7, [("app.f", 7), ("app.fg", 4)], ["app.f", "app.fg"], [2.0, 1.5, 1.0])
    purge_of(run, path, day=NOW, entry=NOW)
    assert rows(path, "SELECT count(*) FROM rollups") == [(0,)]


# A file that is deleted, replaced or restored


def lose(path: Path, change: str) -> None:
    """Delete a database, or put its copy in its place."""
    if change == "delete":
        path.unlink()
    else:
        path.with_name("copy.db").rename(path)


@pytest.mark.parametrize("change", ["delete", "replace"])
def test_a_commit_into_a_file_that_is_gone_is_noticed(run: Runner, path: Path, change: str) -> None:
    run.save(path, [foreign()])
    shutil.copy(path, path.with_name("copy.db"))

    async def work() -> tuple[Saved | None, Saved | None]:
        async with run.store(path).writing() as database:
            good = await database.save(chunk_of(TOKEN, 9, [foreign()]), NOON)
            lose(path, change)
            return good, await database.save(chunk_of(TOKEN, 8, [foreign()]), NOON)

    good, bad = run(work())
    assert good is not None
    assert bad is None


@pytest.mark.parametrize("change", ["delete", "replace"])
def test_a_file_that_is_gone_as_it_is_made_or_opened(
    run: Runner, path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    if change == "replace":
        run.save(path, [foreign()])
        shutil.copy(path, path.with_name("copy.db"))
    after_preparing(monkeypatch, lambda _: lose(path, change))
    said = f"the database {path} was deleted or replaced while it was being opened"
    assert run.refused_save(path) == said


# Keeping the database small


def starts(run: Runner, path: Path) -> dict[str, list[int]]:
    return run(rollup_starts(run.store(path)))


def purge_of(run: Runner, path: Path, **before: float) -> tuple[Purged, dict[str, int]]:
    return run(purge(run.store(path), **before))


def test_a_purge_that_dies_midway_is_ended_by_the_next(run: Runner, path: Path) -> None:
    run.save(path, [foreign("app.f", at=NOON)])
    before = {"minute": NOON + 86400.0, "entry": NOON + 86400.0}

    def dying() -> Steps[Purged]:
        work = deletion.purge(before, NOW)
        answer: Any = None
        while True:
            step = work.send(answer)
            if "DELETE" in str(step):
                raise KeyboardInterrupt
            answer = yield step

    async def die() -> None:
        async with run.store(path).writing() as writer:
            await writer._session.run(dying())

    async def horizons() -> dict[str, int]:
        async with reading(run.store(path)) as reader:
            return await reader.purged()

    with pytest.raises(KeyboardInterrupt):
        run(die())
    assert run(horizons())["minute"] == NOON + 86400  # readers go by hours already
    assert len(starts(run, path)["minute"]) == 1
    purged, _ = purge_of(run, path, **before)
    assert (purged.entries, purged.minutes) == (1, 1)
    assert len(starts(run, path)["hour"]) == 1


def test_a_clock_that_was_ahead_costs_nothing_later(run: Runner, path: Path) -> None:
    run.save(path, [foreign("app.f", at=NOW + 10)])
    purge_of(run, path, minute=NOW)
    # As if noted by a clock that was wrong.
    rows(path, "UPDATE purged SET before = before + 1000 * 86400")
    _, horizons = purge_of(run, path, minute=NOON)
    assert max(horizons.values()) <= NOW
    assert all(len(one) == 1 for one in starts(run, path).values())


def test_pages_are_given_back_many_at_a_time(run: Runner, path: Path) -> None:
    run.save(path, [foreign("app.f" * 100, at=NOON)] * 3000)
    pauses: list[float] = []

    def steps() -> Steps[Purged]:
        work = deletion.purge({"entry": LATER}, LATER)
        answer: Any = None
        while True:
            try:
                step = work.send(answer)
            except StopIteration as end:
                result: Purged = end.value
                return result
            if isinstance(step, Pause):
                pauses.append(step.seconds)
                answer = []
            else:
                answer = yield step

    async def work() -> Purged:
        async with run.store(path).writing() as writer:
            return await writer._session.run(steps())

    size = path.stat().st_size
    freed = run(work()).freed_bytes
    assert freed > 100 * 4096
    assert path.stat().st_size < size
    assert len(pauses) < 10


def test_a_long_purge_lets_others_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "_ROWS", 10)
    database = SQLiteStore(str(path))
    saved = 0

    async def work() -> None:
        nonlocal saved
        await save(database, [foreign("app.f", at=NOON)] * 200)

        async def purge() -> Purged:
            async with database.writing() as writer:
                return await writer.purge({"entry": LATER}, LATER)

        purging = asyncio.ensure_future(purge())
        while not purging.done():
            late = [foreign("app.g", at=LATER)]
            await save(database, late, token=f"during{saved}", now=LATER)
            saved += 1
            await asyncio.sleep(0)
        assert (await purging).entries == 200

    asyncio.run(work())
    # Twenty transactions, with a rest between two: in each of them there is room for at least one other.
    assert saved >= 10


# Reading


def test_reading_never_makes_a_file(run: Runner, path: Path) -> None:
    assert run.read(path) is None
    assert list(path.parent.iterdir()) == []
    path.touch()
    assert run.read(path) is None
    assert path.stat().st_size == 0


KILLED = """
import asyncio, os, signal, sys
from metrics_collector._storage import chunks, steps
from metrics_collector._storage.sqlite import SQLiteStore
async def work():
    chunk = await steps.with_pauses(chunks.prepare("0" * 16, 1, [sys.argv[2].encode()]))
    async with SQLiteStore(sys.argv[1], plain=True).writing() as database:
        await database.save(chunk, 1.0)
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(work())
"""


def test_what_a_killed_worker_has_committed_is_there(run: Runner, path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(path), foreign().decode()]
    killed = subprocess.run(command, check=False)
    assert killed.returncode == -9
    assert Path(f"{path}-wal").stat().st_size > 0  # not in the file itself yet
    assert (run.read(path) or {}).keys() == {"app.f"}
    run.save(path, [foreign()])
    assert len(contents(path).entries) == 2


# Several writers, and cancels


@pytest.mark.parametrize("older", [None, *VERSIONS])
def test_writers_that_make_or_upgrade_the_file_at_once(path: Path, older: int | None) -> None:
    if older:
        Runner(plain=True).save(path, [], now=0.0)
        make_older(path, older)
    writers = 4
    found: list[Saved] = []
    barrier = threading.Barrier(writers)

    def work(number: int) -> None:
        batch = batch_of(Call(), producer=f"{number:016x}")
        barrier.wait()
        found.append(Runner(plain=number % 2 == 0).save(path, lines_of(batch)))

    at_once(*(partial(work, number) for number in range(writers)))
    assert sorted(saved.no for saved in found) == [FIRST + n for n in range(writers)]
    assert {saved.db for saved in found} == {contents(path).db}
    assert len(contents(path).entries) == writers


async def test_a_cancel_leaves_no_transaction_and_no_thread(path: Path) -> None:
    elements = [*lines_of(batch_of(Call(), Call("app.g"))), foreign()]

    async for _ in at_each_await(lambda: save(SQLiteStore(str(path)), elements)):
        assert_no_threads()
        async with session_module.open_writing(str(path)) as session:  # nobody holds the lock
            await session.run(query("BEGIN IMMEDIATE"))
    assert len(contents(path).entries) == 3


def test_the_end_of_a_loop_waits_for_the_thread(path: Path) -> None:
    async def leave(steps: int) -> None:
        saving = asyncio.create_task(save(SQLiteStore(str(path)), [foreign()]))
        for _ in range(steps):
            await asyncio.sleep(0)
        assert not saving.done()

    for steps in range(1, 4):  # pytest fails the test if the thread raises
        asyncio.run(leave(steps))
        assert_no_threads()


async def test_a_cancelled_reader_leaves_no_thread(path: Path) -> None:
    async def read() -> None:
        async with SQLiteStore(str(path)).reading() as database:
            if database is not None:
                await database.all_totals()

    for make in (lambda: None, lambda: Runner(plain=True).save(path, [foreign()])):
        await asyncio.to_thread(make)
        async for _ in at_each_await(read):
            assert_no_threads()


async def test_an_error_inside_leaves_no_thread(path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with SQLiteStore(str(path)).writing():
            raise ZeroDivisionError
    assert_no_threads()


def test_no_thread_can_be_started(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow_no_more(monkeypatch)
    message = refusal(lambda: Runner(plain=False).save(path, []), StoreUnavailableError)
    assert message == f"the database {path} cannot be opened: can't start new thread"


LAST_HOURS = RollupRange("hour", 0, 86400)
ERRORS = [ErrorTime("app.f", "ValueError", 0, 86400)]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(lambda: QUERIES.rollups([LAST_HOURS], "app.f"), id="rollups"),
        pytest.param(lambda: QUERIES.sums([LAST_HOURS], "app.f"), id="sums"),
        pytest.param(lambda: QUERIES.failures([LAST_HOURS], "app.f"), id="failures"),
        pytest.param(lambda: QUERIES.slowest("app.f", LAST_HOURS, 10), id="slowest"),
        pytest.param(lambda: QUERIES.occurrences(ERRORS, "hour", last=True), id="errors"),
    ],
)
def test_what_is_asked_of_one_function_reads_no_rows_of_the_others(
    steps: Callable[[], Steps[Any]],
) -> None:
    statement = next(steps())
    assert isinstance(statement, Statement)
    with closing(sqlite3.connect(":memory:")) as connection:
        schema.prepare(connection, ":memory:")
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters
        ).fetchall()
    found = [row[-1] for row in plan if "rollups" in row[-1]]
    expected = "INDEX rollups_by_function (func_name=? AND resolution=? AND start>? AND start<?)"
    assert len(found) == 1
    assert expected in found[0], plan


def test_a_log_that_is_gone_as_its_size_is_asked_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.db"
    path.write_bytes(b"." * 7)
    monkeypatch.setattr(Path, "is_file", lambda _: True)  # as it was a moment ago
    found = database_file.look(str(path))
    assert (found.size, found.error) == (7, None)
