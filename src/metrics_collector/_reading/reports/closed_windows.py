"""What was counted in the steps of a window that are over, remembered until something more arrives in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from metrics_collector._core.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metrics_collector._core.rollup_ranges import RollupRange
    from metrics_collector._storage.base import StepCounts, StoreReader

_KEPT: Final = 8  # parts: a few windows, each with the period before


class Part:
    """The figures of all functions in some time, in sum and, if asked for, by step; not to be changed."""

    def __init__(self, sums: Mapping[str, Totals], counts: Sequence[StepCounts]) -> None:
        self.sums = sums
        self.counts = counts
        self._total: Totals | None = None

    @property
    def total(self) -> Totals:
        """Of all functions together; takes long at first, so that it is asked for in a thread."""
        # No `cached_property`: its lock could be held for ever in a forked child.
        if self._total is None:
            self._total = Totals.sum(self.sums.values())
        return self._total


class Closed:
    """Reads parts, and remembers the last ones.

    A part stays as it is as long as its rollups, calls, seconds and last call do.
    """

    def __init__(self) -> None:
        self._parts: dict[object, tuple[object, Part]] = {}

    async def read(
        self, reader: StoreReader, label: str, ranges: Sequence[RollupRange], step: int | None
    ) -> Part:
        """The figures in these times; with a `step` (seconds) also by step, and then there is one time."""
        db, _ = await reader.state()
        now = await reader.fingerprint(ranges)
        key = label, db, tuple(ranges), step
        known = self._parts.get(key)
        if known is None or known[0] != now:
            known = now, await _read(reader, ranges, step)
        # Threads may share it: one statement each, and whatever order they come in.
        self._parts.pop(key, None)
        self._parts[key] = known
        for oldest in list(self._parts)[:-_KEPT]:
            self._parts.pop(oldest, None)
        return known[1]


async def _read(reader: StoreReader, ranges: Sequence[RollupRange], step: int | None) -> Part:
    counts = [] if step is None else await reader.counts(ranges[0], step)
    return Part(await reader.sums(ranges, None), counts)
