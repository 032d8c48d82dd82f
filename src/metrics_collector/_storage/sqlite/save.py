"""The transaction that saves a chunk of a claim: new entries, rollups, totals and the ledger, all or nothing."""

from __future__ import annotations

import sqlite3
from itertools import chain
from typing import TYPE_CHECKING, Final

from metrics_collector._core.decoding import SHORT_ROW
from metrics_collector._core.figures import OK
from metrics_collector._storage import save_plan
from metrics_collector._storage.rows import FIGURE_COLUMNS
from metrics_collector._storage.sqlite.maintenance import state
from metrics_collector._storage.sqlite.reads import QUERIES
from metrics_collector._storage.sqlite.schema import APPLICATION_ID
from metrics_collector._storage.steps import Many, Statement
from metrics_collector._support.groups import in_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from metrics_collector._core.decoding import Row
    from metrics_collector._core.intervals import Intervals
    from metrics_collector._core.pipeline_types import Numbered, Saved
    from metrics_collector._storage.chunks import Changes, Chunk
    from metrics_collector._storage.sqlite.session import Steps

# Rows in one statement, which SQLite takes faster than one by one. And in each, Python's lock is taken once: while the
# loop is at the next chunk, that takes up to 5 ms. SQLite before 3.32 knows 999 parameters at most.
ROWS: Final = (1000, 100, 1) if sqlite3.sqlite_version_info >= (3, 32) else (100, 1)

# Values in the order in which a row has them. What most calls have in common is no value of theirs, which takes a third
# less time.
_ALWAYS: Final = (
    "INSERT INTO metrics (func_name, execution_time, created_at, id, error_occurred, outcome"
)
_SHORT: Final = f"{_ALWAYS}) VALUES ", f"(?, ?, ?, ?, 0, '{OK.name}')"
_LONG: Final = f"{_ALWAYS}, error_type, extra) VALUES ", "(?, ?, ?, ?, ?, ?, ?, ?)"
_FIGURES: Final = ", ".join("?" for _ in FIGURE_COLUMNS.split(","))


def save(chunk: Chunk, now: float) -> Steps[Saved]:
    """As `StoreWriter.save`, but for whether the file is still there."""
    yield Statement("BEGIN IMMEDIATE")
    db, last_no = yield from state()
    no = save_plan.next_no(last_no, now)
    changes = yield from chunk.changes((yield from QUERIES.ledger(chunk.producers)))
    yield from _add_entries(changes, now)
    rollups = yield from save_plan.merged_rollups(
        changes, (yield from QUERIES.rollups_at(changes.rollups))
    )
    yield Many(
        f"INSERT OR REPLACE INTO rollups (resolution, start, func_name, {FIGURE_COLUMNS}) "
        f"VALUES (?, ?, ?, {_FIGURES})",
        rollups,
    )
    totals, functions = yield from save_plan.merged_totals(
        changes, (yield from totals_of(changes.functions)), no
    )
    yield Many(
        f"INSERT OR REPLACE INTO totals (func_name, {FIGURE_COLUMNS}, no) VALUES (?, {_FIGURES}, ?)",
        totals,
    )
    yield from _write_ledger(changes.ledger, now)
    yield Statement("UPDATE meta SET no = ? WHERE shard = 0", (no,))
    yield Statement(
        f"PRAGMA application_id = {APPLICATION_ID}"
    )  # so that the log has the first page, too
    yield Statement("COMMIT")
    return save_plan.saved(changes, db, no, functions)


def totals_of(func_names: Iterable[str]) -> Steps[dict[str, Numbered]]:
    """As `OpenStore.totals_of`: those that a save changes and reports to Redis."""
    return QUERIES.totals_of(func_names, "AND t.shard = 0")


def _add_entries(changes: Changes, now: float) -> Steps[None]:
    yield from _insert(*_SHORT, [row for row in changes.rows if len(row) == SHORT_ROW])
    yield from _insert(*_LONG, [row for row in changes.rows if len(row) > SHORT_ROW])
    yield Many(
        "INSERT INTO rejected_entries (raw, reason, rejected_at) VALUES (?, ?, ?)",
        [(_readable(raw), reason, now) for raw, reason in changes.rejected],
    )


def _insert(into: str, values: str, rows: Sequence[Row]) -> Steps[None]:
    start = 0
    for size in ROWS:
        stop = len(rows) - (len(rows) - start) % size
        if start < stop:
            # Made in the database's own thread, as each is needed.
            together = map(tuple, map(chain.from_iterable, in_groups(rows[start:stop], size)))
            yield Many(into + ", ".join([values] * size), together)
        start = stop


def _write_ledger(ledger: Mapping[str, Intervals], now: float) -> Steps[None]:
    yield Many("DELETE FROM ledger WHERE producer = ?", [(producer,) for producer in ledger])
    yield Many(
        "INSERT INTO ledger (producer, first, last, used_at) VALUES (?, ?, ?, ?)",
        [
            (producer, first, last, now)
            for producer, known in ledger.items()
            for first, last in known
        ],
    )


def _readable(raw: bytes) -> str | bytes:
    """As text where it is one; SQLite's text ends at a NUL, so bytes are kept as bytes."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw
    return raw if "\0" in text else text
