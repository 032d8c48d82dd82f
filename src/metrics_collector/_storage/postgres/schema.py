"""The tables, and how a database gets them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.figures import STORED
from metrics_collector._storage.postgres import server_errors

if TYPE_CHECKING:
    import psycopg

    from metrics_collector._storage.postgres.connection import Connection

VERSION: Final = 1
OLDEST_SERVER: Final = 140000
_LOCK: Final = 0x4D657443  # "MetC"

FIGURES: Final = {
    **{one.column or one.name: "bigint" if one.counts else "float8" for one in STORED},
    "details": "text",
}
"""`FIGURE_COLUMNS` and their types, the same in rollups and totals."""
_FIGURES: Final = ", ".join(f"{name} {kind} NOT NULL" for name, kind in FIGURES.items())

# `seq` grows from commit to commit, as it is drawn while `meta` is locked; `meta` has the last one that is committed.
# Names are compared by their bytes, which is several times as fast as by a language's rules. Rows that are changed
# again and again have room beside them, so that no index has to be changed.
_TABLES: Final = f"""
CREATE SEQUENCE metrics_seq;
CREATE TABLE metrics (
    func_name TEXT COLLATE "C" NOT NULL,
    execution_time DOUBLE PRECISION NOT NULL,
    error_occurred SMALLINT NOT NULL DEFAULT 0,
    created_at DOUBLE PRECISION NOT NULL,
    outcome TEXT NOT NULL DEFAULT 'ok',
    error_type TEXT,
    id TEXT,
    extra TEXT,
    seq BIGINT NOT NULL DEFAULT nextval('metrics_collector.metrics_seq')
) PARTITION BY RANGE (created_at);
CREATE INDEX metrics_by_function ON metrics (func_name, created_at);
CREATE TABLE metrics_default PARTITION OF metrics DEFAULT;
CREATE TABLE rollups (
    resolution TEXT COLLATE "C" NOT NULL,
    start BIGINT NOT NULL,
    func_name TEXT COLLATE "C" NOT NULL,
    release TEXT COLLATE "C" NOT NULL DEFAULT '',
    shard INTEGER NOT NULL DEFAULT 0,
    {_FIGURES},
    PRIMARY KEY (resolution, start, func_name, release, shard)
) WITH (fillfactor = 80);
CREATE INDEX rollups_by_function ON rollups (func_name, resolution, start);
CREATE TABLE totals (
    func_name TEXT COLLATE "C" NOT NULL,
    shard INTEGER NOT NULL DEFAULT 0,
    {_FIGURES},
    no BIGINT NOT NULL,
    PRIMARY KEY (func_name, shard)
) WITH (fillfactor = 50);
CREATE TABLE ledger (
    producer TEXT COLLATE "C" NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    used_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (producer, first)
) WITH (fillfactor = 50);
CREATE TABLE rejected_entries (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    raw BYTEA NOT NULL,
    reason TEXT NOT NULL,
    rejected_at DOUBLE PRECISION NOT NULL
);
CREATE TABLE meta (
    shard INTEGER PRIMARY KEY,
    db TEXT NOT NULL,
    no BIGINT NOT NULL,
    seq BIGINT NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE purged (resolution TEXT PRIMARY KEY, before BIGINT NOT NULL);
CREATE TABLE schema_version (version INTEGER NOT NULL);
"""
# The ledger's and other tables' names are not ours alone, so a schema of that name is ours only with all of these.
_KNOWN: Final = ("metrics", "rollups", "totals", "ledger", "meta", "schema_version")


# While one is moved into it, its version is that of its tables, made negative.
_MOVING: Final = """
UPDATE schema_version SET version = -version;
CREATE TABLE moving (place BIGINT NOT NULL, entries BIGINT NOT NULL, copied BOOLEAN NOT NULL);
INSERT INTO moving VALUES (0, 0, FALSE);
"""


def check(connection: Connection, *, moving: bool = False) -> bool:
    """Whether the database holds our tables; `moving`: also if a file is being moved into it.

    Raises:
        IncompatibleStoreError: the server is too old, the tables are newer than this code, or another program's.
    """
    ((server, encoding, *tables),) = connection.execute(
        "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), "
        + ", ".join(f"to_regclass('metrics_collector.{name}') IS NOT NULL" for name in _KNOWN)
    )
    if server < OLDEST_SERVER:
        raise server_errors.too_old(connection.label, server, OLDEST_SERVER)
    if encoding != "UTF8":
        raise server_errors.not_unicode(connection.label, encoding)
    if not any(tables):
        return False
    if not all(tables):
        raise server_errors.not_ours(connection.label)
    ((version,),) = connection.execute("SELECT version FROM metrics_collector.schema_version")
    if version < 0 and not moving:
        raise server_errors.moving(connection.label)
    if abs(version) > VERSION:
        raise server_errors.newer(connection.label, abs(version), VERSION)
    return True


def prepare(connection: Connection) -> None:
    """Make the tables if the database has none yet.

    Raises:
        IncompatibleStoreError: as `check`.
        StoreUnavailableError: this user may not.
    """
    if not check(connection):
        _make(connection)


def prepare_to_fill(connection: Connection) -> None:
    """Make the tables, or take empty ones, into which a SQLite file is to be moved; or those of a move to go on with.

    Raises:
        IncompatibleStoreError: as `check`.
        StoreUnavailableError: this user may not, or there are entries.
    """
    if not check(connection, moving=True):
        _make(connection)

    def mark(driver: psycopg.Connection[Any]) -> None:
        with driver.transaction():
            driver.execute("SET LOCAL search_path TO metrics_collector")
            version: Any = driver.execute(
                "SELECT version, EXISTS (SELECT FROM metrics) OR EXISTS (SELECT FROM totals) "
                "FROM schema_version FOR UPDATE OF schema_version"
            ).fetchone()
            if version[0] > 0:
                if version[1]:
                    raise server_errors.not_empty(connection.label)
                driver.execute(_MOVING)

    connection.use(mark)


def _make(connection: Connection) -> None:
    def make(driver: psycopg.Connection[Any]) -> None:
        with driver.transaction():
            # Held until the tables are there; another worker may have been faster.
            driver.execute("SET LOCAL lock_timeout TO '30s'")
            driver.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            # Asked of the catalogs themselves: to_regclass may answer by what it knew before the wait for the lock.
            found: Any = driver.execute(
                "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'metrics_collector'), "
                "(SELECT count(*) FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace "
                "WHERE nspname = 'metrics_collector' AND relname = 'meta')"
            ).fetchone()
            schemas, tables = found
            if tables:
                return
            # Without the right to make one, one can use a schema that somebody has made.
            if not schemas:
                driver.execute("CREATE SCHEMA metrics_collector")
            driver.execute("SET LOCAL search_path TO metrics_collector")
            driver.execute(_TABLES)
            driver.execute(
                "INSERT INTO meta (shard, db, no, seq) VALUES (0, %s, 0, 0)",
                (secrets.token_hex(8),),
            )
            driver.execute("INSERT INTO schema_version VALUES (%s)", (VERSION,))

    connection.use(make)
