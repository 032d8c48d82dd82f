"""What the reports ask of the database."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from metrics_collector._core.rollup_ranges import SECONDS
from metrics_collector._core.totals import ERROR_PREFIX
from metrics_collector._storage.rows import FIGURE_COLUMNS
from metrics_collector._storage.sqlite.reads import as_rollups, within
from metrics_collector._storage.steps import Compute, Statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from metrics_collector._core.pipeline_types import Rollup
    from metrics_collector._core.rollup_ranges import Tile
    from metrics_collector._storage.sqlite.session import Steps

Where: TypeAlias = "tuple[str | None, float | None, float | None]"
"""Which entries: function, and from when to before when (UTC epoch seconds); `None`: no bound."""


class Counts(NamedTuple):
    """Counts of one function in one step of a time; `start` in UTC epoch seconds, `execution_time` the sum."""

    func_name: str
    start: int
    calls: int
    errors: int
    execution_time: float


def counts(tile: Tile, step: int) -> Steps[list[Counts]]:
    """Counts of all functions in each step of a time; its rollups are as long as a step, or divide it."""
    where, parameters = within(tile, None)
    figures = "start, call_count, error_count, execution_time"
    group = ""
    if step != SECONDS[tile.resolution]:
        figures = f"start / {step} * {step}, sum(call_count), sum(error_count), sum(execution_time)"
        group = "GROUP BY 1, 2"
    rows = yield Statement(
        f"SELECT func_name, {figures} FROM rollups WHERE {where} {group}", parameters
    )
    (found,) = yield Compute(lambda: [Counts(*row) for row in rows])
    done: list[Counts] = found
    return done


def fingerprint(tiles: Iterable[Tile]) -> Steps[list[Any]]:
    """What differs once anything has changed in some times: rollups, calls, seconds and the last call in each."""
    found: list[Any] = []
    for tile in tiles:
        where, parameters = within(tile, None)
        found += yield Statement(
            "SELECT count(*), sum(call_count), sum(execution_time), max(last_called_at) "
            f"FROM rollups WHERE {where}",
            parameters,
        )
    return found


def failures(tile: Tile, func_name: str | None) -> Steps[list[Rollup]]:
    """As `rollups`, but only those with errors."""
    where, parameters = within(tile, func_name)
    rows = yield Statement(
        f"SELECT {FIGURE_COLUMNS}, func_name, start FROM rollups WHERE {where} AND error_count > 0",
        parameters,
    )
    (found,) = yield Compute(partial(as_rollups, rows))
    done: list[Rollup] = found
    return done


def sightings(
    resolution: str, length: int, asked: Sequence[tuple[str, str, int, int]]
) -> Steps[list[tuple[int | None, int | None]]]:
    """The beginnings of the first and of the last rollup in which a type of error was counted.

    Args:
        resolution: of these rollups.
        length: of the times that are looked at, seconds.
        asked: function, type of error, and where the times begin in which the first and the last one are looked for.
    """
    # The very text that the rollups were written with; paths of SQLite's JSON functions cannot name every key.
    keys = [(name, json.dumps(ERROR_PREFIX + kind) + ":", *times) for name, kind, *times in asked]

    def edge(column: int, order: str) -> str:
        start = f"json_extract(k.value, '$[{column}]')"
        return (
            "(SELECT start FROM rollups WHERE func_name = json_extract(k.value, '$[0]') AND resolution = ? "
            f"AND start >= {start} AND start < {start} + ? "
            f"AND instr(details, json_extract(k.value, '$[1]')) ORDER BY start {order} LIMIT 1)"
        )

    rows = yield Statement(
        f"SELECT {edge(2, 'ASC')}, {edge(3, 'DESC')} FROM json_each(?) AS k ORDER BY k.key",
        (*2 * (resolution, length), json.dumps(keys)),
    )
    return rows


def slowest(
    func_name: str, tile: Tile, count: int
) -> Steps[list[tuple[float, float, str, str | None]]]:
    """The slowest entries of a function in some time: end, seconds, outcome and type of error; the slowest first.

    So many are in so many rollups with the highest maxima, and no others need be looked at; but one more, as a part of
    the first one's entries may no longer be kept.
    """
    where, parameters = within(tile, func_name)
    return (
        yield Statement(
            "SELECT m.created_at, m.execution_time, m.outcome, m.error_type FROM ("
            f"SELECT start FROM rollups WHERE {where} ORDER BY max_execution_time DESC LIMIT ?"
            ") AS r CROSS JOIN metrics AS m INDEXED BY metrics_by_function "
            "ON m.func_name = ? AND m.created_at >= r.start AND m.created_at < r.start + ? "
            "ORDER BY m.execution_time DESC LIMIT ?",
            (*parameters, count + 1, func_name, SECONDS[tile.resolution], count),
        )
    )


class Extent(NamedTuple):
    """What the database holds: entries saved since the beginning, the oldest one's end, and rejected entries."""

    saved: int
    oldest: float | None
    rejected: int


def extent() -> Steps[Extent]:
    """What the database holds."""
    ((saved, oldest, rejected),) = yield Statement(
        "SELECT (SELECT sum(call_count) FROM totals), "
        "(SELECT min((SELECT min(created_at) FROM metrics AS m WHERE m.func_name = t.func_name)) FROM totals AS t), "
        "(SELECT count(*) FROM rejected_entries)"
    )
    return Extent(saved or 0, oldest, rejected)


def entries(after: int, last: int, where: Where, count: int) -> Steps[list[tuple[Any, ...]]]:
    """Some entries in the order in which they were saved: rowid and the columns of `metrics`.

    Args:
        after, last: the rowids that they lie between, the latter included.
        where: which.
        count: how many at most.
    """
    conditions, parameters = _matching(where)
    return (
        yield Statement(
            "SELECT rowid, func_name, execution_time, error_occurred, created_at, outcome, error_type, id FROM metrics "
            f"WHERE rowid > ? AND rowid <= ? {conditions} ORDER BY rowid LIMIT ?",
            (after, last, *parameters, count),
        )
    )


def entry_count(where: Where) -> Steps[int]:
    """How many entries `entries` gives."""
    conditions, parameters = _matching(where)
    ((count,),) = yield Statement(
        f"SELECT count(*) FROM metrics WHERE TRUE {conditions}", parameters
    )
    return int(count)


def last_rowid() -> Steps[int]:
    """That of the entry saved last, 0 if there is none."""
    ((last,),) = yield Statement("SELECT max(rowid) FROM metrics")
    return last or 0


def _matching(where: Where) -> tuple[str, list[object]]:
    conditions = ("func_name = ?", "created_at >= ?", "created_at < ?")
    given = [pair for pair in zip(conditions, where, strict=True) if pair[1] is not None]
    return "".join(f" AND {condition}" for condition, _ in given), [value for _, value in given]
