"""The transaction that saves a chunk of a claim: new entries, rollups, totals and the ledger, all or nothing."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.bulk_decoding import decode_all
from metrics_collector._core.intervals import Intervals
from metrics_collector._core.pipeline_types import FunctionState, Saved, unnumbered
from metrics_collector._core.totals import Totals
from metrics_collector._storage.rows import as_row, as_totals, placeholders
from metrics_collector._storage.save_plan import MINUTE, Work, sort
from metrics_collector._storage.sqlite import schema
from metrics_collector._storage.sqlite.reads import ledger as read_ledger
from metrics_collector._storage.sqlite.reads import totals_of
from metrics_collector._storage.steps import Many, Pause, Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metrics_collector._core.bulk_decoding import Run
    from metrics_collector._core.entries import Entry, RejectedEntryError
    from metrics_collector._storage.sqlite.session import Steps

RESOLUTIONS: Final = (("minute", MINUTE), ("hour", 3600), ("day", 86400))
SLICE: Final = 200  # elements handled between two pauses for the loop
FUNCTIONS: Final = 20  # the same of functions, with some hundred buckets each
# Rows in one statement, which SQLite takes faster than one by one; older ones know 999 parameters at most.
ROWS: Final = 100

# In the order of an entry's fields, as a row has them.
_INSERT: Final = (
    "INSERT INTO metrics (func_name, execution_time, created_at, error_occurred, outcome, error_type, id) "
    "VALUES "
)
_ROW: Final = f"({placeholders(7)})"


def save(token: str, length: int, elements: Sequence[bytes], now: float) -> Steps[Saved]:
    """Save what the ledger does not know yet of a claim's head, exactly once.

    An element that brings no number of its own is told by its distance from the claim's end.

    Args:
        token: of the claim.
        length: of the claim when it was read.
        elements: up to some thousand, as they stand in Redis.
        now: UTC epoch seconds.
    """
    claim = unnumbered(token)
    chunk: list[Run | Entry | RejectedEntryError] = []
    for start in range(0, len(elements), SLICE):
        chunk += decode_all(elements[start : start + SLICE])
        yield Pause()

    yield Statement("BEGIN IMMEDIATE")
    ((db, last_no),) = yield Statement("SELECT db, no FROM meta")
    # By the clock: after a copy was restored, no commit bears the number of one that is lost, which Redis may know.
    no = max(last_no + 1, int(now * 1000))
    producers = {content.producer or claim for content in chunk}
    ledger = {producer: Intervals() for producer in producers} | (yield from read_ledger(producers))
    work = yield from sort(chunk, elements, claim, length, ledger)
    yield from _add_entries(work, now)
    yield from _add_to_rollups(work)
    functions = yield from _add_to_totals(work, no)
    yield from _write_ledger(ledger, now)
    yield Statement("UPDATE meta SET no = ?", (no,))
    yield Statement("COMMIT")
    return Saved(
        db,
        no,
        functions,
        {producer: known.text() for producer, known in ledger.items() if producer != claim},
        len(work.rows),
        len(work.rejected),
    )


def _add_entries(work: Work, now: float) -> Steps[None]:
    rows = work.rows
    rest = len(rows) % ROWS
    # Made in the database's own thread, as each is needed.
    together = (
        tuple(chain.from_iterable(rows[start : start + ROWS]))
        for start in range(rest, len(rows), ROWS)
    )
    yield Many(_INSERT + _ROW, rows[:rest])
    yield Many(_INSERT + ", ".join([_ROW] * ROWS), together)
    yield Many(
        "INSERT INTO rejected_entries (raw, reason, rejected_at) VALUES (?, ?, ?)",
        [(_readable(raw), reason, now) for raw, reason in work.rejected],
    )


def _add_to_rollups(work: Work) -> Steps[None]:
    parts: dict[tuple[str, int, str], list[Totals]] = {}  # by resolution, start and function
    for figures in (work.fresh, work.others):
        for (func_name, minute), totals in figures.items():
            for resolution, seconds in RESOLUTIONS:
                key = (resolution, minute // seconds * seconds, func_name)
                parts.setdefault(key, []).append(totals)
    rows = yield Statement(
        f"SELECT r.resolution, r.start, r.func_name, {schema.FIGURE_COLUMNS} "
        "FROM json_each(?) AS k CROSS JOIN rollups AS r "
        "ON r.resolution = json_extract(k.value, '$[0]') AND r.start = json_extract(k.value, '$[1]') "
        "AND r.func_name = json_extract(k.value, '$[2]')",
        (json.dumps(list(parts)),),
    )
    before = {(resolution, start, name): as_totals(f) for resolution, start, name, *f in rows}
    changed: list[tuple[Any, ...]] = []
    for key, some in parts.items():
        changed.append((*key, *as_row(_sum(before.get(key), some))))
        if not len(changed) % FUNCTIONS:
            yield Pause()
    yield Many(
        f"INSERT OR REPLACE INTO rollups (resolution, start, func_name, {schema.FIGURE_COLUMNS}) "
        f"VALUES ({placeholders(11)})",
        changed,
    )


def _add_to_totals(work: Work, no: int) -> Steps[dict[str, FunctionState]]:
    fresh, others, again = map(_by_function, (work.fresh, work.others, work.again))
    before = yield from totals_of(work.functions)
    functions: dict[str, FunctionState] = {}
    changed: list[tuple[Any, ...]] = []
    for name in work.functions:
        had, had_no = before.get(name) or (None, 0)
        numbered, new = (
            fresh.get(name, []) + again.get(name, []),
            fresh.get(name, []) + others.get(name, []),
        )
        total = _sum(had, new)
        even = name in fresh and name not in others and name not in again
        functions[name] = FunctionState(
            _sum(None, numbered) if numbered else None,
            total,
            no if new else had_no,
            had_no if even else None,
        )
        if new:
            changed.append((name, *as_row(total), no))
        if not len(functions) % FUNCTIONS:
            yield Pause()
    yield Many(
        f"INSERT OR REPLACE INTO totals (func_name, {schema.FIGURE_COLUMNS}, no) VALUES ({placeholders(10)})",
        changed,
    )
    return functions


def _by_function(figures: dict[tuple[str, int], Totals]) -> dict[str, list[Totals]]:
    functions: dict[str, list[Totals]] = {}
    for (func_name, _), totals in figures.items():
        functions.setdefault(func_name, []).append(totals)
    return functions


def _sum(before: Totals | None, parts: Sequence[Totals]) -> Totals:
    """All of it; one part alone is given back itself. Only `before` is changed, as a part goes into several sums."""
    if before is None and len(parts) == 1:
        return parts[0]
    whole = Totals() if before is None else before
    for part in parts:
        whole.merge(part)
    return whole


def _write_ledger(ledger: dict[str, Intervals], now: float) -> Steps[None]:
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
