"""What the reports ask of the database."""

from __future__ import annotations

import json
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.rollup_ranges import SECONDS
from metrics_collector._core.totals import ERROR_PREFIX
from metrics_collector._storage import rows as shared
from metrics_collector._storage.base import EntryPage, StoredEntry
from metrics_collector._storage.sqlite.reads import OF_ONE, kept_in, purged
from metrics_collector._storage.steps import Statement, compute

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from metrics_collector._core.rollup_ranges import RollupRange
    from metrics_collector._storage.base import EntryFilter, ErrorCounts, ErrorTime, StepCounts
    from metrics_collector._storage.sqlite.session import Steps

_ENTRY: Final = ", ".join(StoredEntry._fields)

# Where and when the error `k` was counted; one that came without a type is counted as an Exception.
_ROLLUP: Final = (
    f"SELECT start FROM {OF_ONE} WHERE func_name = json_extract(k.value, '$[0]') "
    "AND resolution = json_extract(k.value, '$[5]') "
    "AND start >= json_extract(k.value, '$[2]') AND start < json_extract(k.value, '$[3]') "
    "AND instr(details, json_extract(k.value, '$[4]')) ORDER BY start"
)
_FAILURE: Final = (
    "SELECT created_at FROM metrics WHERE func_name = json_extract(k.value, '$[0]') "
    "AND created_at >= json_extract(k.value, '$[2]') AND created_at < json_extract(k.value, '$[3]') "
    "AND error_occurred AND coalesce(nullif(error_type, ''), 'Exception') = json_extract(k.value, '$[1]') "
    "ORDER BY created_at"
)


def counts(rollup_range: RollupRange, step: int) -> Steps[list[StepCounts]]:
    """As `StoreReader.counts`."""
    source, parameters = kept_in(rollup_range, None)
    start = "start" if step == SECONDS[rollup_range.resolution] else f"start / {step} * {step}"
    rows = yield Statement(
        f"SELECT {start}, json_group_array(func_name), group_concat(call_count), group_concat(error_count) "
        f"FROM {source} GROUP BY 1",
        parameters,
    )
    return (yield from compute(partial(shared.step_counts, rows)))


def beginning() -> Steps[int | None]:
    """As `StoreReader.beginning`."""
    gone = yield from purged()
    first: int | None = None
    for resolution in reversed(SECONDS):
        if first is None or gone.get(resolution, 0) <= first:
            ((start,),) = yield Statement(
                "SELECT min(start) FROM rollups WHERE resolution = ?", (resolution,)
            )
            first = first if start is None else start
    return first


def fingerprint(rollup_range: RollupRange) -> Steps[list[Any]]:
    """As `StoreReader.fingerprint`: number of rollups, calls, seconds and the last call."""
    source, parameters = kept_in(rollup_range, None)
    return (
        yield Statement(
            "SELECT count(*), sum(call_count), sum(execution_time), max(last_called_at) "
            f"FROM {source}",
            parameters,
        )
    )


def failures(ranges: Iterable[RollupRange], func_name: str | None) -> Steps[ErrorCounts]:
    """As `StoreReader.failures`."""
    found: list[Any] = []
    for rollup_range in ranges:
        source, parameters = kept_in(rollup_range, func_name)
        found += yield Statement(
            f"SELECT details, func_name, start FROM {source} AND error_count > 0",
            parameters,
        )
    return (yield from compute(partial(shared.failures, found)))


def occurrences(times: Sequence[ErrorTime], by: str, *, last: bool) -> Steps[list[float | None]]:
    """As `StoreReader.occurrences`."""
    found = _FAILURE if by == "entry" else _ROLLUP
    # The very text that the rollups were written with; paths of SQLite's JSON functions cannot name every key.
    keys = [(*time, json.dumps(ERROR_PREFIX + time.error_type) + ":", by) for time in times]
    rows = yield Statement(
        f"SELECT ({found} {'DESC' if last else 'ASC'} LIMIT 1) FROM json_each(?) AS k ORDER BY k.key",
        (json.dumps(keys),),
    )
    return [moment for (moment,) in rows]


def slowest(func_name: str, rollup_range: RollupRange, count: int) -> Steps[list[StoredEntry]]:
    """As `StoreReader.slowest`.

    So many are in so many rollups with the highest maxima, and no others need be looked at; but two more, as a part of
    the first one's entries may no longer be kept, and a part of the last one's may lie after the time.
    """
    source, parameters = kept_in(rollup_range, func_name)
    columns = ", ".join(f"m.{column}" for column in StoredEntry._fields)
    rows = yield Statement(
        f"SELECT {columns} FROM ("
        f"SELECT start FROM {source} GROUP BY start ORDER BY max(max_execution_time) DESC LIMIT ?"
        ") AS r CROSS JOIN metrics AS m "
        "ON m.func_name = ? AND m.created_at >= r.start AND m.created_at < min(r.start + ?, ?) "
        "ORDER BY m.execution_time DESC LIMIT ?",
        (
            *parameters,
            count + 2,
            func_name,
            SECONDS[rollup_range.resolution],
            inf if rollup_range.end is None else rollup_range.end,
            count,
        ),
    )
    return [StoredEntry(*row) for row in rows]


def extent() -> Steps[dict[str, Any]]:
    """What `StoreDescription` says of one that can be read, but for its size."""
    ((saved, oldest, rejected, db),) = yield Statement(
        "SELECT (SELECT sum(call_count) FROM totals), "
        "(SELECT min((SELECT min(created_at) FROM metrics AS m WHERE m.func_name = t.func_name)) FROM totals AS t), "
        "(SELECT count(*) FROM rejected_entries), (SELECT db FROM meta WHERE shard = 0)"
    )
    return {"saved": saved or 0, "oldest": oldest, "rejected": rejected, "db": db}


def entries(which: EntryFilter, cursor: str | None, count: int) -> Steps[EntryPage]:
    """As `StoreReader.entries`; the cursor has the rowids of the last one so far and of the last one of all."""
    if cursor is None:
        ((newest,),) = yield Statement("SELECT max(rowid) FROM metrics")
        after, last = 0, newest or 0
    else:
        after, last = map(int, cursor.split("/"))
    conditions, parameters = _matching(which)
    rows = yield Statement(
        f"SELECT {_ENTRY}, rowid FROM metrics "
        f"WHERE rowid > ? AND rowid <= ? {conditions} ORDER BY rowid LIMIT ?",
        (after, last, *parameters, count),
    )
    more = f"{rows[-1][-1]}/{last}" if len(rows) == count else None
    return EntryPage([StoredEntry(*row[:-1]) for row in rows], more)


def entry_count(which: EntryFilter) -> Steps[int]:
    """As `StoreReader.entry_count`."""
    conditions, parameters = _matching(which)
    ((count,),) = yield Statement(
        f"SELECT count(*) FROM metrics WHERE TRUE {conditions}", parameters
    )
    return int(count)


def _matching(which: EntryFilter) -> tuple[str, list[object]]:
    conditions = ("func_name = ?", "created_at >= ?", "created_at < ?")
    given = [pair for pair in zip(conditions, which, strict=True) if pair[1] is not None]
    return "".join(f" AND {condition}" for condition, _ in given), [value for _, value in given]
