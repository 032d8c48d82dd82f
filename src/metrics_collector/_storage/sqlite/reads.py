"""What readers ask of the database: the questions that all stores share, in SQLite's dialect."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._storage.base import EntryPage, StoredEntry
from metrics_collector._storage.queries import ENTRY, Dialect, Queries, matching
from metrics_collector._storage.steps import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metrics_collector._storage.base import EntryFilter
    from metrics_collector._storage.sqlite.session import Steps


def begin() -> Steps[None]:
    """Make all reads that follow see one state."""
    yield Statement("BEGIN")


def _given(columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> tuple[str, tuple[str]]:
    """As `GivenRows`: from JSON, whose values have types of their own."""
    values = ", ".join(
        f"json_extract(value, '$[{index}]') AS {name}" for index, name in enumerate(columns)
    )
    return f"(SELECT {values}, key AS n FROM json_each(?)) AS k", (json.dumps(rows),)


QUERIES: Final = Queries(
    Dialect(
        given=_given,
        names="json_group_array(func_name)",
        joined="group_concat({})",
        instr="instr",
        least="min",
        # SQLite would take the primary key, and read the rollups of all others.
        of_one="rollups INDEXED BY rollups_by_function",
    )
)


def entries(which: EntryFilter, cursor: str | None, count: int) -> Steps[EntryPage]:
    """As `StoreReader.entries`; the cursor has the rowids of the last one so far and of the last one of all."""
    if cursor is None:
        ((newest,),) = yield Statement("SELECT max(rowid) FROM metrics")
        after, last = 0, newest or 0
    else:
        after, last = map(int, cursor.split("/"))
    conditions, parameters = matching(which)
    rows = yield Statement(
        f"SELECT {ENTRY}, rowid FROM metrics "
        f"WHERE rowid > ? AND rowid <= ? {conditions} ORDER BY rowid LIMIT ?",
        (after, last, *parameters, count),
    )
    more = f"{rows[-1][-1]}/{last}" if len(rows) == count else None
    return EntryPage([StoredEntry(*row[:-1]) for row in rows], more)
