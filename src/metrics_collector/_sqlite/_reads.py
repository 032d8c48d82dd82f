"""What readers ask of the database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from metrics_collector._intervals import Intervals
from metrics_collector._records import Numbered, Rollup
from metrics_collector._sqlite import _schema
from metrics_collector._sqlite._rows import as_totals
from metrics_collector._sqlite._session import Query

if TYPE_CHECKING:
    from collections.abc import Iterable

    from metrics_collector._sqlite._session import Steps


def begin() -> Steps[None]:
    """Make all reads that follow see one state."""
    yield Query("BEGIN")


def function_names() -> Steps[list[str]]:
    """The names of all functions that the database has entries of."""
    rows = yield Query("SELECT func_name FROM totals")
    return [name for (name,) in rows]


def totals_of(func_names: Iterable[str]) -> Steps[dict[str, Numbered]]:
    """The totals of those of the functions that the database knows."""
    rows = yield Query(
        f"SELECT t.func_name, {_schema.FIGURE_COLUMNS}, t.no "
        "FROM json_each(?) AS k CROSS JOIN totals AS t ON t.func_name = k.value",
        (json.dumps(list(func_names)),),
    )
    return {name: Numbered(as_totals(figures), no) for name, *figures, no in rows}


def all_totals() -> Steps[dict[str, Numbered]]:
    """The totals of every function."""
    rows = yield Query(f"SELECT func_name, {_schema.FIGURE_COLUMNS}, no FROM totals")
    return {name: Numbered(as_totals(figures), no) for name, *figures, no in rows}


def rollups(
    resolution: str, start: int, end: int | None, func_name: str | None
) -> Steps[list[Rollup]]:
    """The rollups that begin at `start` or later and before `end`, in order of time.

    Args:
        resolution: `minute`, `hour` or `day`.
        start, end: UTC epoch seconds; `None`: no end.
        func_name: of one function, or `None` for all.
    """
    where = "resolution = ? AND start >= ?"
    parameters: list[object] = [resolution, start]
    if end is not None:
        where += " AND start < ?"
        parameters.append(end)
    if func_name is not None:
        where += " AND func_name = ?"
        parameters.append(func_name)
    rows = yield Query(
        f"SELECT func_name, start, {_schema.FIGURE_COLUMNS} FROM rollups WHERE {where} ORDER BY start, func_name",
        parameters,
    )
    return [Rollup(name, begin, as_totals(figures)) for name, begin, *figures in rows]


def ledger(producers: Iterable[str]) -> Steps[dict[str, Intervals]]:
    """Which numbers of the producers the database has."""
    rows = yield Query(
        "SELECT producer, first, last FROM ledger WHERE producer IN (SELECT value FROM json_each(?)) "
        "ORDER BY producer, first",
        (json.dumps(list(producers)),),
    )
    known: dict[str, Intervals] = {}
    for producer, first, last in rows:
        known.setdefault(producer, Intervals()).add(first, last)
    return known
