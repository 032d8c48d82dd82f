"""Entries as JSON: how a producer writes them, and how a worker reads whatever it finds.

Producers and workers of different releases share `metrics_list`, so outcomes and fields that are not known are kept as
they are.
"""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from metrics_collector._core.figures import CANCELLED, ERROR, OK, OUTCOMES
from metrics_collector._core.totals import OtherOutcome, Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metrics_collector._core.totals import Mark
    from metrics_collector._recording.recorder import Record

MAX_ENTRY_BYTES: Final = 65_536
# The entries of one batch, and a third of what one request to Redis has at most: beside the entries it has the names of
# their functions and the figures of each, neither of which are longer. Some servers and proxies refuse a request of
# 1 MB (`client-query-buffer-limit`, or `proto-max-bulk-len` for one argument), and one that is refused holds up all
# behind it. An entry that a producer makes has at most 15 kB, as names and error types are cut: it always fits.
MAX_BATCH_BYTES: Final = 262_144
MAX_REQUEST_BYTES: Final = 3 * MAX_BATCH_BYTES
MAX_TEXT: Final = 10_000  # characters of a name, of an error type or of an id
MAX_SECONDS: Final = (
    1e10  # three centuries: beyond it a sum would lose its nanoseconds, and infinity is near
)
END_OF_TIME: Final = 253_402_300_800.0  # the year 10000, which no datetime can hold
ERROR_TYPE_CHARACTERS: Final = 200  # of a type's name, as a producer writes it
MAX_OUTCOME: Final = 100  # characters of an outcome's name
MAX_DEPTH: Final = 100  # lists or objects in each other; SQLite reads 1,000, Python by its version far fewer or more

# Below these, nanoseconds and microseconds are whole numbers that a float can hold. Then `n / 1e9` is the float closest
# to what the text "{n}e-9" says, and so the very number that a reader gets.
_EXACT_SECONDS: Final = 9e6
_EXACT_TIME: Final = 9e9

NUMBERED: Final = re.compile(r"([0-9a-f]{16})-([1-9][0-9]{0,14})")


_FIELDS: Final = frozenset(
    (
        "func_name",
        "execution_time",
        "created_at",
        "error_occurred",
        "outcome",
        "error_type",
        "id",
    )
)


class Entry(NamedTuple):
    """The record of one call, checked.

    Times are seconds, `created_at` UTC epoch; `extra` is JSON, an object of the fields that are not known, or `None`.
    `producer` and `number` are the identity by which it is saved once; `None` and 0 if it came from somewhere else.
    """

    func_name: str
    execution_time: float
    created_at: float
    error_occurred: int
    outcome: str
    error_type: str | None
    entry_id: str | None
    extra: str | None
    producer: str | None
    number: int

    @property
    def error(self) -> str | None:
        """The name that its error is counted under; `None` without one."""
        return _error(self.error_occurred, self.error_type)

    @property
    def mark(self) -> Mark:
        """What `Totals.add` takes."""
        return mark_of(self.error_occurred, self.outcome, self.error_type)


def mark_of(error_occurred: int, outcome: str, error_type: str | None) -> Mark:
    """What `Totals` takes of an entry with these fields."""
    error = _error(error_occurred, error_type)
    if outcome not in OUTCOMES:
        return OtherOutcome(outcome, error)
    return "" if outcome == CANCELLED.name else error


def _error(error_occurred: int, error_type: str | None) -> str | None:
    return (error_type or "Exception") if error_occurred else None


class RejectedEntryError(ValueError):
    """The text is no entry; the message is the reason, for `rejected_entries`.

    `producer` and `number` as in an entry: a producer of a newer release is to learn that SQL has what it sent.
    """

    producer: str | None = None
    number: int = 0


def encode(
    records: Sequence[Record],
    producer: str,
    first: int,
    offset: float,
    tally: Tally,
    *,
    room: int | None = None,
) -> list[str]:
    """The JSON of each record, in ASCII, numbered from `first`; and each is noted in the tally.

    Args:
        records: what the recorder holds: (func_name, start, end, mark), both times of the monotonic clock.
        producer: 16 hexadecimal digits.
        first: number of the first record.
        offset: seconds to add to the monotonic clock for UTC epoch seconds.
        tally: gets the numbers just as the JSON has them.
        room: bytes that all of the JSON may have; the records at the end that do not fit are left out, but never the
            first one.

    Times are written to the nanosecond, which is what clocks tell, and moments to the microsecond.
    """
    if not records:
        return []
    names, starts, ends, whole_marks = zip(*records, strict=True)
    # The shortened name of an error's type is what both JSON and totals get.
    marks = [mark and mark[:ERROR_TYPE_CHARACTERS] for mark in whole_marks]
    texts, execution_times, created_at = _times(
        [end - start for start, end in zip(starts, ends, strict=True)],
        [end + offset for end in ends],
    )
    heads = {name: f'{{"func_name":{_json_text(name)},"execution_time":' for name in set(names)}
    tails = {mark: f',{_kind(mark)},"id":"{producer}-' for mark in set(marks)}
    numbers = range(first, first + len(records))
    lines = [
        f'{heads[name]}{text}{tails[mark]}{number}"}}'
        for name, text, mark, number in zip(names, texts, marks, numbers, strict=True)
    ]
    if room is not None and sum(map(len, lines)) > room:
        sizes = accumulate(map(len, lines))
        fitting = max(1, sum(size <= room for size in sizes))
        lines, names, marks = lines[:fitting], names[:fitting], marks[:fitting]
        execution_times, created_at = execution_times[:fitting], created_at[:fitting]
    tally.add_all(names, execution_times, created_at, marks)
    return lines


def _times(
    execution_times: list[float], created_at: list[float]
) -> tuple[list[str], list[float], list[float]]:
    """Of each record the two times as text, with what stands between them; and all of both as the text has them."""
    # Not what `min` and `max` say, which may pass over a NaN.
    exact = [0.0 <= seconds < _EXACT_SECONDS for seconds in execution_times]
    exact += [0.0 <= moment < _EXACT_TIME for moment in created_at]
    if all(exact):
        # Whole numbers are written several times as fast as floats.
        nanoseconds = [int(seconds * 1e9 + 0.5) for seconds in execution_times]
        microseconds = [int(moment * 1e6 + 0.5) for moment in created_at]
        return (
            [
                f'{some}e-9,"created_at":{others}e-6'
                for some, others in zip(nanoseconds, microseconds, strict=True)
            ],
            [number / 1e9 for number in nanoseconds],
            [number / 1e6 for number in microseconds],
        )
    texts = []
    for index, pair in enumerate(zip(execution_times, created_at, strict=True)):
        if len(execution_times) > 1:
            ((text,), (seconds,), (moment,)) = _times([pair[0]], [pair[1]])
        else:
            seconds, moment = _in_bounds(*pair)
            text = f'{seconds!r},"created_at":{moment!r}'
        texts.append(text)
        execution_times[index], created_at[index] = seconds, moment
    return texts, execution_times, created_at


def tally_of(lines: Sequence[str]) -> Tally:
    """What `encode` noted as it wrote these lines; one that is no entry to us has no figures."""
    tally = Tally()
    for line in lines:
        try:
            entry = decode(line.encode())
        except RejectedEntryError:
            continue  # a newer release's, in its spool: the worker will say what it is
        tally.add_all(
            (entry.func_name,), (entry.execution_time,), (entry.created_at,), (entry.mark,)
        )
    return tally


def _in_bounds(execution_time: float, created_at: float) -> tuple[float, float]:
    """Times that a worker takes: clocks that tests put in the place of the real ones jump, and give odd numbers."""
    execution_time, created_at = float(execution_time), float(round(created_at, 6))
    if not 0.0 <= execution_time < MAX_SECONDS:
        execution_time = _nearest(execution_time, MAX_SECONDS)
    if not 0.0 <= created_at < END_OF_TIME:
        created_at = _nearest(created_at, END_OF_TIME)
    return execution_time, created_at


def _nearest(value: float, limit: float) -> float:
    """The number that is at least 0 and below the limit, and closest to the value; 0 for NaN."""
    return math.nextafter(limit, 0.0) if value >= limit else 0.0


@lru_cache(maxsize=4096)
def _json_text(text: str) -> str:
    return json.dumps(text)


@lru_cache(maxsize=1024)
def _kind(mark: str | None) -> str:
    if mark is None:
        return OK.json
    if mark == "":
        return CANCELLED.json
    return f'{ERROR.json},"error_type":{json.dumps(mark)}'


def decode(raw: bytes) -> Entry:
    """The entry in an element of `metrics_list`.

    Raises:
        RejectedEntryError: it is not one; the message says why.
    """
    if len(raw) > MAX_ENTRY_BYTES:
        raise RejectedEntryError(f"longer than {MAX_ENTRY_BYTES:,} bytes")
    try:
        fields = DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise RejectedEntryError("not UTF-8") from None
    except RecursionError:
        raise RejectedEntryError("not JSON: nested too deeply") from None
    except RejectedEntryError:
        raise
    except ValueError as error:
        raise RejectedEntryError(f"not JSON: {str(error)[:200]}") from None
    return checked(fields)


def checked(fields: Any) -> Entry:
    """The entry in the value of an element.

    Raises:
        RejectedEntryError: as `decode`.
    """
    if not isinstance(fields, dict):
        raise RejectedEntryError("not a JSON object")
    producer, number = _identity(fields.get("id"))
    try:
        return _checked(fields, producer, number)
    except RejectedEntryError as rejection:
        rejection.producer, rejection.number = producer, number
        raise


def _identity(entry_id: object) -> tuple[str | None, int]:
    numbered = NUMBERED.fullmatch(entry_id) if isinstance(entry_id, str) else None
    return (numbered[1], int(numbered[2])) if numbered else (None, 0)


def _checked(fields: dict[str, Any], producer: str | None, number: int) -> Entry:
    func_name = _text(fields, "func_name")
    if not func_name:
        raise RejectedEntryError("func_name is missing or empty")
    execution_time = _number(fields, "execution_time", MAX_SECONDS)
    created_at = _number(fields, "created_at", END_OF_TIME)
    flag = fields.get("error_occurred")
    if flag not in (0, 1) or not isinstance(flag, int):  # JSON's true and false are fine
        raise RejectedEntryError("error_occurred is neither 0 nor 1")
    error_occurred = int(flag)
    error_type = _text(fields, "error_type")
    outcome = _text(fields, "outcome") or (ERROR if error_occurred else OK).name
    if outcome not in OUTCOMES:  # a newer release's, of whose error type nothing is known either
        if len(outcome) > MAX_OUTCOME or not outcome.isprintable():
            raise RejectedEntryError(
                f"outcome is longer than {MAX_OUTCOME} characters or not printable"
            )
    elif (outcome == ERROR.name) != bool(error_occurred):
        raise RejectedEntryError("outcome contradicts error_occurred")
    elif error_type is not None and not error_occurred:
        raise RejectedEntryError("error_type without an error")
    entry_id = fields["id"] if producer is not None else _text(fields, "id")
    extra = None if fields.keys() <= _FIELDS else _extra(fields)
    entry: Entry = _new(
        Entry,
        (
            func_name,
            execution_time,
            created_at,
            error_occurred,
            outcome,
            error_type,
            entry_id,
            extra,
            producer,
            number,
        ),
    )
    return entry


def _extra(fields: dict[str, Any]) -> str:
    """The fields that are not known, in ASCII, so that half a surrogate pair or a NUL can be stored, too."""
    unknown = {key: value for key, value in fields.items() if key not in _FIELDS}
    if _deeper(unknown, MAX_DEPTH):
        raise RejectedEntryError(f"a field is nested more than {MAX_DEPTH} deep")
    try:
        return json.dumps(unknown, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise RejectedEntryError("a field holds a number that is too large") from None


def _deeper(value: object, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(not depth or _deeper(one, depth - 1) for one in inner)


def _text(fields: dict[str, Any], key: str) -> str | None:
    value = fields.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise RejectedEntryError(f"{key} is not a text")
    if wrong := problem(value):
        raise RejectedEntryError(f"{key} {wrong}")
    return value


@lru_cache(maxsize=4096)
def problem(value: str) -> str:
    """Why this can be no text of an entry; "" if it can."""
    if len(value) > MAX_TEXT:
        return f"is longer than {MAX_TEXT:,} characters"
    if "\0" in value:  # where SQLite's texts end
        return "holds a NUL"
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return "has half a surrogate pair"
    return ""


def _number(fields: dict[str, Any], key: str, limit: float) -> float:
    value = fields.get(key)
    if type(value) is float and 0 <= value < limit:
        return value + 0.0  # -0.0 becomes 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RejectedEntryError(f"{key} is missing or not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not 0 <= number < limit:
        raise RejectedEntryError(f"{key} is not between 0 and {limit:g}")
    return number


def _no_constant(name: str) -> float:
    raise RejectedEntryError(f"{name} is not a number")


_new: Final[Any] = tuple.__new__  # of a NamedTuple, in a third of the time
DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)
