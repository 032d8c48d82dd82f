"""Histograms coarse enough to be seen: the buckets that are kept are 2.2 % wide, a thirtieth of what a chart shows."""

from __future__ import annotations

from collections import Counter
from math import floor, log2
from typing import TYPE_CHECKING

from metrics_collector._core.histogram import bounds

if TYPE_CHECKING:
    from collections.abc import Mapping


def coarse(histogram: Mapping[str, int], per_doubling: int) -> Counter[int | None]:
    """The counts in buckets of which so many make a doubling of the time; a divisor of 32, so that none is split.

    Bucket `k` begins at 2 to the power of k / per_doubling, in seconds; `None` holds the times of zero.
    """
    counts: Counter[int | None] = Counter()
    for field, count in histogram.items():
        low, high = bounds(field)
        # By its middle: a bound may be a rounding below the one of the coarser bucket.
        counts[floor(log2((low + high) / 2) * per_doubling) if high else None] += count
    return counts


def start(bucket: int, per_doubling: int) -> float:
    """Where a coarse bucket begins, in seconds."""
    return float(2.0 ** (bucket / per_doubling))
