"""Moving what a SQLite file has into an empty database of PostgreSQL, while producers go on, and at first workers, too.

It can be broken off anywhere, and done again:

1. Entries are copied, some thousand in a transaction, which also notes how far that is.
2. The file is locked, so that workers wait. The rest of the entries is copied; then all else in one transaction, and
   checked against the file. The database's id and the ledger are among it, so that what Redis knows stays right.
3. The file is marked as moved: from now on workers refuse it, and entries wait in Redis.
4. The database can be used; until then its tables have a version that workers refuse.

So at no time do both take entries, and what was saved into the file before step 3 is in the database after it.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from metrics_collector._core.rollup_ranges import floor
from metrics_collector._errors import StoreUnavailableError
from metrics_collector._storage.postgres import partitions
from metrics_collector._storage.postgres import schema as target_schema
from metrics_collector._storage.postgres.copying import copy
from metrics_collector._storage.postgres.save import ENTRY
from metrics_collector._storage.postgres.schema import FIGURES
from metrics_collector._storage.postgres.session import Use, begin, opened
from metrics_collector._storage.sqlite.maintenance import state
from metrics_collector._storage.sqlite.schema import MOVED, MovedError
from metrics_collector._storage.sqlite.session import open_reading, open_writing
from metrics_collector._storage.steps import Statement

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from metrics_collector._storage.postgres.connection import Connection
    from metrics_collector._storage.postgres.session import Session as Target
    from metrics_collector._storage.postgres.session import Steps
    from metrics_collector._storage.sqlite.session import Session as Source

_ROWS: Final = 20_000  # in one statement
_CREATED_AT: Final = [*ENTRY].index("created_at")
_PATIENCE: Final = 3600.0  # seconds: a check reads all entries


class _Table(NamedTuple):
    """One that is copied as a whole.

    Attributes:
        key: by which its rows are read in order.
        columns: name → type; the first ones are those of the key.
        check: sums over its rows; in brackets what is to be cut to a whole number.
    """

    key: Sequence[str]
    columns: Mapping[str, str]
    check: str


_SUMS: Final = (
    "sum(length(func_name)), sum(call_count), sum(error_count), sum(cancelled_count), sum(length(details)), "
    "sum([execution_time * 1000] % 1000003), sum([last_called_at * 1000] % 1000003)"
)
_ROLLUP: Final = {
    "resolution": "text",
    "start": "bigint",
    "func_name": "text",
    "release": "text",
    "shard": "int4",
}
_TOTAL: Final = {"func_name": "text", "shard": "int4"}
_INTERVAL: Final = {"producer": "text", "first": "bigint"}
_TABLES: Final = {
    "rollups": _Table([*_ROLLUP], {**_ROLLUP, **FIGURES}, f"sum(start % 1000003), {_SUMS}"),
    "totals": _Table(
        [*_TOTAL], {**_TOTAL, **FIGURES, "no": "bigint"}, f"sum(no % 1000003), {_SUMS}"
    ),
    "ledger": _Table(
        [*_INTERVAL],
        {**_INTERVAL, "last": "bigint", "used_at": "float8"},
        "sum(length(producer)), sum(first % 1000003), sum(last % 1000003), sum([used_at])",
    ),
    "purged": _Table(
        ["resolution"],
        {"resolution": "text", "before": "bigint"},
        "sum(length(resolution)), sum(before)",
    ),
    "rejected_entries": _Table(
        ["id"],
        {"id": "bigint", "raw": "bytea", "reason": "text", "rejected_at": "float8"},
        "sum(id), sum(length(reason)), sum([rejected_at])",
    ),
}
# Of entries. Those from before this are being deleted, in the file and not in the database.
_KEPT: Final = "coalesce((SELECT before FROM purged WHERE resolution = 'entry'), 0)"
_ENTRIES: Final = (
    "sum(length(func_name)), sum(error_occurred), sum(length(outcome)), sum(length(error_type)), sum(length(id)), "
    "sum(length(extra)), sum([execution_time * 1000000] % 1000003), "
    f"sum([created_at * 1000] % 1000003) FROM metrics WHERE created_at >= {_KEPT}"
)


class Moved(NamedTuple):
    """What a move has brought: how many entries were copied, and of how many functions there are totals."""

    entries: int
    functions: int


async def move(path: str, url: str, report: Callable[[int, int], None]) -> Moved:
    """Move all that the file has into the database, from where it was broken off.

    Args:
        path: of the SQLite file.
        url: libpq's, of a database without entries of its own.
        report: gets the number of entries that are copied, and of all.

    Raises:
        StoreUnavailableError: one of them cannot be used, or is not what it should be; it can be done again then.
        IncompatibleStoreError: one of them is another program's, or newer than this code.
    """
    moved: MovedError | None = None
    try:
        async with open_reading(path) as reader:
            if reader is None:
                raise StoreUnavailableError(f"there is no database at {path} that could be moved")
    except MovedError as error:
        moved = error
    prepare = target_schema.prepare_to_fill if moved is None else _look
    async with opened(url, prepare, patience=_PATIENCE) as (target, _):
        if moved is None:
            async with open_writing(path) as source:
                await _move_open(source, target, path, report)
                if not await source.in_place():
                    raise StoreUnavailableError(
                        f"{path} was replaced while it was moved; begin again"
                    )
        elif not await target.run(_is_copied()):
            raise moved
        return await target.run(_finish())


async def _move_open(
    source: Source, target: Target, path: str, report: Callable[[int, int], None]
) -> None:
    ((every, newest),) = await source.run(_ask("SELECT count(*), max(rowid) FROM metrics"))
    # No further, as a worker may save faster than this copies.
    await _copy_entries(source, target, newest or 0, lambda done: report(done, every))
    await source.run(_ask("BEGIN IMMEDIATE"))
    await source.run(state())  # somebody else may have moved it since it was opened
    ((every, newest),) = await source.run(_ask("SELECT count(*), max(rowid) FROM metrics"))
    await _copy_entries(source, target, newest or 0, lambda done: report(done, every))
    await target.run(_begin())
    await target.run(_progress(lock=True))
    for name, table in _TABLES.items():
        await target.run(_ask(f"DELETE FROM {name}"))
        await _copy_table(source, target, name, table)
    # Else the next one would get the number of one that was copied.
    await target.run(
        _ask(
            "SELECT setval(pg_get_serial_sequence('rejected_entries', 'id'), "
            "(SELECT max(id) FROM rejected_entries))"
        )
    )
    db, no = await source.run(state())
    await target.run(
        _ask("UPDATE meta SET db = ?, no = ?, seq = (SELECT last_value FROM metrics_seq)", db, no)
    )
    await _compare(source, target, path)
    await target.run(_ask("UPDATE moving SET copied = TRUE"))
    await target.run(_ask("COMMIT"))
    await source.run(_ask(f"PRAGMA user_version = {MOVED}"))
    await source.run(_ask("UPDATE meta SET no = no + 1"))
    await source.run(_ask("COMMIT"))


async def _copy_entries(
    source: Source, target: Target, last: int, report: Callable[[int], None]
) -> None:
    """Copy those that are not copied yet, up to this rowid."""
    columns = ", ".join(ENTRY)
    some = f"SELECT {columns}, rowid FROM metrics WHERE rowid > ? ORDER BY rowid LIMIT {_ROWS}"
    while True:
        before = await target.run(_progress())
        report(before.entries)
        rows = await source.run(_ask(some, before.place)) if before.place < last else []
        if not rows:
            return
        await target.run(_make_tables({floor(row[_CREATED_AT], "day") for row in rows}))
        await target.run(_begin())
        if await target.run(_progress(lock=True)) == before:  # nobody else moves it, too
            await target.run(_add_entries([row[:-1] for row in rows], rows[-1][-1]))
        await target.run(_ask("COMMIT"))


async def _copy_table(source: Source, target: Target, name: str, table: _Table) -> None:
    columns, key = ", ".join(table.columns), ", ".join(table.key)
    order = f"ORDER BY {key} LIMIT {_ROWS}"
    rows = await source.run(_ask(f"SELECT {columns} FROM {name} {order}"))
    while rows:
        if name == "rejected_entries":
            rows = [
                (n, raw.encode() if isinstance(raw, str) else raw, *more) for n, raw, *more in rows
            ]
        await target.run(copy(name, table.columns, rows))
        after = f"({key}) > ({', '.join('?' for _ in table.key)})"
        rows = await source.run(
            _ask(f"SELECT {columns} FROM {name} WHERE {after} {order}", *rows[-1][: len(table.key)])
        )


async def _compare(source: Source, target: Target, path: str) -> None:
    """Check counts and sums of each table.

    Raises:
        StoreUnavailableError: they are not the same.
    """
    checks = {"metrics": _ENTRIES}
    checks |= {name: f"{table.check} FROM {name}" for name, table in _TABLES.items()}
    for name, check in checks.items():
        sums = f"SELECT count(*), {check}"
        in_file = sums.replace("[", "CAST(").replace("]", " AS INTEGER)")
        in_database = sums.replace("[", "CAST(trunc(").replace("]", ") AS BIGINT)")
        rows = await source.run(_ask(in_file)), await target.run(_ask(in_database))
        found = [[int(one or 0) for one in row] for (row,) in rows]
        if found[0] != found[1]:
            raise StoreUnavailableError(
                f"what was copied of the table {name} is not what {path} has ({found[0]} and {found[1]}): DROP SCHEMA "
                "metrics_collector CASCADE in the database, and begin again"
            )


def _look(connection: Connection) -> None:
    target_schema.check(connection, moving=True)


def _is_copied() -> Steps[bool]:
    """Whether a move has come so far that only its end is missing."""
    ((begun,),) = yield Statement("SELECT to_regclass('metrics_collector.moving') IS NOT NULL")
    return bool(begun) and (yield from _progress()).copied


def _begin() -> Steps[None]:
    yield from begin()
    # A look through all entries takes its time, in the file as in the database.
    yield Statement("SET LOCAL statement_timeout TO 0")
    yield Statement("SET LOCAL idle_in_transaction_session_timeout TO 0")


def _ask(sql: str, *parameters: object) -> Generator[Statement, list[Any], list[Any]]:
    return (yield Statement(sql, parameters))


class _Progress(NamedTuple):
    """How far a move is: the rowid of the last entry that was copied, how many were, and whether all else is, too."""

    place: int
    entries: int
    copied: bool


def _progress(*, lock: bool = False) -> Steps[_Progress]:
    (row,) = yield Statement(
        f"SELECT place, entries, copied FROM metrics_collector.moving {'FOR UPDATE' if lock else ''}"
    )
    return _Progress(*row)


def _make_tables(days: set[int]) -> Steps[None]:
    yield Use(partial(partitions.make, days=days, now=time.time()))


def _add_entries(rows: Sequence[Sequence[Any]], place: int) -> Steps[None]:
    yield from copy("metrics", ENTRY, rows)
    yield Statement(
        "UPDATE metrics_collector.moving SET place = ?, entries = entries + ?", (place, len(rows))
    )


def _finish() -> Steps[Moved]:
    yield from _begin()
    progress = yield from _progress(lock=True)
    ((functions,),) = yield Statement("SELECT count(DISTINCT func_name) FROM totals")
    yield Statement("DROP TABLE moving")
    yield Statement("UPDATE schema_version SET version = abs(version)")
    yield Statement("COMMIT")
    return Moved(progress.entries, int(functions))
