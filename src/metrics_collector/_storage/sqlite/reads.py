"""What readers ask of the database."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.intervals import Intervals
from metrics_collector._storage.rows import FIGURE_COLUMNS, SUMS, as_numbered, as_rollups, summed
from metrics_collector._storage.steps import Statement, compute

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from metrics_collector._core.pipeline_types import Numbered, Rollup
    from metrics_collector._core.rollup_ranges import RollupRange
    from metrics_collector._core.totals import Totals
    from metrics_collector._storage.sqlite.session import Steps

OF_ONE: Final = "rollups INDEXED BY rollups_by_function"
"""What SQLite reads the rollups of one function from; it would take the primary key, and read those of all others."""


def begin() -> Steps[None]:
    """Make all reads that follow see one state."""
    yield Statement("BEGIN")


def function_names() -> Steps[list[str]]:
    """As `OpenStore.function_names`."""
    rows = yield Statement("SELECT DISTINCT func_name FROM totals")
    return [name for (name,) in rows]


def totals_of(func_names: Iterable[str], which: str = "") -> Steps[dict[str, Numbered]]:
    """As `OpenStore.totals_of`; of all shards, or of those that a condition names."""
    rows = yield Statement(
        f"SELECT t.func_name, {FIGURE_COLUMNS}, t.no "
        f"FROM json_each(?) AS k CROSS JOIN totals AS t ON t.func_name = k.value {which}",
        (json.dumps(list(func_names)),),
    )
    return as_numbered(rows)


def all_totals() -> Steps[dict[str, Numbered]]:
    """As `StoreReader.all_totals`."""
    return as_numbered((yield Statement(f"SELECT func_name, {FIGURE_COLUMNS}, no FROM totals")))


def purged() -> Steps[dict[str, int]]:
    """As `StoreReader.purged`."""
    return dict((yield Statement("SELECT resolution, before FROM purged")))


def rollups(ranges: Iterable[RollupRange], func_name: str | None) -> Steps[list[Rollup]]:
    """As `StoreReader.rollups`."""
    found: list[Rollup] = []
    for rollup_range in ranges:
        source, parameters = kept_in(rollup_range, func_name)
        rows = yield Statement(
            f"SELECT {FIGURE_COLUMNS}, func_name, start FROM {source}", parameters
        )
        found += yield from compute(partial(as_rollups, rows))
    return found


def sums(ranges: Iterable[RollupRange], func_name: str | None) -> Steps[dict[str, Totals]]:
    """As `StoreReader.sums`."""
    found: dict[str, Totals] = {}

    def add(rows: Sequence[Any], details: Sequence[Any]) -> None:
        for name, totals in summed(rows, details).items():
            if name in found:
                found[name].merge(totals)
            else:
                found[name] = totals

    for rollup_range in ranges:
        source, parameters = kept_in(rollup_range, func_name)
        rows = yield Statement(
            f"SELECT func_name, {SUMS} FROM {source} GROUP BY func_name", parameters
        )
        # As they lie there, since to sort them by function takes twice as long.
        details = yield Statement(
            f"SELECT json_group_array(func_name), group_concat(details) FROM {source} GROUP BY start",
            parameters,
        )
        yield from compute(partial(add, rows, details))
    return found


def kept_in(rollup_range: RollupRange, func_name: str | None) -> tuple[str, list[object]]:
    """What comes after FROM for the rollups in some time, of one function or (`None`) of all, and its parameters."""
    where = "resolution = ? AND start >= ?"
    parameters: list[object] = [rollup_range.resolution, rollup_range.start]
    if rollup_range.end is not None:
        where += " AND start < ?"
        parameters.append(rollup_range.end)
    if func_name is None:
        return f"rollups WHERE {where}", parameters
    return f"{OF_ONE} WHERE {where} AND func_name = ?", [*parameters, func_name]


def ledger(producers: Iterable[str]) -> Steps[dict[str, Intervals]]:
    """As `StoreReader.ledger`."""
    rows = yield Statement(
        "SELECT producer, first, last FROM ledger WHERE producer IN (SELECT value FROM json_each(?)) "
        "ORDER BY producer, first",
        (json.dumps(list(producers)),),
    )
    known: dict[str, Intervals] = {}
    for producer, first, last in rows:
        known.setdefault(producer, Intervals()).add(first, last)
    return known
