"""The tables, and how a file becomes a database of ours."""

from __future__ import annotations

import secrets
import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from metrics_collector._errors import IncompatibleStoreError
from metrics_collector._storage.reopening import ClosedByForkError
from metrics_collector._storage.rows import FIGURE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION: Final = 4
MOVED: Final = 1_000_000
"""The version of a file whose entries are in PostgreSQL now."""
APPLICATION_ID: Final = 0x4D657443  # "MetC"
CACHE_KIB: Final = 16_384
_WAL_PATIENCE: Final = 2.0  # seconds

# `FIGURE_COLUMNS`, the same in rollups and totals.
_FIGURES: Final = """
    call_count INTEGER NOT NULL,
    error_count INTEGER NOT NULL,
    cancelled_count INTEGER NOT NULL,
    execution_time REAL NOT NULL,
    min_execution_time REAL NOT NULL,
    max_execution_time REAL NOT NULL,
    last_called_at REAL NOT NULL,
    details TEXT NOT NULL
"""

# Of each function in a minute, hour or day. What is written has no release and shard 0 for now; readers sum over both.
_ROLLUPS: Final = (
    f"""CREATE TABLE rollups (
    resolution TEXT NOT NULL,
    start INTEGER NOT NULL,
    func_name TEXT NOT NULL,
    release TEXT NOT NULL DEFAULT '',
    shard INTEGER NOT NULL DEFAULT 0,{_FIGURES},
    PRIMARY KEY (resolution, start, func_name, release, shard)
) WITHOUT ROWID""",
    "CREATE INDEX rollups_by_function ON rollups (func_name, resolution, start)",
)

# Of each function since the beginning.
_TOTALS: Final = f"""CREATE TABLE totals (
    func_name TEXT NOT NULL,
    shard INTEGER NOT NULL DEFAULT 0,{_FIGURES},
    no INTEGER NOT NULL,
    PRIMARY KEY (func_name, shard)
) WITHOUT ROWID"""

# Each commit has a number and knows that of the one before it: so a write-ahead log tells which file it belongs to.
_PREVIOUS: Final = """CREATE TRIGGER meta_previous AFTER UPDATE OF no ON meta WHEN new.no <> old.no
BEGIN UPDATE meta SET previous = old.no WHERE rowid = new.rowid; END"""

# Before when (UTC epoch seconds) the rollups of a resolution, and entries under "entry", are no longer kept.
_PURGED: Final = "CREATE TABLE purged (resolution TEXT NOT NULL PRIMARY KEY, before INTEGER NOT NULL) WITHOUT ROWID"

_TABLES: Final = (
    """CREATE TABLE metrics (
    func_name TEXT NOT NULL,
    execution_time REAL NOT NULL,
    error_occurred INTEGER NOT NULL,
    created_at REAL NOT NULL,
    outcome TEXT NOT NULL,
    error_type TEXT,
    id TEXT,
    extra TEXT
)""",
    "CREATE INDEX metrics_by_function ON metrics (func_name, created_at)",
    *_ROLLUPS,
    _TOTALS,
    """CREATE TABLE ledger (
    producer TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    used_at REAL NOT NULL,
    PRIMARY KEY (producer, first)
) WITHOUT ROWID""",
    """CREATE TABLE rejected_entries (
    id INTEGER PRIMARY KEY,
    raw TEXT NOT NULL,
    reason TEXT NOT NULL,
    rejected_at REAL NOT NULL
)""",
    "CREATE TABLE meta (db TEXT NOT NULL, no INTEGER NOT NULL, shard INTEGER NOT NULL DEFAULT 0, previous INTEGER)",
    _PREVIOUS,
    _PURGED,
)

# What makes a database of each earlier version one of the next. Another key takes another table, into which all rows
# are copied; columns have defaults, so that a worker of an earlier release that has the database open goes on.
_UPGRADES: Final = {
    1: (_PURGED,),
    2: (
        "ALTER TABLE metrics ADD COLUMN extra TEXT",
        "ALTER TABLE meta ADD COLUMN shard INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE totals RENAME TO totals_2",
        _TOTALS,
        f"INSERT INTO totals (func_name, {FIGURE_COLUMNS}, no) SELECT func_name, {FIGURE_COLUMNS}, no FROM totals_2",
        "DROP TABLE totals_2",
        "ALTER TABLE rollups RENAME TO rollups_2",
        _ROLLUPS[0],
        (
            f"INSERT INTO rollups (resolution, start, func_name, {FIGURE_COLUMNS}) "
            f"SELECT resolution, start, func_name, {FIGURE_COLUMNS} FROM rollups_2"
        ),
        "DROP TABLE rollups_2",
        *_ROLLUPS[1:],
    ),
    3: (
        "ALTER TABLE meta ADD COLUMN previous INTEGER",
        _PREVIOUS,
        "UPDATE meta SET no = no + 1",
    ),
}

# By what a reader, who must not upgrade, sees a database of each earlier version like one of the next.
_VIEWS: Final = {
    1: ("CREATE TEMP VIEW purged AS SELECT '' AS resolution, 0 AS before WHERE FALSE",),
    2: (
        "CREATE TEMP VIEW metrics AS SELECT rowid, *, NULL AS extra FROM main.metrics",
        "CREATE TEMP VIEW meta AS SELECT *, 0 AS shard FROM main.meta",
    ),
    3: (),
}


class MovedError(IncompatibleStoreError):
    """The file's entries are in PostgreSQL now."""


def check(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the file holds our tables.

    Raises:
        IncompatibleStoreError: it is newer than this code, or another program's.
    """
    # One statement: between two, another process may make the tables.
    (version, application, tables) = connection.execute(
        "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_master) "
        "FROM pragma_user_version, pragma_application_id"
    ).fetchone()
    if not tables and not version:
        return False
    if application != APPLICATION_ID:
        raise IncompatibleStoreError(
            f"{path} is another program's SQLite database; use another file"
        )
    check_version(version, path)
    return True


def check_version(version: int, path: str) -> None:
    """Refuse a file that this code cannot use, by its version; `path`: of the file, or what else it is called.

    Raises:
        IncompatibleStoreError: it is newer than this code.
        MovedError: see there.
    """
    if version == MOVED:
        raise MovedError(
            f"the entries of {path} were moved to PostgreSQL: set METRICS_DATABASE_URL to that database"
        )
    if version > VERSION:
        raise IncompatibleStoreError(
            f"{path} was written by a newer release (schema {version}, this release knows {VERSION}); "
            "upgrade metrics-collector here, or use another file"
        )


def prepare_reading(connection: sqlite3.Connection, path: str) -> bool:
    """As `check`; and let the connection see a database of an earlier version as one of this."""
    ours = check(connection, path)
    for version in range(_version(connection), VERSION) if ours else ():
        for statement in _VIEWS[version]:
            connection.execute(statement)
    return ours


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables if the file has none yet, and upgrade those of an earlier version.

    Raises:
        IncompatibleStoreError: as `check`.
    """
    if not check(connection, path):
        # Before the first table, and before WAL writes the header: afterwards it would take a VACUUM.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _use_wal(connection)
        with _transaction(connection):
            if not check(connection, path):  # another process may have been faster
                for statement in _TABLES:
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO meta (db, no) VALUES (?, 0)", (secrets.token_hex(8),)
                )
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {VERSION}")
    _upgrade(connection, path)
    _use_wal(connection)
    # What Redis forgets after a commit must be on the disk by then.
    connection.execute("PRAGMA synchronous = FULL")
    # What a large chunk changes fits into it: else pages are written to the log, and read again, several times.
    connection.execute(f"PRAGMA cache_size = {-CACHE_KIB}")
    check(connection, path)  # a read, so that there is a log


def _upgrade(connection: sqlite3.Connection, path: str) -> None:
    if _version(connection) == VERSION:
        return
    # Else a view that somebody has made on a table would follow it to its new name, and the pages of a table that is
    # dropped would be overwritten, which takes as much room in the write-ahead log as its copy.
    connection.execute("PRAGMA legacy_alter_table = ON")
    connection.execute("PRAGMA secure_delete = OFF")
    with _transaction(connection):
        check(connection, path)  # another process may have been faster, and of a newer release
        for version in range(_version(connection), VERSION):
            for statement in _UPGRADES[version]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # On a full disk SQLite has done it by itself, and a fork has closed the connection; what came first counts.
        with suppress(sqlite3.Error, ClosedByForkError):
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    return int(version)


def _use_wal(connection: sqlite3.Connection) -> None:
    # Whatever the busy timeout, this gives up at once if another connection is at the very same change.
    deadline = time.monotonic() + _WAL_PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
