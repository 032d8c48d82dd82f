"""Many elements of `metrics_list` at once, in a fraction of the time that one by one they would take."""

from __future__ import annotations

import json
import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from metrics_collector._core.entries import (
    DECODER,
    END_OF_TIME,
    MAX_ENTRY_BYTES,
    MAX_SECONDS,
    Entry,
    RejectedEntryError,
    checked,
    decode,
    problem,
)
from metrics_collector._core.figures import CANCELLED, ERROR, OK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# What our producers write of calls with usual times. `^`, `$` and "\n" are where elements begin and end, as none of
# them has a newline in it; a text is what JSON allows, but for its escapes, which are looked at once a text.
_TEXT: Final = r'"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*"'
_WHOLE: Final = r"(?:0|[1-9][0-9]{0,19})"
_USUAL: Final = re.compile(
    rf'^\{{"func_name":({_TEXT}),"execution_time":({_WHOLE}e-9),"created_at":({_WHOLE}e-6),'
    rf'({OK.json}|{ERROR.json},"error_type":{_TEXT}|{CANCELLED.json}),'
    r'"id":"([0-9a-f]{16}-[1-9][0-9]{0,14})"\}$',
    re.MULTILINE,
)

Row: TypeAlias = (
    "tuple[str, float, float, int, str, str | None, str | None]"
    "| tuple[str, float, float, int, str, str | None, str | None, str]"
)
"""An entry's fields up to `entry_id`, and `extra` if it has any."""


class EntryRun(NamedTuple):
    """Entries in a row, whose numbers follow each other.

    Attributes:
        producer: of them all.
        first: number of the first one.
        rows: at least one.
    """

    producer: str
    first: int
    rows: Sequence[Row]


def decode_all(elements: Sequence[bytes]) -> Sequence[EntryRun | Entry | RejectedEntryError]:
    """What `decode` gives or raises for each of the elements, in order; or runs of what it gives."""
    values = None
    if elements and max(map(len, elements)) <= MAX_ENTRY_BYTES:
        usual = _usual(elements)
        if usual is not None:
            return usual
        values = _decoded_together(elements)
    if values is None:
        return [_result(decode, raw) for raw in elements]
    return [_result(checked, fields) for fields in values]


def _result(check: Callable[[Any], Entry], what: Any) -> Entry | RejectedEntryError:
    try:
        return check(what)
    except RejectedEntryError as rejection:
        return rejection


def _usual(elements: Sequence[bytes]) -> list[EntryRun] | None:
    """The entries, if all of the elements are as our producers usually write them; else `None`, however good."""
    try:
        text = b"\n".join(elements).decode("utf-8")
    except UnicodeDecodeError:
        return None
    found = _USUAL.findall(text)
    if len(found) != len(elements) or text.count("\n") != len(found) - 1:
        return None
    quoted, seconds, moments, kinds, ids = zip(*found, strict=True)
    names = {text: _name(text) for text in set(quoted)}
    ends = {kind: _end(kind) for kind in set(kinds)}
    execution_times = list(map(float, seconds))
    created_at = list(map(float, moments))
    if (
        not all(names.values())
        or not all(ends.values())
        or max(execution_times) >= MAX_SECONDS
        or max(created_at) >= END_OF_TIME
    ):
        return None
    rows: list[Any] = list(
        zip(
            map(names.__getitem__, quoted),
            execution_times,
            created_at,
            *zip(*map(ends.__getitem__, kinds), strict=True),
            ids,
            strict=True,
        )
    )
    return [
        EntryRun(producer, first, rows[start:stop]) for producer, first, start, stop in _runs(ids)
    ]


def _runs(ids: Sequence[str]) -> Iterator[tuple[str, int, int, int]]:
    """Producer, first number, and the bounds of each run of ids whose numbers follow each other."""
    producer, first = ids[0][:16], int(ids[0][17:])
    if ids[-1] == f"{producer}-{first + len(ids) - 1}" and ids == tuple(
        [f"{producer}-{number}" for number in range(first, first + len(ids))]
    ):
        yield producer, first, 0, len(ids)
        return
    start, following = 0, first
    for index, entry_id in enumerate(ids):
        number = int(entry_id[17:])
        if number != following or not entry_id.startswith(producer):
            yield producer, first, start, index
            producer, first, start = entry_id[:16], number, index
        following = number + 1
    yield producer, first, start, len(ids)


@lru_cache(maxsize=4096)
def _name(quoted: str) -> str | None:
    """The name in such a JSON text, if it can be one."""
    try:
        name: str = json.loads(quoted)
    except ValueError:
        return None
    return name if not problem(name) else None


@lru_cache(maxsize=1024)
def _end(fields: str) -> tuple[int, str, str | None] | None:
    """Flag, outcome and error type in these fields, if they can be that."""
    for without_error in (OK, CANCELLED):
        if fields == without_error.json:
            return 0, without_error.name, None
    error_type = _name(fields.removeprefix(f'{ERROR.json},"error_type":'))
    return None if error_type is None else (1, ERROR.name, error_type)


def _decoded_together(elements: Sequence[bytes]) -> list[Any] | None:
    """The value of each element, read as one text; `None` if that does not work, for whatever reason.

    Between any two stands a word that nobody can know, so what lies between two of these words is one value: whoever
    writes half a value into one element and the rest into the next has the word in the midst of it.
    """
    word = os.urandom(16).hex()
    text = b"[" + f',"{word}",'.encode().join(elements) + b"]"
    try:
        values = DECODER.decode(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    words = values[1::2]
    if len(values) != 2 * len(elements) - 1 or words.count(word) != len(words):
        return None
    return list(values[::2])
