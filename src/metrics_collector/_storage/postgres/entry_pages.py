"""Entries page by page, in the order in which the tables have them: by day, and in each as they were saved.

That order needs no index, which would make each save a fifth slower. The server reads a part of a table by its blocks;
what is deleted meanwhile leaves all others where they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from metrics_collector._core.rollup_ranges import SECONDS
from metrics_collector._storage.base import EntryPage, StoredEntry
from metrics_collector._storage.postgres import partitions
from metrics_collector._storage.postgres.session import Use
from metrics_collector._storage.queries import ENTRY, matching
from metrics_collector._storage.steps import Statement

if TYPE_CHECKING:
    from metrics_collector._storage.base import EntryFilter
    from metrics_collector._storage.postgres.session import Steps

# Blocks that one statement looks through, of some hundred entries each: more after each one that had little.
_BLOCKS: Final = 64
_MOST_BLOCKS: Final = 16_384


class _Place(NamedTuple):
    """Behind which entry the next page begins.

    Attributes:
        last: the `seq` of the last one that was committed when the first page was read.
        table, block, row: where the entry is.
    """

    last: int
    table: str
    block: int = 0
    row: int = 0


def entries(which: EntryFilter, cursor: str | None, count: int) -> Steps[EntryPage]:
    """As `StoreReader.entries`."""
    # So that none of its tables is dropped before the end of the page.
    yield Statement("LOCK TABLE metrics IN ACCESS SHARE MODE")
    tables = yield from _tables(which)
    if cursor is None:
        ((last,),) = yield Statement("SELECT max(seq) FROM meta")
        place = _Place(int(last), partitions.OTHERS)
    else:
        first, table, block, row = cursor.split("/")
        place = _Place(int(first), table, int(block), int(row))
    found: list[Any] = []
    for table in tables:
        if _order(table) < _order(place.table):
            continue
        if table != place.table:
            place = _Place(place.last, table)
        place = yield from _add(found, place, which, count)
        if len(found) == count:
            return EntryPage([StoredEntry(*row) for row in found], "/".join(map(str, place)))
    return EntryPage([StoredEntry(*row) for row in found], None)


def _tables(which: EntryFilter) -> Steps[list[str]]:
    """Those that may have such entries, in order."""
    (days,) = yield Use(partitions.known)
    since = float("-inf") if which.since is None else which.since
    until = float("inf") if which.until is None else which.until
    some = [name for day, name in days.items() if day < until and day + SECONDS["day"] > since]
    return sorted([partitions.OTHERS, *some], key=_order)


def _order(table: str) -> tuple[bool, str]:
    return table != partitions.OTHERS, table


def _add(found: list[Any], place: _Place, which: EntryFilter, count: int) -> Steps[_Place]:
    """Add entries of one table, until there are so many, or no more; the place of the last one."""
    last, table, block, row = place
    ((size,),) = yield Statement(
        "SELECT pg_relation_size(?::text) / current_setting('block_size')::int", (table,)
    )
    conditions, parameters = matching(which)
    blocks = _BLOCKS
    while block < size and len(found) < count:
        rows = yield Statement(
            f"SELECT {ENTRY}, ctid::text AS at FROM {table} "
            f"WHERE ctid > ?::text::tid AND ctid < ?::text::tid AND seq <= ? {conditions} ORDER BY ctid LIMIT ?",
            (f"({block},{row})", f"({block + blocks},0)", last, *parameters, count - len(found)),
        )
        found += [one[:-1] for one in rows]
        if len(found) == count:
            block, row = map(int, rows[-1][-1].strip("()").split(","))
        else:
            block, row = block + blocks, 0
            blocks = min(2 * blocks, _MOST_BLOCKS)
    return _Place(last, table, block, row)
