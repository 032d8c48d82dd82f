"""What was counted in the steps of a window that are over, remembered until something more arrives in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from metrics_collector._core.totals import Totals
from metrics_collector._storage.sqlite import report_queries as ask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metrics_collector._core.rollup_ranges import Tile
    from metrics_collector._reading.query import OpenDatabase

_KEPT: Final = 8  # parts: a few windows, each with the period before


class Part(NamedTuple):
    """The figures of all functions in some time; not to be changed.

    Attributes:
        sums: by function, over all of it.
        total: of all functions together.
        counts: of each function in each step; empty if no steps were asked for.
    """

    sums: Mapping[str, Totals]
    total: Totals
    counts: Sequence[ask.Counts]


class Closed:
    """Reads parts, and remembers the last ones.

    A part stays as it is as long as its rollups, calls, seconds and last call do.
    """

    def __init__(self) -> None:
        self._parts: dict[object, tuple[object, Part]] = {}

    async def read(
        self, database: OpenDatabase, path: str, tiles: Sequence[Tile], step: int | None
    ) -> Part:
        """The figures in these times.

        Args:
            database: open.
            path: of it.
            tiles: the times; with steps, one.
            step: seconds; `None`: no steps.
        """
        name, _ = await database.state()
        now = await database.run(ask.fingerprint(tiles))
        key = path, name, tuple(tiles), step
        known = self._parts.get(key)
        if known is None or known[0] != now:
            known = now, await _read(database, tiles, step)
        # Threads may share it: one statement each, and whatever order they come in.
        self._parts.pop(key, None)
        self._parts[key] = known
        for oldest in list(self._parts)[:-_KEPT]:
            self._parts.pop(oldest, None)
        return known[1]


async def _read(database: OpenDatabase, tiles: Sequence[Tile], step: int | None) -> Part:
    counts = [] if step is None else await database.run(ask.counts(tiles[0], step))
    sums = await database.sums(tiles, None)
    total = await database.work(lambda: Totals.sum(sums.values()))
    return Part(sums, total, counts)
