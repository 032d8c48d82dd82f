"""How a producer writes entries: the JSON of many calls at once, column by column.

A batch has thousands of calls, and what a call costs the application is mostly this. So there is no step of Python for
each call but for arithmetic: columns go through compiled functions, and the text is joined from them in one go.
"""

from __future__ import annotations

import json
import math
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from metrics_collector._core.decoding import decode
from metrics_collector._core.entries import (
    END_OF_TIME,
    MAX_SECONDS,
    RejectedEntryError,
)
from metrics_collector._core.figures import CANCELLED, ERROR, OK
from metrics_collector._core.totals import Tally
from metrics_collector._support import fork_hooks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import SchemaSerializer

    from metrics_collector._recording.recorder import Record

ERROR_TYPE_CHARACTERS: Final = 200  # of a type's name, as a producer writes it

# Times are written as whole numbers of nanoseconds, which is what clocks tell, and moments as whole microseconds. Such
# a number divided by 1e9 or 1e6 is the float closest to what the text "{n}e-9" or "{n}e-6" says: the very number that
# a reader gets.
# Between this and its double floats are whole numbers, so to add it and to take it away again rounds.
_WHOLE: Final = 2.0**52
_MAX_NANOSECONDS: Final = math.nextafter(MAX_SECONDS, 0.0) * 1e9
_MAX_MICROSECONDS: Final = math.nextafter(END_OF_TIME, 0.0) * 1e6

_END: Final = '"}'


def encode(
    records: Sequence[Record],
    producer: str,
    first: int,
    offset: float,
    tally: Tally,
    *,
    room: int = sys.maxsize,
) -> tuple[bytes, int]:
    """The JSON of each record, in ASCII, numbered from `first`; and each is noted in the tally.

    Args:
        records: what the recorder holds: (func_name, start, end, mark), both times of the monotonic clock; not none.
        producer: 16 hexadecimal digits.
        first: number of the first record.
        offset: seconds to add to the monotonic clock for UTC epoch seconds.
        tally: gets the numbers just as the JSON has them.
        room: bytes that the text may have; the records at the end that do not fit are left out, but never the first.

    Returns:
        The JSON, joined by newlines, and of how many records.
    """
    names, starts, stops, marks = zip(*records, strict=True)
    if marks.count(None) < len(marks):
        # The shortened name of an error's type is what both JSON and totals get.
        marks = tuple([mark and mark[:ERROR_TYPE_CHARACTERS] for mark in marks])
    times, ends, digits = _usual_times(starts, stops, offset) or _odd_times(starts, stops, offset)
    text = _joined(names, digits, marks, producer, first)
    count = len(names)
    if len(text) > room:
        text = _fitting(text, room)
        count = text.count("\n") + 1
        names, times, ends, marks = names[:count], times[:count], ends[:count], marks[:count]
    tally.add_all(names, times, ends, marks)
    # Each slice on its own: the text of a whole batch and its bytes would be asked of the system anew each time.
    return text.encode(), count


_Times: TypeAlias = tuple[list[float], list[float], tuple[list[str], list[str]]]
"""Of some calls whole nanoseconds that they took, whole microseconds (UTC epoch) at which they ended, and the digits of
both."""


def _usual_times(starts: Sequence[float], ends: Sequence[float], offset: float) -> _Times | None:
    """By a compiled writer, in a third of the time; `None` if one is beyond what it writes as wanted."""
    shift = _WHOLE + offset * 1e6
    times = [(end - start) * 1e9 + _WHOLE - _WHOLE for start, end in zip(starts, ends, strict=True)]
    moments = [end * 1e6 + shift - _WHOLE for end in ends]
    digits = _digits(times), _digits(moments)
    return (times, moments, digits) if len(digits[0]) == len(digits[1]) == len(ends) else None


def _digits(numbers: list[float]) -> list[str]:
    """Those of each whole number; fewer than there are if one is no whole number from 0 up, or very large."""
    text = _writer().to_json(numbers).decode()
    return text[1:-3].split(".0,") if text.endswith(".0]") and "-" not in text else []


@lru_cache(maxsize=1)
def _writer() -> SchemaSerializer:
    import pydantic_core as core  # takes its time, and only a sender needs it

    # Its first use takes a lock, which the child of a fork at that time would wait for.
    with fork_hooks.no_fork():
        writer = core.SchemaSerializer(
            core.core_schema.list_schema(core.core_schema.float_schema())
        )
        writer.to_json([0.0])
    return writer


def _odd_times(starts: Sequence[float], ends: Sequence[float], offset: float) -> _Times:
    """For clocks that tests put in the place of the real ones: they jump, and give odd numbers."""
    pairs = zip(starts, ends, strict=True)
    times = [_whole((end - start) * 1e9, _MAX_NANOSECONDS) for start, end in pairs]
    moments = [_whole((end + offset) * 1e6, _MAX_MICROSECONDS) for end in ends]
    return (
        times,
        moments,
        ([f"{time:.0f}" for time in times], [f"{moment:.0f}" for moment in moments]),
    )


def _whole(value: float, most: float) -> float:
    """The whole number from 0 to `most` that is closest; 0 for NaN."""
    value = float(value)
    return most if value >= most else float(round(value)) if value > 0 else 0.0


def _joined(
    names: Sequence[str],
    digits: tuple[list[str], list[str]],
    marks: Sequence[str | None],
    producer: str,
    first: int,
) -> str:
    """The JSON of all entries, from their columns: each entry is seven parts of one long list."""
    heads = {name: _head(name) for name in set(names)}
    tails = {mark: f'e-6,{_kind(mark)},"id":"{producer}-' for mark in set(marks)}
    parts = ['e-9,"created_at":'] * (7 * len(names))
    parts[0::7] = map(heads.__getitem__, names)
    parts[1::7], parts[3::7] = digits
    parts[4::7] = map(tails.__getitem__, marks)
    parts[5::7], parts[6::7] = _numbers(first, len(names))
    parts.append(_END)
    return "".join(parts)[len(_END) + 1 :]


def _numbers(first: int, count: int) -> tuple[list[str], list[str]]:
    """The decimal digits of whole numbers that follow one another: those before the last three, and the rest."""
    before: list[str] = []
    rest: list[str] = []
    while count:
        thousands, low = divmod(first, 1000)
        some = min(count, 1000 - low)
        before += [str(thousands or "")] * some
        rest += _last_digits(3 if thousands else 1)[low : low + some]
        first += some
        count -= some
    return before, rest


@lru_cache(maxsize=2)
def _last_digits(least: int) -> list[str]:
    """Those of the numbers below 1,000, at least so many of each."""
    return [f"{number:0{least}}" for number in range(1000)]


@lru_cache(maxsize=4096)
def _head(func_name: str) -> str:
    """What ends the entry before, and begins one of this function."""
    return f'{_END}\n{{"func_name":{json.dumps(func_name)},"execution_time":'


@lru_cache(maxsize=1024)
def _kind(mark: str | None) -> str:
    if mark is None:
        return OK.json
    if mark == "":
        return CANCELLED.json
    return f'{ERROR.json},"error_type":{json.dumps(mark)}'


def _fitting(text: str, room: int) -> str:
    """The lines from the first on that fit; that one in any case."""
    end = text.rfind("\n", 0, max(room, 0) + 1)
    if end < 0:
        end = text.find("\n")
    return text if end < 0 else text[:end]


def tally_of(payload: bytes) -> Tally:
    """What `encode` noted as it wrote this; an element that is no entry to us has no figures."""
    tally = Tally()
    for element in payload.split(b"\n"):
        try:
            entry = decode(element)
        except RejectedEntryError:
            continue  # a newer release's, in its spool: the worker will say what it is
        tally.add(entry.func_name, entry.execution_time, entry.created_at, entry.mark)
    return tally
