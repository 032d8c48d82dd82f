"""Deleting what is no longer to be kept, in transactions so small that no flush waits long for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from metrics_collector._records import Purged
from metrics_collector._sqlite._reads import function_names, purged
from metrics_collector._sqlite._session import Pause, Query
from metrics_collector._tiles import COARSER, SECONDS, floor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metrics_collector._sqlite._session import Steps

_ROWS: Final = 2000  # deleted in one transaction: some hundredths of a second
_PAGES: Final = 500  # given back to the disk in one
# Seconds between two, in which a flush that waits for the lock gets it: SQLite asks again after 0.1 s at the latest.
_REST: Final = 0.11


def purge(before: Mapping[str, float]) -> Steps[Purged]:
    """Delete entries and rollups from before some moments; totals stay.

    Args:
        before: "entry", "minute", "hour" or "day" → UTC epoch seconds. What is missing is kept. The rollups of one
            resolution go up to where one of the next coarser begins, and so far at least as those of the coarser.
    """
    horizons = yield from _advance(_horizons(before))
    deleted = dict.fromkeys(("entry", *SECONDS), 0)
    for resolution in SECONDS:
        if resolution in before or horizons.get(resolution):
            deleted[resolution] = yield from _delete(
                "rollups",
                "(resolution, start, func_name)",
                "resolution = ? AND start < ?",
                (resolution, horizons.get(resolution, 0)),
            )
    rejected = 0
    if "entry" in before:
        # Function by function, as the index has them: rows lie only roughly in the order of time.
        for func_name in (yield from function_names()):
            deleted["entry"] += yield from _delete(
                "metrics", "rowid", "func_name = ? AND created_at < ?", (func_name, before["entry"])
            )
        rejected = yield from _delete(
            "rejected_entries", "rowid", "rejected_at < ?", (before["entry"],)
        )
    return Purged(
        entries=deleted["entry"],
        minutes=deleted["minute"],
        hours=deleted["hour"],
        days=deleted["day"],
        rejected=rejected,
        freed_bytes=(yield from _give_back()),
    )


def _horizons(before: Mapping[str, float]) -> dict[str, int]:
    """Before when each is to be gone, in whole steps of the next coarser resolution."""
    horizons: dict[str, int] = {}
    least = 0
    for resolution in reversed(SECONDS):
        moment = max(0.0, before.get(resolution, 0.0))
        least = max(least, floor(moment, COARSER.get(resolution, resolution)))
        horizons[resolution] = least
    if "entry" in before:
        horizons["entry"] = int(before["entry"])
    return horizons


def _advance(wanted: Mapping[str, int]) -> Steps[dict[str, int]]:
    """Tell readers what will be gone before it is, so that they never see half of it."""
    yield Query("BEGIN IMMEDIATE")
    known = yield from purged()
    horizons = {
        name: max(known.get(name, 0), moment)
        for name, moment in wanted.items()
        if max(known.get(name, 0), moment) > 0
    }
    for name, moment in horizons.items():
        yield Query("INSERT OR REPLACE INTO purged VALUES (?, ?)", (name, moment))
    yield Query("COMMIT")
    return horizons


def _delete(table: str, key: str, where: str, parameters: Sequence[object]) -> Steps[int]:
    columns = key.strip("()")
    some = f"SELECT {columns} FROM {table} WHERE {where} LIMIT {_ROWS}"
    deleted = 0
    while True:
        yield Query(f"DELETE FROM {table} WHERE {key} IN ({some})", parameters)
        ((count,),) = yield Query("SELECT changes()")
        deleted += int(count)
        if count < _ROWS:
            return deleted
        yield Pause(_REST)


def _give_back() -> Steps[int]:
    """Give free pages back to the disk; how many bytes that were."""
    ((size,),) = yield Query("PRAGMA page_size")
    free: int = yield from _free_pages()
    first = free
    while free:
        yield Query(f"PRAGMA incremental_vacuum({_PAGES})")
        left = yield from _free_pages()
        if left >= free:  # somebody has turned it off, or needs them
            break
        free = left
        if free:
            yield Pause(_REST)
    return int((first - free) * size)


def _free_pages() -> Steps[int]:
    ((count,),) = yield Query("PRAGMA freelist_count")
    return int(count)
