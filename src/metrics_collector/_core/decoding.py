"""Elements of `metrics_list` read as entries, one or many: what is one by `entries`, and of any other why it is none.

Many are read by pydantic-core, in a fraction of the time. What it does not take, and what it takes no look at, goes the
way of one: by Python's own reader of JSON, which takes more, and gives the reasons that people read.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import lru_cache
from itertools import compress, count, groupby, islice
from operator import itemgetter, ne
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, TypeAlias

from metrics_collector._core.entries import (
    FIELDS,
    MAX_ENTRY_BYTES,
    NUMBERS,
    Entry,
    RejectedEntryError,
    ending,
    identity,
    schema,
)
from metrics_collector._core.figures import OK
from metrics_collector._support import fork_hooks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic_core import CoreSchema, SchemaValidator, ValidationError

MAX_DEPTH: Final = 100  # lists or objects in each other; SQLite reads 1,000, Python by its version far fewer or more
_SHORT: Final = ("func_name", "execution_time", "created_at", "id")  # what stands in a short row
SHORT_ROW: Final = len(_SHORT)  # fields of a row that has no others
_OTHERS: Final = ("error_occurred", "outcome", "error_type")

Row: TypeAlias = (
    "tuple[str, float, float, str | None]"
    "| tuple[str, float, float, str | None, int, str, str | None, str | None]"
)
"""An entry's fields up to `extra`; of one that is ok with no `extra`, as most are, up to `entry_id`."""


class EntryRun(NamedTuple):
    """Entries in a row, whose numbers follow each other, or that have none.

    Attributes:
        producer: of them all; `None` if they have no numbers.
        first: number of the first one.
        rows: at least one.
    """

    producer: str | None
    first: int
    rows: Sequence[Row]


def decode(raw: bytes) -> Entry:
    """The entry in an element of `metrics_list`.

    Raises:
        RejectedEntryError: it is not one; the message says why.
    """
    if len(raw) > MAX_ENTRY_BYTES:
        raise RejectedEntryError(f"longer than {MAX_ENTRY_BYTES:,} bytes")
    try:
        fields = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise RejectedEntryError("not UTF-8") from None
    except RecursionError:
        raise RejectedEntryError("not JSON: nested too deeply") from None
    except ValueError as error:
        raise RejectedEntryError(f"not JSON: {str(error)[:200]}") from None
    if not isinstance(fields, dict):
        raise RejectedEntryError("not a JSON object")
    producer, number = identity(fields.get("id"))
    try:
        row = _row(_checked(fields))
    except RejectedEntryError as rejection:
        rejection.producer, rejection.number = producer, number
        raise
    return Entry._make((*row, *(() if len(row) > SHORT_ROW else (*_OK, None)), producer, number))


def decode_all(elements: Sequence[bytes]) -> list[EntryRun | RejectedEntryError]:
    """What `decode` gives or raises for each of the elements, in order; entries in runs."""
    rows = _rows(elements)
    if all(rows):
        return list(_runs(rows))
    contents: list[Any] = []
    complete = (row or _row_or_rejection(raw) for row, raw in zip(rows, elements, strict=True))
    for kind, group in groupby(complete, type):
        some = list(group)
        contents += some if kind is RejectedEntryError else _runs(some)
    return contents


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    """The object as a validator gives it."""
    from pydantic_core import ValidationError

    known = {name: fields[name] for name in FIELDS if name in fields}
    try:
        valid: dict[str, Any] = _validator().validate_python(known)
    except ValidationError as errors:
        raise _rejection(errors) from None
    if len(known) < len(fields):
        valid |= {name: value for name, value in fields.items() if name not in FIELDS}
    return valid


def _row(fields: dict[str, Any]) -> tuple[Any, ...]:
    """The row of an object as a validator gives it."""
    func_name, execution_time, created_at, entry_id = _row_fields(fields)
    row = func_name, execution_time + 0.0, created_at + 0.0, entry_id  # -0.0 becomes 0.0
    ended = ending(*_other_fields(fields))
    extra = None
    if len(fields) > len(FIELDS):
        extra = _extra(dict(islice(fields.items(), len(FIELDS), None)))
    return row if ended == _OK and extra is None else (*row, *ended, extra)


_OK: Final = (0, OK.name, None)
_row_fields: Final = itemgetter(*_SHORT)
_seconds: Final = itemgetter(_SHORT.index("execution_time"))
_moment: Final = itemgetter(_SHORT.index("created_at"))
_other_fields: Final = itemgetter(*_OTHERS)


def _rejection(errors: ValidationError) -> RejectedEntryError:
    first = errors.errors(include_url=False, include_context=False)[0]
    name, value = str(first["loc"][0]), first["input"]
    if isinstance(value, _Constant):
        return value.rejection()
    return RejectedEntryError(f"{name} {FIELDS[name].wrong(first['type'], value)}")


def _extra(unknown: dict[str, Any]) -> str:
    """The fields that are not known, in ASCII, so that half a surrogate pair or a NUL can be stored, too."""
    if _deeper(unknown, MAX_DEPTH):
        raise RejectedEntryError(f"a field is nested more than {MAX_DEPTH} deep")
    try:
        return _ENCODER.encode(unknown)
    except RejectedEntryError:
        raise
    except ValueError:
        raise RejectedEntryError("a field holds a number that is too large") from None


def _deeper(value: object, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(not depth or _deeper(one, depth - 1) for one in inner)


class _Constant:
    """NaN or an infinity, which Python's JSON knows beyond the standard's."""

    def __init__(self, name: str) -> None:
        self._name = name

    def rejection(self) -> RejectedEntryError:
        return RejectedEntryError(f"{self._name} is not a number")


def _refuse(constant: _Constant) -> NoReturn:
    raise constant.rejection()


_DECODER: Final = json.JSONDecoder(parse_constant=_Constant)
_ENCODER: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_refuse)


def _row_or_rejection(raw: bytes) -> tuple[Any, ...] | RejectedEntryError:
    try:
        entry = decode(raw)
    except RejectedEntryError as rejection:
        return rejection
    return entry[: SHORT_ROW if entry[SHORT_ROW:-2] == (*_OK, None) else -2]


def _rows(elements: Sequence[bytes]) -> list[Row | None]:
    """The row of each; `None`: only `decode` can say what it is."""
    if not elements or max(map(len, elements)) > MAX_ENTRY_BYTES or not _reads_as_python():
        return [None] * len(elements)
    text = b"".join(elements)
    # JSON has no other way to write a NUL; mostly there is no escape at all.
    nul = b"\\" in text and rb"\u0000" in text
    brief = _bulk_validator(nul=nul, brief=True).validate_python(elements)
    # Each field has a colon, so that there is none beside those found if there are no more colons.
    if None not in brief and text.count(b":") == sum(map(len, brief)):
        return _brief_rows(brief)
    return list(map(_row_or_none, _bulk_validator(nul=nul, brief=False).validate_python(elements)))


def _brief_rows(found: Sequence[dict[str, Any]]) -> list[Row | None]:
    rows: list[Any] = list(map(_row_fields, found))
    usual = all(map(_seconds, rows)) and all(map(_moment, rows))  # 0.0 may be -0.0
    for index, fields in enumerate(found):
        if len(fields) > _LEAST or fields["error_occurred"] or not usual:
            rows[index] = _row_or_none(_ABSENT | fields)
    return rows


_LEAST: Final = len(_SHORT) + 1  # fields of an entry that is ok, as producers write it
_ABSENT: Final = dict.fromkeys(("outcome", "error_type"))


def _row_or_none(fields: dict[str, Any] | None) -> tuple[Any, ...] | None:
    if fields is not None:
        with suppress(RejectedEntryError):
            return _row(fields)
    return None


def _runs(rows: Sequence[Any]) -> Iterator[EntryRun]:
    ids = [row[SHORT_ROW - 1] for row in rows]
    start = 0
    while start < len(ids):
        producer, first = identity(ids[start])
        stop = start + 1
        if producer is None:
            while stop < len(ids) and identity(ids[stop])[0] is None:
                stop += 1
        else:  # to write an id takes less than to read it
            end = min(len(ids), start + NUMBERS - first)
            following = map(f"{producer}-%d".__mod__, count(first + 1))
            others = map(ne, islice(ids, stop, end), following)
            stop = next(compress(count(stop), others), end)
        yield EntryRun(producer, first, rows[start:stop])
        start = stop


@lru_cache(maxsize=1)
def _validator() -> SchemaValidator:
    return _ready(schema(), {})


@lru_cache(maxsize=1)
def _reads_as_python() -> bool:
    """Whether of two fields with one name the last counts; pydantic-core before 2.33 may take the first."""
    from pydantic_core import core_schema

    fields = {name: core_schema.typed_dict_field(core_schema.any_schema()) for name in "ab"}
    twice = '{"b":0,"a":1,"a":2}'
    one = core_schema.json_schema(core_schema.typed_dict_schema(fields))
    return bool(_ready(one, twice).validate_python(twice) == json.loads(twice))


@lru_cache(maxsize=4)
def _bulk_validator(*, nul: bool, brief: bool) -> SchemaValidator:
    """Of a list of elements: gives the fields of each, and `None` for one that is not valid."""
    from pydantic_core import core_schema

    # Each is JSON by itself, so that no two can be an entry together; and no error is made for any.
    one = core_schema.with_default_schema(
        core_schema.json_schema(schema(nul=nul, brief=brief)), default=None, on_error="default"
    )
    return _ready(core_schema.list_schema(one), [b"{}"])


def _ready(valid: CoreSchema, something: object) -> SchemaValidator:
    """A validator whose first use is over: it takes a lock, which the child of a fork at that time would wait for."""
    from pydantic_core import SchemaValidator, ValidationError

    with fork_hooks.no_fork():
        validator = SchemaValidator(valid)
        with suppress(ValidationError):
            validator.validate_python(something)
    return validator
