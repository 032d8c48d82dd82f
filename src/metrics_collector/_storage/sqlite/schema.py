"""The tables, and how a file becomes a database of ours."""

from __future__ import annotations

import secrets
import sqlite3
import time
from typing import Final

from metrics_collector._errors import IncompatibleStoreError

VERSION: Final = 2
APPLICATION_ID: Final = 0x4D657443  # "MetC"
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

_TABLES: Final = (
    """CREATE TABLE metrics (
    func_name TEXT NOT NULL,
    execution_time REAL NOT NULL,
    error_occurred INTEGER NOT NULL,
    created_at REAL NOT NULL,
    outcome TEXT NOT NULL,
    error_type TEXT,
    id TEXT
)""",
    "CREATE INDEX metrics_by_function ON metrics (func_name, created_at)",
    f"""CREATE TABLE rollups (
    resolution TEXT NOT NULL,
    start INTEGER NOT NULL,
    func_name TEXT NOT NULL,{_FIGURES},
    PRIMARY KEY (resolution, start, func_name)
) WITHOUT ROWID""",
    "CREATE INDEX rollups_by_function ON rollups (func_name, resolution, start)",
    f"""CREATE TABLE totals (
    func_name TEXT NOT NULL PRIMARY KEY,{_FIGURES},
    no INTEGER NOT NULL
) WITHOUT ROWID""",
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
    "CREATE TABLE meta (db TEXT NOT NULL, no INTEGER NOT NULL)",
)

# Before when (UTC epoch seconds) the rollups of a resolution, and entries under "entry", are no longer kept.
_PURGED: Final = "CREATE TABLE purged (resolution TEXT NOT NULL PRIMARY KEY, before INTEGER NOT NULL) WITHOUT ROWID"

# What makes a database of each earlier version one of the next.
_UPGRADES: Final = {1: (_PURGED,)}


def check(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the file holds our tables; `False` for an empty file.

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
            f"{path} is another program's SQLite database; let DATABASE_NAME name a file of its own"
        )
    if version > VERSION:
        raise IncompatibleStoreError(
            f"{path} was written by a newer release (schema {version}, this release knows {VERSION}); "
            "upgrade metrics-collector here, or let DATABASE_NAME name another file"
        )
    return True


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables if the file has none yet.

    Raises:
        IncompatibleStoreError: as `check`.
    """
    if not check(connection, path):
        # Before the first table, and before WAL writes the header: afterwards it would take a VACUUM.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _use_wal(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not check(connection, path):  # another process may have been faster
                for statement in (*_TABLES, _PURGED):
                    connection.execute(statement)
                connection.execute("INSERT INTO meta VALUES (?, 0)", (secrets.token_hex(8),))
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    _upgrade(connection)
    _use_wal(connection)
    # What Redis forgets after a commit must be on the disk by then.
    connection.execute("PRAGMA synchronous = FULL")


def _upgrade(connection: sqlite3.Connection) -> None:
    if _version(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for version in range(_version(connection), VERSION):  # another process may have been faster
            for statement in _UPGRADES[version]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
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
