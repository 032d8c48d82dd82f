"""Databases as earlier releases have made them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

from metrics_collector._storage.sqlite.schema import APPLICATION_ID

if TYPE_CHECKING:
    from pathlib import Path

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

# What each version made; what it had from the one before stands there.
_TABLES: Final = {
    1: f"""
CREATE TABLE metrics (
    func_name TEXT NOT NULL,
    execution_time REAL NOT NULL,
    error_occurred INTEGER NOT NULL,
    created_at REAL NOT NULL,
    outcome TEXT NOT NULL,
    error_type TEXT,
    id TEXT
);
CREATE INDEX metrics_by_function ON metrics (func_name, created_at);
CREATE TABLE rollups (
    resolution TEXT NOT NULL,
    start INTEGER NOT NULL,
    func_name TEXT NOT NULL,{_FIGURES},
    PRIMARY KEY (resolution, start, func_name)
) WITHOUT ROWID;
CREATE INDEX rollups_by_function ON rollups (func_name, resolution, start);
CREATE TABLE totals (
    func_name TEXT NOT NULL PRIMARY KEY,{_FIGURES},
    no INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE ledger (
    producer TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    used_at REAL NOT NULL,
    PRIMARY KEY (producer, first)
) WITHOUT ROWID;
CREATE TABLE rejected_entries (
    id INTEGER PRIMARY KEY,
    raw TEXT NOT NULL,
    reason TEXT NOT NULL,
    rejected_at REAL NOT NULL
);
CREATE TABLE meta (db TEXT NOT NULL, no INTEGER NOT NULL);
""",
    2: """
CREATE TABLE purged (resolution TEXT NOT NULL PRIMARY KEY, before INTEGER NOT NULL) WITHOUT ROWID;
""",
    3: f"""
ALTER TABLE metrics ADD COLUMN extra TEXT;
ALTER TABLE meta ADD COLUMN shard INTEGER NOT NULL DEFAULT 0;
DROP TABLE totals;
CREATE TABLE totals (
    func_name TEXT NOT NULL,
    shard INTEGER NOT NULL DEFAULT 0,{_FIGURES},
    no INTEGER NOT NULL,
    PRIMARY KEY (func_name, shard)
) WITHOUT ROWID;
DROP TABLE rollups;
CREATE TABLE rollups (
    resolution TEXT NOT NULL,
    start INTEGER NOT NULL,
    func_name TEXT NOT NULL,
    release TEXT NOT NULL DEFAULT '',
    shard INTEGER NOT NULL DEFAULT 0,{_FIGURES},
    PRIMARY KEY (resolution, start, func_name, release, shard)
) WITHOUT ROWID;
CREATE INDEX rollups_by_function ON rollups (func_name, resolution, start);
""",
}
VERSIONS: Final = tuple(_TABLES)


def make_older(path: Path, version: int) -> None:
    """Put a database of an earlier version in the place of one of ours, with all that it has of its rows."""
    older = path.with_name("older.db")
    with closing(sqlite3.connect(older, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        for made in range(1, version + 1):
            connection.executescript(_TABLES[made])
        connection.execute("ATTACH ? AS ours", (str(path),))
        tables = connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            names = connection.execute("SELECT name FROM pragma_table_info(?, 'main')", (table,))
            columns = ", ".join(name for (name,) in names)
            connection.execute(
                f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM ours.{table}"  # noqa: S608 - the names are ours
            )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
    older.replace(path)
