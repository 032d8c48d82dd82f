"""A row of bars, one character each."""

from __future__ import annotations

from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_BARS: Final = "▁▂▃▄▅▆▇█"


def sparkline(numbers: Sequence[int], lengths: Sequence[float], width: int) -> str:
    """Counts as bars in `width` characters, the last at the right; what is more than zero shows, zero is a blank.

    Args:
        lengths: of the time of each count, by which it is divided.
    """
    size = max(1, -(-len(numbers) // width))
    first = len(numbers) % size  # only the oldest group may be short
    bounds = [*([0] if first else []), *range(first, len(numbers) + 1, size)]
    rates = [sum(numbers[i:j]) / sum(lengths[i:j]) for i, j in pairwise(bounds)]
    highest = max(rates, default=0)
    bars = "".join(_BARS[ceil(n / highest * len(_BARS)) - 1] if n else " " for n in rates)
    return bars.rjust(width)
