"""Calls column by column: all that is known of each, in a sixth of the memory that its record takes.

Times are whole numbers of nanoseconds, which is what clocks tell, and moments whole microseconds. Such a number divided
by 1e9 or 1e6 is the float closest to what the text "{n}e-9" or "{n}e-6" says: the very number that a reader gets.
"""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import count
from struct import pack, unpack
from typing import TYPE_CHECKING, Final

from metrics_collector._core.entries import END_OF_TIME, MAX_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metrics_collector._recording.recorder import Record

ERROR_TYPE_CHARACTERS: Final = 200  # of a type's name, as a producer writes it

# Between this and its double floats are whole numbers, so to add it and to take it away again rounds.
_WHOLE: Final = 2.0**52
_MAX_NANOSECONDS: Final = math.nextafter(MAX_SECONDS, 0.0) * 1e9
_MAX_MICROSECONDS: Final = math.nextafter(END_OF_TIME, 0.0) * 1e6

# A double's highest byte, which is its last one here, has the sign and all of the exponent but four bits.
_BELOW_2_49: Final = bytes(range(0x43))
_FROM_2_49: Final = b"\x43"
_BELOW_2_53: Final = bytes(range(0x40))  # of those from 2**49: the byte before


class Columns:
    """Some calls, at least one, of at most 256 functions; it never changes.

    Attributes:
        count: how many calls.
        func_names: of the functions, each once; those of a part may have no call in it.
        functions: of each call the position of its function in these.
        marks: of those that were not ok, by their position; an error's type as the JSON has it.
    """

    __slots__ = ("_moments", "_numbers", "_times", "count", "func_names", "functions", "marks")

    def __init__(
        self,
        func_names: tuple[str, ...],
        functions: bytes,
        times: bytes,
        moments: bytes,
        marks: Mapping[int, str],
        numbers: tuple[list[float], list[float]] | None = None,
    ) -> None:
        self.count = len(functions)
        self.func_names = func_names
        self.functions = functions
        self.marks = marks
        self._times = times
        self._moments = moments
        self._numbers = numbers  # for whoever asks first, which mostly is at once

    @classmethod
    def of(cls, records: Sequence[Record], offset: float, *, kept: bool = False) -> Columns:
        """Those of records, at least one.

        Args:
            records: what the recorder holds: (func_name, start, end, mark), both times of the monotonic clock.
            offset: seconds to add to the monotonic clock for UTC epoch seconds.
            kept: nobody will ask for the numbers soon.
        """
        names, starts, ends, marks = zip(*records, strict=True)
        shift = _WHOLE + offset * 1e6
        size = len(names)
        form = f"<{size}d"
        nanoseconds = [
            (end - start) * 1e9 + _WHOLE - _WHOLE for start, end in zip(starts, ends, strict=True)
        ]
        times = pack(form, *nanoseconds)
        microseconds = [end * 1e6 + shift - _WHOLE for end in ends]
        moments = pack(form, *microseconds)
        numbers = None if kept else (nanoseconds, microseconds)
        if (
            times[7::8].translate(None, _BELOW_2_49)
            or moments[7::8].strip(_FROM_2_49)
            or moments[6::8].translate(None, _BELOW_2_53)
        ):
            times, moments = _odd_times(starts, ends, offset)
            numbers = None
        other: dict[int, str] = {}
        if marks.count(None) < size:
            other = {
                position: mark[:ERROR_TYPE_CHARACTERS]
                for position, mark in enumerate(marks)
                if mark is not None
            }
        # By their equals, since a name may be another object in each call.
        positions: defaultdict[str, int] = defaultdict(count().__next__)
        functions = bytes(map(positions.__getitem__, names))
        return cls(tuple(positions), functions, times, moments, other, numbers)

    def numbers(self) -> tuple[list[float], list[float]]:
        """Of each call the whole nanoseconds that it took, and the whole microseconds (UTC epoch) at which it ended."""
        numbers, self._numbers = self._numbers, None
        if numbers is not None:
            return numbers
        form = f"<{self.count}d"
        return list(unpack(form, self._times)), list(unpack(form, self._moments))

    def split(self, at: int) -> tuple[Columns, ...]:
        """The first calls, and the others if there are any."""
        if at >= self.count:
            return (self,)
        return self._part(0, at), self._part(at, self.count)

    def _part(self, start: int, end: int) -> Columns:
        span = slice(8 * start, 8 * end)
        marks = {at - start: mark for at, mark in self.marks.items() if start <= at < end}
        functions = self.functions[start:end]
        return Columns(self.func_names, functions, self._times[span], self._moments[span], marks)


def _odd_times(
    starts: Sequence[float], ends: Sequence[float], offset: float
) -> tuple[bytes, bytes]:
    """For clocks that tests put in the place of the real ones: they jump, and give odd numbers."""
    pairs = zip(starts, ends, strict=True)
    times = [_whole((end - start) * 1e9, _MAX_NANOSECONDS) for start, end in pairs]
    moments = [_whole((end + offset) * 1e6, _MAX_MICROSECONDS) for end in ends]
    form = f"<{len(times)}d"
    return pack(form, *times), pack(form, *moments)


def _whole(value: float, most: float) -> float:
    """The whole number from 0 to `most` that is closest; 0 for NaN."""
    value = float(value)
    return most if value >= most else float(round(value)) if value > 0 else 0.0
