"""What an entry is: its fields as JSON has them, what each may hold, and what they say together.

All that reads entries checks them by `FIELDS` and `ending`. Producers and workers of different releases share
`metrics_list`, so outcomes and fields that are not known are kept as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from metrics_collector._core.figures import CANCELLED, ERROR, OK, OUTCOMES
from metrics_collector._core.totals import OtherOutcome

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

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

NUMBERS: Final = 10**15  # more than a producer ever reaches
_NUMBERED: Final = re.compile(r"([0-9a-f]{16})-([1-9][0-9]{0,14})")


class Text(NamedTuple):
    """A field that holds a text without a NUL, which ends SQLite's texts; unless `required` also null, or missing."""

    required: bool = False

    def schema(self, *, nul: bool = True, default: bool = True) -> CoreSchema:
        """For pydantic-core; without `nul` there is none in it, for which to look takes as long as all else.

        With `default`, it is `None` where it is missing.
        """
        from pydantic_core import core_schema as kinds

        text = kinds.str_schema(
            strict=True,
            min_length=int(self.required),
            max_length=MAX_TEXT,
            pattern=r"\A[^\x00]*\z" if nul else None,
        )
        if self.required:
            return text
        nullable = kinds.nullable_schema(text)
        return kinds.with_default_schema(nullable, default=None) if default else nullable

    def wrong(self, error: str, value: object) -> str:
        """What is wrong with it, by pydantic-core's name for that."""
        if self.required and (value is None or error in {"missing", "string_too_short"}):
            return "is missing or empty"
        return {
            "string_too_long": f"is longer than {MAX_TEXT:,} characters",
            "string_pattern_mismatch": "holds a NUL",
            "string_unicode": "has half a surrogate pair",
        }.get(error, "is not a text")


class Number(NamedTuple):
    """A field that holds a number, at least 0 and below the limit."""

    limit: float

    def schema(self, **_options: bool) -> CoreSchema:
        """For pydantic-core."""
        from pydantic_core import core_schema as kinds

        return kinds.float_schema(strict=True, ge=0, lt=self.limit, allow_inf_nan=False)

    def wrong(self, error: str, value: object) -> str:
        """What is wrong with it, by pydantic-core's name for that."""
        too_large = isinstance(value, int) and not isinstance(value, bool)  # for a float
        if error == "missing" or (error == "float_type" and not too_large):
            return "is missing or not a number"
        return f"is not between 0 and {self.limit:g}"


class Flag(NamedTuple):
    """A field that holds 0 or 1; JSON's true and false are fine."""

    def schema(self, **_options: bool) -> CoreSchema:
        """For pydantic-core."""
        from pydantic_core import core_schema as kinds

        number = kinds.int_schema(strict=True, ge=0, le=1)
        other = kinds.no_info_after_validator_function(int, kinds.bool_schema(strict=True))
        return kinds.union_schema([number, other], mode="left_to_right")

    def wrong(self, _error: str, _value: object) -> str:
        """What is wrong with it."""
        return "is neither 0 nor 1"


FIELDS: Final[dict[str, Text | Number | Flag]] = {
    "func_name": Text(required=True),
    "execution_time": Number(MAX_SECONDS),
    "created_at": Number(END_OF_TIME),
    "error_occurred": Flag(),
    "outcome": Text(),
    "error_type": Text(),
    "id": Text(),
}
_MOSTLY_ABSENT: Final = {"outcome", "error_type"}


def ending(
    error_occurred: int, outcome: str | None, error_type: str | None
) -> tuple[int, str, str | None]:
    """How a call ended, whose fields are each as `FIELDS` says: error_occurred, outcome and error_type, filled in.

    Raises:
        RejectedEntryError: together they make no sense.
    """
    outcome = outcome or (ERROR if error_occurred else OK).name
    if outcome not in OUTCOMES:  # a newer release's, of whose error type nothing is known either
        if len(outcome) > MAX_OUTCOME or not outcome.isprintable():
            raise RejectedEntryError(
                f"outcome is longer than {MAX_OUTCOME} characters or not printable"
            )
    elif (outcome == ERROR.name) != bool(error_occurred):
        raise RejectedEntryError("outcome contradicts error_occurred")
    elif error_type is not None and not error_occurred:
        raise RejectedEntryError("error_type without an error")
    return error_occurred, outcome, error_type


def identity(entry_id: object) -> tuple[str | None, int]:
    """Producer and number in an id, the latter below `NUMBERS`; `None` and 0 if no producer of ours has given it."""
    numbered = _NUMBERED.fullmatch(entry_id) if isinstance(entry_id, str) else None
    return (numbered[1], int(numbered[2])) if numbered else (None, 0)


def schema(*, nul: bool = True, brief: bool = False) -> CoreSchema:
    """An object with `FIELDS`, for pydantic-core: it gives a dict of all of them in order, then the unknown ones.

    Args:
        nul: whether there may be a NUL in it.
        brief: give only those of `FIELDS` that are there, all but `outcome` and `error_type` of which have to be.
    """
    from pydantic_core import core_schema as kinds

    fields = {
        name: kinds.typed_dict_field(
            kind.schema(nul=nul, default=not brief),
            required=name not in _MOSTLY_ABSENT if brief else None,
        )
        for name, kind in FIELDS.items()
    }
    return kinds.typed_dict_schema(fields, extra_behavior="ignore" if brief else "allow")


class Entry(NamedTuple):
    """The record of one call, checked.

    Times are seconds, `created_at` UTC epoch; `extra` is JSON, an object of the fields that are not known, or `None`.
    `producer` and `number` are the identity by which it is saved once; `None` and 0 if it came from somewhere else.
    """

    func_name: str
    execution_time: float
    created_at: float
    entry_id: str | None
    error_occurred: int
    outcome: str
    error_type: str | None
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
