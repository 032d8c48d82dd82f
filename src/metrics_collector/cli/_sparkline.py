"""A row of bars, one character each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_BARS: Final = "▁▂▃▄▅▆▇█"


def sparkline(numbers: Sequence[int], width: int) -> str:
    """Counts as bars in `width` characters, the last at the right; what is more than zero shows, zero is a blank."""
    size = max(1, -(-len(numbers) // width))
    first = len(numbers) % size  # only the oldest group may be short
    groups = [numbers[:first]] if first else []
    groups += [numbers[start : start + size] for start in range(first, len(numbers), size)]
    sums = [sum(group) for group in groups]
    highest = max(sums, default=0)
    bars = "".join(_BARS[-(-n * len(_BARS) // highest) - 1] if n else " " for n in sums)
    return bars.rjust(width)
