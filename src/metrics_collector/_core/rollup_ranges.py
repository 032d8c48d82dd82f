"""Which rollups cover a time: minutes, hours and days, the coarser ones where the finer are no longer kept.

All times are UTC epoch seconds. What is purged of a resolution ends where one of the next coarser begins, so that any
time is covered once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS: Final = {"minute": 60, "hour": 3600, "day": 86400}
"""How long each resolution is, the finest first."""

COARSER: Final = {"minute": "hour", "hour": "day"}
_FINER: Final = {coarse: fine for fine, coarse in COARSER.items()}


class RollupRange(NamedTuple):
    """All rollups of one resolution that begin at `start` or later and before `end` (`None`: no end)."""

    resolution: str
    start: int
    end: int | None

    def covers(self, moment: float) -> bool:
        """Whether the moment lies in it."""
        return self.start <= moment and (self.end is None or moment < self.end)


def floor(moment: float, resolution: str) -> int:
    """Where the minute, hour or day begins in which a moment lies."""
    return int(moment // SECONDS[resolution]) * SECONDS[resolution]


def ceil(moment: float, resolution: str) -> int:
    """Where a minute, hour or day begins, at that moment or as the next one."""
    return -int(-moment // SECONDS[resolution]) * SECONDS[resolution]


def kept(moment: float, purged: Mapping[str, int]) -> str:
    """The finest resolution that is kept from a moment on; days where none is."""
    return next(name for name in SECONDS if name == "day" or purged.get(name, 0) <= moment)


def cover(
    start: int, end: int | None, purged: Mapping[str, int], coarsest: str = "day"
) -> list[RollupRange]:
    """Cover a time with as few rollups as can be: minutes, hours, days, hours, minutes.

    Where it begins or ends within an hour (or day) whose minutes (or hours) are purged, all of that counts.

    Args:
        start, end: whole minutes; `None` as end: no end.
        purged: resolution → before when its rollups are purged.
        coarsest: no coarser resolution is taken; it has to be kept from the start on.
    """
    return _cover(coarsest, start, end, purged) if end is None or start < end else []


def _cover(
    resolution: str, start: int, end: int | None, purged: Mapping[str, int]
) -> list[RollupRange]:
    first, last = ceil(start, resolution), None if end is None else floor(end, resolution)
    finer = _FINER.get(resolution)
    if finer is None:
        return [RollupRange(resolution, start, end)]
    gone = purged.get(finer, 0)
    if last is not None and first > last:  # begins and ends within the same one
        if gone < first:
            return _cover(finer, start, end, purged)
        return [RollupRange(resolution, last, first)]
    before: list[RollupRange] = []
    after: list[RollupRange] = []
    if start < first:
        if gone < first:
            before = _cover(finer, start, first, purged)
        else:
            first = floor(start, resolution)
    if end is not None and last is not None and last < end:
        if gone <= last:
            after = _cover(finer, last, end, purged)
        else:
            last = ceil(end, resolution)
    inner = [RollupRange(resolution, first, last)] if last is None or first < last else []
    return before + inner + after


def joined(
    resolution: str, start: float, end: float | None, purged: Mapping[str, int]
) -> list[RollupRange]:
    """A time in rollups of one resolution, and before them, where those are purged, of coarser ones.

    The minute, hour or day in which it begins or ends counts in full.
    """
    gone = purged.get(resolution, 0)
    coarser = COARSER.get(resolution)
    if coarser is None or gone <= start:
        stop = None if end is None else ceil(end, resolution)
        return [RollupRange(resolution, floor(start, resolution), stop)]
    if end is not None and end <= gone:
        return joined(coarser, start, end, purged)
    stop = None if end is None else ceil(end, resolution)
    return [*joined(coarser, start, gone, purged), RollupRange(resolution, gone, stop)]
