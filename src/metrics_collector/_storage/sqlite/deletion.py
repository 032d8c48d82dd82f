"""Deleting what is no longer to be kept, in transactions so small that no flush waits long for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from metrics_collector._core.pipeline_types import Purged
from metrics_collector._core.rollup_ranges import SECONDS
from metrics_collector._storage import horizons
from metrics_collector._storage.sqlite.maintenance import NEXT_NO
from metrics_collector._storage.sqlite.reads import QUERIES
from metrics_collector._storage.sqlite.session import Script
from metrics_collector._storage.steps import Many, Pause, Statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metrics_collector._storage.sqlite.session import Steps

_ROWS: Final = 2000  # deleted in one transaction: some hundredths of a second
_PAGES: Final = 500  # given back to the disk in one
# Seconds between two, in which a flush that waits for the lock gets it: SQLite asks again after 0.1 s at the latest.
_REST: Final = 0.11


def purge(before: Mapping[str, float], now: float) -> Steps[Purged]:
    """As `StoreWriter.purge`."""
    gone = yield from _advance(before, now)
    rest = _Rest()
    deleted = dict.fromkeys(SECONDS, 0)
    for resolution in SECONDS:
        if resolution in gone:
            deleted[resolution] = yield from rest.delete(
                "rollups",
                "(resolution, start, func_name, release, shard)",
                "resolution = ? AND start < ?",
                (resolution, gone[resolution]),
            )
    entries = rejected = 0
    if "entry" in before:
        moment = min(before["entry"], now)
        # Function by function, as the index has them: rows lie only roughly in the order of time.
        for func_name in (yield from QUERIES.function_names()):
            entries += yield from rest.delete(
                "metrics", "rowid", "func_name = ? AND created_at < ?", (func_name, moment)
            )
        rejected = yield from rest.delete("rejected_entries", "rowid", "rejected_at < ?", (moment,))
    return Purged(
        entries=entries,
        minutes=deleted["minute"],
        hours=deleted["hour"],
        days=deleted["day"],
        rejected=rejected,
        freed_bytes=(yield from _give_back()),
    )


def _advance(before: Mapping[str, float], now: float) -> Steps[dict[str, int]]:
    """Note for readers what will be gone before it is, so that they never see half of it."""
    yield Statement("BEGIN IMMEDIATE")
    advanced = horizons.advanced(before, now, (yield from QUERIES.purged()))
    yield Many("INSERT OR REPLACE INTO purged VALUES (?, ?)", list(advanced.items()))
    yield Statement(NEXT_NO)
    yield Statement("COMMIT")
    return advanced


class _Rest:
    """Deletes, and rests after so many rows, whatever tables they were in."""

    def __init__(self) -> None:
        self._rows = 0

    def delete(self, table: str, key: str, where: str, parameters: Sequence[object]) -> Steps[int]:
        """Delete the rows that match; how many there were."""
        some = f"SELECT {key.strip('()')} FROM {table} WHERE {where} LIMIT {_ROWS}"
        deleted = 0
        while True:
            yield Statement("BEGIN IMMEDIATE")
            yield Statement(f"DELETE FROM {table} WHERE {key} IN ({some})", parameters)
            ((count,),) = yield Statement("SELECT changes()")
            yield Statement(NEXT_NO)
            yield Statement("COMMIT")
            deleted += int(count)
            self._rows += int(count)
            if self._rows >= _ROWS:
                self._rows = 0
                yield Pause(_REST)
            if count < _ROWS:
                return deleted


def _give_back() -> Steps[int]:
    """Give free pages back to the disk; how many bytes that were."""
    ((size,),) = yield Statement("PRAGMA page_size")
    free: int = yield from _free_pages()
    first = free
    while free:
        yield Script(
            "BEGIN IMMEDIATE; UPDATE meta SET no = no + 1 WHERE shard = 0; "
            f"PRAGMA incremental_vacuum({_PAGES}); COMMIT"
        )
        left = yield from _free_pages()
        if left >= free:  # somebody has turned it off, or needs them
            break
        free = left
        if free:
            yield Pause(_REST)
    return int((first - free) * size)


def _free_pages() -> Steps[int]:
    ((count,),) = yield Statement("PRAGMA freelist_count")
    return int(count)
