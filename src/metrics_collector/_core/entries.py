"""Entries: what a worker reads in `metrics_list`, whatever it finds there.

Producers and workers of different releases share `metrics_list`, so outcomes and fields that are not known are kept as
they are.
"""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from metrics_collector._core.figures import CANCELLED, ERROR, OK, OUTCOMES
from metrics_collector._core.totals import OtherOutcome

if TYPE_CHECKING:
    from metrics_collector._core.totals import Mark

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
MAX_OUTCOME: Final = 100  # characters of an outcome's name
MAX_DEPTH: Final = 100  # lists or objects in each other; SQLite reads 1,000, Python by its version far fewer or more

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
