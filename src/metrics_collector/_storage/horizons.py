"""Before when a store keeps nothing any more, by resolution and of entries."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from metrics_collector._core.rollup_ranges import COARSER, SECONDS, floor

if TYPE_CHECKING:
    from collections.abc import Mapping


def advanced(before: Mapping[str, float], now: float, known: Mapping[str, int]) -> dict[str, int]:
    """The horizons that a purge advances to: "entry" or a resolution → UTC epoch seconds.

    The rollups of one resolution go up to where one of the next coarser begins, and so far at least as those of the
    coarser. What is missing in `before` is kept, and so is all that is later than `now`. What is gone (`known`) stays
    gone; but a clock that was ahead may have noted more than can be.
    """
    latest = _whole(dict.fromkeys(("entry", *SECONDS), now))
    wanted = _whole({name: min(moment, now) for name, moment in before.items()})
    horizons = {
        name: max(min(known.get(name, 0), latest[name]), moment) for name, moment in wanted.items()
    }
    return {name: moment for name, moment in horizons.items() if moment > 0}


def _whole(before: Mapping[str, float]) -> dict[str, int]:
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
