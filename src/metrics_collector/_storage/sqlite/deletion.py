"""Deleting what is no longer to be kept, in transactions so small that no flush waits long for one."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

from metrics_collector._core.pipeline_types import Purged
from metrics_collector._core.rollup_ranges import COARSER, SECONDS, floor
from metrics_collector._storage.sqlite.reads import function_names, purged
from metrics_collector._storage.sqlite.session import Script
from metrics_collector._storage.steps import Pause, Statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metrics_collector._storage.sqlite.session import Steps

_ROWS: Final = 2000  # deleted in one transaction: some hundredths of a second
_PAGES: Final = 500  # given back to the disk in one
# Seconds between two, in which a flush that waits for the lock gets it: SQLite asks again after 0.1 s at the latest.
_REST: Final = 0.11


def purge(before: Mapping[str, float], now: float) -> Steps[Purged]:
    """Delete entries and rollups from before some moments; totals stay.

    Args:
        before: "entry", "minute", "hour" or "day" → UTC epoch seconds. What is missing is kept. The rollups of one
            resolution go up to where one of the next coarser begins, and so far at least as those of the coarser.
        now: UTC epoch seconds. Nothing is purged from later than that, whatever a clock that was ahead has noted.
    """
    before = {name: min(moment, now) for name, moment in before.items()}
    latest = _horizons(dict.fromkeys(("entry", *SECONDS), now))
    horizons = yield from _advance(_horizons(before), latest)
    rest = _Rest()
    deleted = dict.fromkeys(SECONDS, 0)
    for resolution in SECONDS:
        if resolution in horizons:
            deleted[resolution] = yield from rest.delete(
                "rollups",
                "(resolution, start, func_name)",
                "resolution = ? AND start < ?",
                (resolution, horizons[resolution]),
            )
    entries = rejected = 0
    if "entry" in before:
        # Function by function, as the index has them: rows lie only roughly in the order of time.
        for func_name in (yield from function_names()):
            entries += yield from rest.delete(
                "metrics", "rowid", "func_name = ? AND created_at < ?", (func_name, before["entry"])
            )
        rejected = yield from rest.delete(
            "rejected_entries", "rowid", "rejected_at < ?", (before["entry"],)
        )
    return Purged(
        entries=entries,
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
        horizons["entry"] = ceil(before["entry"])
    return horizons


def _advance(wanted: Mapping[str, int], latest: Mapping[str, int]) -> Steps[dict[str, int]]:
    """Tell readers what will be gone before it is, so that they never see half of it.

    Args:
        wanted: before when each is to be gone.
        latest: the same if all were to go. A clock that was ahead may have noted more.
    """
    yield Statement("BEGIN IMMEDIATE")
    known = yield from purged()
    horizons = {
        name: max(min(known.get(name, 0), latest[name]), moment) for name, moment in wanted.items()
    }
    horizons = {name: moment for name, moment in horizons.items() if moment > 0}
    for name, moment in horizons.items():
        yield Statement("INSERT OR REPLACE INTO purged VALUES (?, ?)", (name, moment))
    yield Statement("COMMIT")
    return horizons


class _Rest:
    """Deletes, and rests after so many rows, whatever tables they were in."""

    def __init__(self) -> None:
        self._rows = 0

    def delete(self, table: str, key: str, where: str, parameters: Sequence[object]) -> Steps[int]:
        """Delete the rows that match; how many there were."""
        some = f"SELECT {key.strip('()')} FROM {table} WHERE {where} LIMIT {_ROWS}"
        deleted = 0
        while True:
            yield Statement(f"DELETE FROM {table} WHERE {key} IN ({some})", parameters)
            ((count,),) = yield Statement("SELECT changes()")
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
        yield Script(f"PRAGMA incremental_vacuum({_PAGES})")
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
