"""How long to wait before trying again."""

from __future__ import annotations

import os


class Backoff:
    """Delays between tries: each may be twice as long as the one before it.

    At random each is shortened by up to half, so that processes which lost the same server do not all come back to it
    at the same moment.

    Args:
        first: seconds; the longest that the first delay may be.
        longest: seconds; the longest that any delay may be.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = min(first, longest)
        self._longest = longest
        self.reset()

    def reset(self) -> None:
        """Begin with the first delay again: a try has succeeded."""
        self._next = self._first

    def next_delay(self) -> float:
        """Seconds to wait now; the next delay may be twice as long."""
        delay, self._next = self._next, min(2 * self._next, self._longest)
        # Not from `random`, which takes milliseconds to load, at the exit of a process maybe.
        return delay * (1 - os.urandom(1)[0] / 512)
