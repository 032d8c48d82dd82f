"""Errors by type and function."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from metrics_collector._core.rollup_ranges import SECONDS
from metrics_collector._core.totals import ERROR_PREFIX
from metrics_collector._reading import asking
from metrics_collector._reading.reports import window_steps
from metrics_collector._reading.reports.overview_report import MOST_PENDING, STEPS, within
from metrics_collector._reading.reports.report_types import ErrorRow
from metrics_collector._storage.sqlite import report_queries as ask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from metrics_collector._core.entries import Entry
    from metrics_collector._core.pipeline_types import Rollup
    from metrics_collector._core.windows import Moment
    from metrics_collector._reading.query import OpenDatabase, Query
    from metrics_collector._reading.reports.report_types import Window

_Pair = tuple[str, str]  # function and type of error


async def errors(since: Moment, until: Moment = None) -> tuple[Window, tuple[ErrorRow, ...]]:
    """Every type of error of every function in a window, the one seen last first.

    Args:
        since, until: as `list_metrics` takes them; `None` as `until` is now.

    Raises:
        As `overview`.
    """
    return await asking.read(lambda query: _errors(query, since, until))


async def _errors(
    query: Query, since: Moment, until: Moment
) -> tuple[Window, tuple[ErrorRow, ...]]:
    async with query.snapshot(None, most=MOST_PENDING) as (database, pending, _):
        purged = {} if database is None else await database.purged()
        window = window_steps.window(since, until, purged, steps=STEPS, coarse=True)
        rows = await error_rows(database, purged, window, pending, None)
    return window, tuple(sorted(rows, key=lambda row: row.last_seen_at, reverse=True))


async def error_rows(
    database: OpenDatabase | None,
    purged: Mapping[str, int],
    window: Window,
    pending: Iterable[Entry],
    func_name: str | None,
) -> list[ErrorRow]:
    """The types of errors in a window, of one function or (`None`) of all; times to the minute, if those are kept."""
    tile = window_steps.tile(window)
    found: dict[_Pair, _Sight] = {}
    if database is not None:
        rollups = await database.run(ask.failures(tile, func_name))
        found = await database.work(partial(_sights, window, rollups))
        length = SECONDS[tile.resolution]
        finest = next(
            name for name in SECONDS if name == "day" or purged.get(name, 0) <= tile.start
        )
        if finest != tile.resolution and found:
            asked = [(*pair, int(sight.first), int(sight.last)) for pair, sight in found.items()]
            seen = await database.run(ask.sightings(finest, length, asked))
            for sight, (first, last) in zip(found.values(), seen, strict=True):
                # A rollup has what the ones that it is made of have; but one of those may have just been purged.
                sight.first = sight.first if first is None else first
                sight.last = sight.last if last is None else last
    for entry in within(window, pending):
        if entry.mark:
            minute = entry.created_at // 60 * 60
            pair = entry.func_name, entry.mark
            found.setdefault(pair, _Sight(window)).add(minute, 1)
    return [
        ErrorRow(
            func_name=name,
            error_type=kind,
            count=sum(sight.counts),
            first_seen_at=datetime.fromtimestamp(sight.first, UTC),
            last_seen_at=datetime.fromtimestamp(sight.last, UTC),
            counts=tuple(sight.counts),
        )
        for (name, kind), sight in found.items()
    ]


class _Sight:
    """Where one type of error of one function was seen."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.counts = [0] * len(window.starts)
        self.first = float("inf")
        self.last = float("-inf")

    def add(self, start: float, by: int) -> None:
        self.counts[int(start - self._window.starts[0]) // self._window.step] += by
        self.first = min(self.first, start)
        self.last = max(self.last, start)


def _sights(window: Window, rollups: Iterable[Rollup]) -> dict[_Pair, _Sight]:
    found: dict[_Pair, _Sight] = {}
    for rollup in rollups:
        for field, by in rollup.totals.counts.items():
            if field.startswith(ERROR_PREFIX):
                pair = rollup.func_name, field.removeprefix(ERROR_PREFIX)
                if pair not in found:
                    found[pair] = _Sight(window)
                found[pair].add(rollup.start, by)
    return found
