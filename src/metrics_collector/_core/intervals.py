"""Sets of positive whole numbers, kept as intervals: which entries of a producer are saved."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_INTERVALS: Final = 32  # in a text
_LARGEST: Final = 2**63 - 1  # what SQLite can store, and `len` give


class Intervals:
    """A set of whole numbers from 1 to 2**63 - 1, as closed intervals that neither meet nor touch.

    `add(1, 3)` and `add(4, 5)` leave one interval, 1-5. Iterating gives the intervals in order, as
    pairs of their first and last number; `len` is how many *numbers* there are. To extend the last
    interval takes constant time; any other change and each question a binary search, a change also
    a shift of what lies behind it. Memory goes with the intervals, not with the numbers.
    """

    __slots__ = ("_count", "_firsts", "_lasts")

    def __init__(self) -> None:
        # Interval k is _firsts[k] to _lasts[k]; both ascend, and _lasts[k] + 1 < _firsts[k + 1].
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._count = 0

    def add(self, first: int, last: int | None = None) -> int:
        """Add the numbers `first` to `last`, or `first` alone, and give how many were new.

        Raises:
            ValueError: not 1 <= first <= last <= 2**63 - 1; nothing is added.
        """
        if last is None:
            last = first
        if not 1 <= first <= last <= _LARGEST:
            raise ValueError(f"not an interval of numbers from 1 to 2**63 - 1: {first}-{last}")
        firsts, lasts = self._firsts, self._lasts
        if lasts and first == lasts[-1] + 1:
            lasts[-1] = last
            new = last - first + 1
        else:
            # The intervals from `low` to before `high` meet or touch the new one: they become one.
            low = bisect_left(lasts, first - 1)
            high = bisect_right(firsts, last + 1)
            known = sum(lasts[low:high]) - sum(firsts[low:high]) + high - low
            if low < high:
                first = min(first, firsts[low])
                last = max(last, lasts[high - 1])
            firsts[low:high] = (first,)
            lasts[low:high] = (last,)
            new = last - first + 1 - known
        self._count += new
        return new

    def update(self, other: Intervals) -> int:
        """Add all numbers of `other`, and give how many were new."""
        return sum(self.add(first, last) for first, last in other)

    def covers(self, first: int, last: int) -> bool:
        """Whether all numbers from `first` to `last` (not below `first`) are in the set."""
        index = bisect_left(self._lasts, last)
        return index < len(self._firsts) and self._firsts[index] <= first

    def count(self, first: int, last: int) -> int:
        """How many of the numbers from `first` to `last` are in the set; none if `last` is lower."""
        low = bisect_left(self._lasts, first)
        high = bisect_right(self._firsts, last)
        if low >= high or last < first:
            return 0
        inside = sum(self._lasts[low:high]) - sum(self._firsts[low:high]) + high - low
        return inside - max(0, first - self._firsts[low]) - max(0, self._lasts[high - 1] - last)

    def __contains__(self, number: int) -> bool:
        return self.covers(number, number)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)

    def text(self, limit: int = MOST_INTERVALS) -> str:
        """The intervals as "1-57,60-60"; "" for an empty set. Of more than `limit`, the lowest and the highest.

        To leave intervals out is always safe: a producer forgets only what the text covers, and
        keeps the rest a little longer. Gaps that no one can fill any more are low, and whoever
        makes numbers up makes them high; what a producer waits for is above the ones and below the
        others.
        """
        pairs = list(self)
        if len(pairs) > limit:
            high = limit // 2
            pairs = pairs[: limit - high] + pairs[len(pairs) - high :]
        return ",".join(f"{first}-{last}" for first, last in pairs)

    @classmethod
    def parse(cls, text: str) -> Intervals:
        """The set that `text` wrote.

        Raises:
            ValueError: a text that `text` does not write.
        """
        intervals = cls()
        refusal = ValueError(f"not a list of intervals such as '1-57,60-60': {text[:100]!r}")
        try:
            for pair in text.split(",") if text else ():
                first, _, last = pair.partition("-")
                intervals.add(int(first), int(last))
        except ValueError:
            raise refusal from None
        # `int` and `add` allow more than `text` writes: "+1", "01", any order, overlaps.
        if intervals.text(limit=len(text)) != text:
            raise refusal
        return intervals
