"""How a producer writes entries: the JSON of many calls at once, column by column.

A batch has thousands of calls, and what a call costs the application is mostly this. So there is no step of Python for
each call but for arithmetic: columns go through compiled functions, and the text is joined from them in one go.
"""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from metrics_collector._core.decoding import decode
from metrics_collector._core.entries import RejectedEntryError
from metrics_collector._core.figures import CANCELLED, ERROR, OK
from metrics_collector._core.totals import Tally
from metrics_collector._support import fork_hooks

if TYPE_CHECKING:
    from pydantic_core import SchemaSerializer

    from metrics_collector._core.columns import Columns

_END: Final = '"}'


def encode(
    columns: Columns,
    producer: str,
    first: int,
    tally: Tally | None = None,
    *,
    room: int = sys.maxsize,
) -> tuple[bytes, tuple[Columns, ...]]:
    """The JSON of each call, in ASCII, numbered from `first`: of the same calls always the same.

    Args:
        columns: the calls.
        producer: 16 hexadecimal digits.
        first: number of the first call.
        tally: notes the calls, if there is one: the numbers just as the JSON has them.
        room: bytes that the text may have; the calls at the end that do not fit are left out, but never the first.

    Returns:
        The JSON, joined by newlines; the calls that it has, and those that are left out, if any.
    """
    times, moments = columns.numbers()
    count = columns.count
    digits = _digits(times, count), _digits(moments, count)
    text = _joined(columns, *digits, producer, first)
    if len(text) > room:
        text = _fitting(text, room)
        count = text.count("\n") + 1
    parts = columns.split(count)
    if tally is not None:
        some = parts[0]
        tally.add_all(some.func_names, some.functions, times[:count], moments[:count], some.marks)
    # Each slice on its own: the text of a whole batch and its bytes would be asked of the system anew each time.
    return text.encode(), parts


def _digits(numbers: list[float], count: int) -> list[str]:
    """Those of each whole number from 0 up; by a compiled writer, but for very large ones."""
    text = _writer().to_json(numbers).decode()
    digits = text[1:-3].split(".0,")
    usual = len(digits) == count and text.endswith(".0]")
    return digits if usual else [f"{number:.0f}" for number in numbers]


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


def _joined(
    columns: Columns, times: list[str], moments: list[str], producer: str, first: int
) -> str:
    """The JSON of all entries, from their columns: each entry is seven parts of one long list."""
    count = columns.count
    heads = list(map(_head, columns.func_names))
    tail = f',"id":"{producer}-'
    tails = [f"e-6,{OK.json}{tail}"] * count
    for position, mark in columns.marks.items():
        tails[position] = f"e-6,{_kind(mark)}{tail}"
    parts = ['e-9,"created_at":'] * (7 * count)
    parts[0::7] = map(heads.__getitem__, columns.functions)
    parts[1::7], parts[3::7], parts[4::7] = times, moments, tails
    parts[5::7], parts[6::7] = _numbers(first, count)
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
def _kind(mark: str) -> str:
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
