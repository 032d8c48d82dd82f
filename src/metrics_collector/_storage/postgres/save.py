"""The transaction that saves a chunk of a claim: new entries, rollups, totals and the ledger, all or nothing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.decoding import SHORT_ROW
from metrics_collector._storage import save_plan
from metrics_collector._storage.postgres import partitions
from metrics_collector._storage.postgres.copying import copy
from metrics_collector._storage.postgres.maintenance import lock
from metrics_collector._storage.postgres.reads import QUERIES, given
from metrics_collector._storage.postgres.schema import FIGURES
from metrics_collector._storage.postgres.session import Use, begin
from metrics_collector._storage.steps import Statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from metrics_collector._core.intervals import Intervals
    from metrics_collector._core.pipeline_types import Numbered, Saved
    from metrics_collector._storage.chunks import Changes, Chunk
    from metrics_collector._storage.postgres.session import Steps

# Values in the order in which a row has them. What most calls have in common is their columns' default.
_SHORT: Final = {
    "func_name": "text",
    "execution_time": "float8",
    "created_at": "float8",
    "id": "text",
}
ENTRY: Final = {
    **_SHORT,
    "error_occurred": "int2",
    "outcome": "text",
    "error_type": "text",
    "extra": "text",
}
"""The columns of a whole row, and their types."""


def save(chunk: Chunk, now: float) -> Steps[Saved]:
    """As `StoreWriter.save`."""
    days = {start for resolution, start, _ in chunk.alone.rollups if resolution == "day"}
    yield Use(partial(partitions.make, days=days, now=now))
    yield from begin()
    db, last_no = yield from lock()
    no = save_plan.next_no(last_no, now)
    changes = yield from chunk.changes((yield from QUERIES.ledger(chunk.producers)))
    yield from _add_entries(changes, now)
    rollups = yield from save_plan.merged_rollups(
        changes, (yield from QUERIES.rollups_at(changes.rollups))
    )
    yield from _put(
        "rollups", {"resolution": "text", "start": "bigint", "func_name": "text"}, FIGURES, rollups
    )
    totals, functions = yield from save_plan.merged_totals(
        changes, (yield from totals_of(changes.functions)), no
    )
    yield from _put("totals", {"func_name": "text"}, {**FIGURES, "no": "bigint"}, totals)
    yield from _write_ledger(changes.ledger, now)
    yield Statement(
        "UPDATE meta SET no = ?, seq = (SELECT last_value FROM metrics_seq) WHERE shard = 0", (no,)
    )
    yield Statement("COMMIT")
    return save_plan.saved(changes, db, no, functions)


def totals_of(func_names: Iterable[str]) -> Steps[dict[str, Numbered]]:
    """As `OpenStore.totals_of`: those that a save changes and reports to Redis."""
    return QUERIES.totals_of(func_names, "AND t.shard = 0")


def _add_entries(changes: Changes, now: float) -> Steps[None]:
    for columns, rows in (
        (_SHORT, [row for row in changes.rows if len(row) == SHORT_ROW]),
        (ENTRY, [row for row in changes.rows if len(row) > SHORT_ROW]),
    ):
        if rows:
            yield from copy("metrics", columns, rows)
    if changes.rejected:
        rejected = [(raw, reason, now) for raw, reason in changes.rejected]
        yield Statement(
            "INSERT INTO rejected_entries (raw, reason, rejected_at) "
            "SELECT * FROM unnest(?::bytea[], ?::text[], ?::float8[])",
            [*map(list, zip(*rejected, strict=True))],
        )


def _put(
    table: str, keys: Mapping[str, str], values: Mapping[str, str], rows: Sequence[Sequence[Any]]
) -> Steps[None]:
    """Insert rows, or give those that are there their values."""
    if rows:
        columns = {**keys, **values}
        source, parameters = given(columns, rows)
        names = ", ".join(columns)
        changed = ", ".join(f"{name} = excluded.{name}" for name in values)
        others = "release, shard" if table == "rollups" else "shard"
        yield Statement(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM {source} "
            f"ON CONFLICT ({', '.join(keys)}, {others}) DO UPDATE SET {changed}",
            parameters,
        )


def _write_ledger(ledger: Mapping[str, Intervals], now: float) -> Steps[None]:
    rows = [
        (producer, first, last, now) for producer, known in ledger.items() for first, last in known
    ]
    columns = {"producer": "text", "first": "bigint"}
    # Those that have become one with the interval before them.
    if rows:
        source, parameters = given(columns, [row[:2] for row in rows])
        yield Statement(
            "DELETE FROM ledger AS l WHERE l.producer = ANY(?::text[]) "
            f"AND NOT EXISTS (SELECT FROM {source} WHERE k.producer = l.producer AND k.first = l.first)",
            ([*ledger], *parameters),
        )
        source, parameters = given({**columns, "last": "bigint", "used_at": "float8"}, rows)
        yield Statement(
            f"INSERT INTO ledger SELECT k.producer, k.first, k.last, k.used_at FROM {source} "
            "ON CONFLICT (producer, first) DO UPDATE SET last = excluded.last, used_at = excluded.used_at",
            parameters,
        )
