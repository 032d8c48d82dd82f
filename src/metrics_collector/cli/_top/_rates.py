"""Calls a second, from one reading to the next."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metrics_collector._reading.reports import Overview

_SMOOTH: Final = 10.0  # seconds that a rate looks back, or one reading if that is longer


class Rates:
    """How many calls each function has a second, by the readings so far.

    A window moves on while it is read; so the steps that two readings share are compared, and what is new counts in
    full, unless it is the first one, which is new only as the window begins later. A reading without Redis says nothing
    of what was called meanwhile, and what comes after it begins anew.
    """

    def __init__(self) -> None:
        self._step = 0
        self._starts: tuple[int, ...] = ()  # of the steps of the last reading
        self._calls: dict[str, dict[int, int]] = {}  # in them
        self._counts: dict[str, int] = {}  # seen since the first reading
        self._readings: deque[tuple[float, Mapping[str, int]]] = deque()

    def add(self, overview: Overview, at: float) -> None:
        """Take a reading in; `at` is a moment of a monotonic clock, in seconds."""
        unknown = overview.missing.redis_error is not None
        if unknown or overview.window.step != self._step:
            self._calls, self._starts, self._step = {}, (), overview.window.step
            self._readings.clear()
        if unknown:
            return
        starts = overview.window.starts
        cut = starts[0] if self._starts and starts[0] not in self._starts else None
        self._starts = starts
        calls = {row.func_name: dict(zip(starts, row.calls, strict=True)) for row in overview.rows}
        for name, steps in calls.items():
            before = self._calls.get(name, {})
            new = sum(
                number - before.get(start, 0) for start, number in steps.items() if start != cut
            )
            self._counts[name] = self._counts.get(name, 0) + max(0, new)
        self._calls = calls
        self._readings.append((at, dict(self._counts)))
        while len(self._readings) > 2 and self._readings[1][0] <= at - _SMOOTH:  # noqa: PLR2004 - two make a rate
            self._readings.popleft()

    def of(self, func_name: str) -> float | None:
        """The rate of a function; `None` before the second reading."""
        if len(self._readings) < 2:  # noqa: PLR2004 - as above
            return None
        (then, before), (now, counts) = self._readings[0], self._readings[-1]
        # Not called in the window before, it begins at zero.
        return (counts.get(func_name, 0) - before.get(func_name, 0)) / (now - then)

    def total(self) -> float | None:
        """That of all functions together."""
        rates = [self.of(name) for name in self._counts]
        known = [rate for rate in rates if rate is not None]
        return sum(known) if known else None
