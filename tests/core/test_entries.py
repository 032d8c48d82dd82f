"""Entries as JSON: what a producer writes, a worker reads; and of anything else, it says why that is none."""

from __future__ import annotations

import json
import math
import sqlite3
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metrics_collector._core import encoding
from metrics_collector._core.columns import Columns
from metrics_collector._core.decoding import decode
from metrics_collector._core.encoding import tally_of
from metrics_collector._core.entries import (
    END_OF_TIME,
    MAX_OUTCOME,
    MAX_SECONDS,
    RejectedEntryError,
)
from metrics_collector._core.histogram import bucket
from metrics_collector._core.totals import OtherOutcome, Tally, Totals

if TYPE_CHECKING:
    from metrics_collector._recording.recorder import Record

PRODUCER = "0123456789abcdef"

# What `checked_name` lets through: quotes, newlines, control and astral characters, anything that UTF-8 can hold.
names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
)
marks = st.none() | st.just("") | names  # a type may be called anything but these, too
clocks = st.floats(allow_nan=False) | st.floats(0, 1e6)
records = st.lists(st.tuples(names, clocks, clocks, marks), min_size=1, max_size=4)
offsets = st.floats(0, 3e11)

GOOD: dict[str, Any]
GOOD = {"func_name": "f", "execution_time": 0.5, "created_at": 1e9, "error_occurred": 0}


def encode(
    records: list[Record], producer: str, first: int, offset: float, tally: Tally | None = None
) -> list[str]:
    text, (some,) = encoding.encode(Columns.of(records, offset), producer, first, tally)
    lines = text.decode().split("\n")
    assert len(lines) == some.count == len(records)
    return lines


def as_json(totals: dict[str, Totals]) -> dict[str, Any]:
    return {name: json.loads(of_function.dumps()) for name, of_function in totals.items()}


def raw(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def reason(text: bytes) -> str:
    with pytest.raises(RejectedEntryError) as refusal:
        decode(text)
    return str(refusal.value)


@given(records=records, first=st.integers(1, 10**14), offset=offsets)
@example(records=[('"\\\n\r\t\x01\x7f\u2028\U0001f600', 0.0, 1.0, None)], first=1, offset=0.0)
@example(records=[("f", 5.0, 1.0, "Wrong")], first=1, offset=-10.0)  # faked clocks jump back
@example(records=[("f", 0.0, math.inf, "")], first=1, offset=0.0)
@example(records=[("f", math.inf, math.inf, None)], first=1, offset=0.0)
def test_every_record_becomes_an_entry(records: list[Record], first: int, offset: float) -> None:
    lines = encode(records, PRODUCER, first, offset)
    entries = [decode(line.encode()) for line in lines]

    assert [entry.func_name for entry in entries] == [name for name, *_ in records]
    assert [entry.mark for entry in entries] == [mark and mark[:200] for *_, mark in records]
    assert [(entry.producer, entry.number) for entry in entries] == [
        (PRODUCER, first + index) for index in range(len(records))
    ]
    for entry, (_, start, end, _) in zip(entries, records, strict=True):
        if 0 <= end - start < MAX_SECONDS:
            assert entry.execution_time == pytest.approx(end - start, rel=1e-15, abs=1e-9)
        if 0 <= end + offset < END_OF_TIME - 1:
            assert entry.created_at == pytest.approx(end + offset, rel=1e-15, abs=1e-6)


@given(records=records, offset=offsets)
def test_totals_are_those_of_the_numbers_as_written(records: list[Record], offset: float) -> None:
    tally = Tally()
    lines = encode(records, PRODUCER, 1, offset, tally)

    read: dict[str, Totals] = {}
    for line in lines:
        fields = json.loads(line)
        mark = fields.get("error_type") or ("" if fields.get("outcome") == "cancelled" else None)
        of_function = read.setdefault(fields["func_name"], Totals())
        of_function.add(fields["execution_time"], fields["created_at"], mark)

    totals = tally.totals()
    assert as_json(tally_of("\n".join(lines).encode()).totals()) == as_json(read)
    for name, of_function in totals.items():  # whose sum may be more exact
        assert of_function.execution_time == pytest.approx(read[name].execution_time)
        of_function.execution_time = read[name].execution_time
    assert as_json(read) == as_json(totals)


def test_totals_grow_by_each_slice() -> None:
    tally = Tally()
    encode([("f", 0.0, 1.0, None)], PRODUCER, 1, 0.0, tally)
    encode([("f", 0.0, 3.0, None), ("g", 0.0, 1.0, "")], PRODUCER, 2, 0.0, tally)

    totals = tally.totals()
    assert totals["f"].counts == {"call_count": 2, bucket(1.0): 1, bucket(3.0): 1}
    assert totals["g"].counts["cancelled_count"] == 1


@pytest.mark.parametrize("first", [1, 998, 1_998, 999_998])
def test_numbers_follow_one_another_over_each_thousand(first: int) -> None:
    lines = encode([("f", 0.0, 1.0, None)] * 1_005, PRODUCER, first, 0.0)

    assert [decode(line.encode()).number for line in lines] == list(range(first, first + 1_005))


@given(st.lists(names, min_size=1, max_size=5), st.integers(-1, 1000))
def test_what_does_not_fit_is_left_out_from_the_end(some: list[str], room: int) -> None:
    records: list[Record] = [(name, 0.0, 1.0, None) for name in some]
    lines, tally = encode(records, PRODUCER, 1, 0.0), Tally()

    text, (taken, *left) = encoding.encode(Columns.of(records, 0.0), PRODUCER, 1, tally, room=room)

    fitting = [n for n in range(1, len(lines) + 1) if len("\n".join(lines[:n])) <= room]
    assert taken.count == max(fitting, default=1) == len(lines) - sum(one.count for one in left)
    assert text.decode().split("\n") == lines[: taken.count]
    assert sum(totals.counts["call_count"] for totals in tally.totals().values()) == taken.count


def test_an_entry_is_one_line_of_ascii() -> None:
    (line,) = encode([("f\n\u2028é\U0001f600", 0.0, 1.0, "Fehlér")], PRODUCER, 1, 0.0)

    assert line.isascii()
    assert "\n" not in line


def test_what_says_nothing_is_left_out() -> None:
    records = [("f", 0.0, 0.5, mark) for mark in (None, "KeyError", "")]
    ok, error, cancelled = map(json.loads, encode(records, PRODUCER, 9, 1.7e9))

    common = {"func_name": "f", "execution_time": 0.5, "created_at": 1.7e9 + 0.5}
    common |= {"error_occurred": 0, "id": f"{PRODUCER}-9"}
    assert ok == common
    own = {"error_occurred": 1, "error_type": "KeyError", "id": f"{PRODUCER}-10"}
    assert error == common | own
    assert cancelled == common | {"outcome": "cancelled", "id": f"{PRODUCER}-11"}


def test_a_long_error_type_is_cut_off_in_entry_and_totals() -> None:
    tally = Tally()
    (line,) = encode([("f", 0.0, 1.0, "E" * 500)], PRODUCER, 1, 0.0, tally)

    assert decode(line.encode()).error_type == "E" * 200
    assert f"error:{'E' * 200}" in tally.totals()["f"].counts


def test_the_longest_entry_is_short_enough() -> None:
    longest = ("\U0001f600" * 1000, 0.0, 1.0, "\U0001f600" * 500)
    (line,) = encode([longest], PRODUCER, 1, 0.0)

    decode(line.encode())


def test_numbers_of_other_programs_are_taken() -> None:
    entry = decode(raw(execution_time=1, error_occurred=True, created_at=0))

    assert (entry.execution_time, entry.created_at, entry.error_occurred) == (1.0, 0.0, 1)
    assert (entry.outcome, entry.error_type, entry.mark) == ("error", None, "Exception")
    assert (entry.entry_id, entry.producer, entry.number) == (None, None, 0)


@pytest.mark.parametrize(
    ("changes", "mark"),
    [
        ({"outcome": "timeout"}, OtherOutcome("timeout", None)),
        ({"outcome": "OK"}, OtherOutcome("OK", None)),
        ({"outcome": "é" * 100}, OtherOutcome("é" * 100, None)),
        ({"outcome": "refused", "error_type": "KeyError"}, OtherOutcome("refused", None)),
        ({"outcome": "refused", "error_occurred": 1}, OtherOutcome("refused", "Exception")),
        (
            {"outcome": "refused", "error_occurred": 1, "error_type": "KeyError"},
            OtherOutcome("refused", "KeyError"),
        ),
    ],
)
def test_an_outcome_that_is_not_known_is_kept(changes: dict[str, Any], mark: OtherOutcome) -> None:
    entry = decode(raw(**changes))

    assert (entry.outcome, entry.mark) == (changes["outcome"], mark)
    assert entry.error_type == changes.get("error_type")
    assert entry.error == mark.error_type


@pytest.mark.parametrize(
    "unknown",
    [
        {},
        {"trace": "0af7", "context": {"user": [1, 2.5, None, True]}},
        {"extra": {"extra": 1}},
        {"m": json.loads("[" * 100 + "]" * 100)},
        {"é\0": "\ud800 \u2028\n"},
        {"n": 10**300, "z": -0.0},
        {"m": "x" * 60_000},
    ],
)
def test_fields_that_are_not_known_are_kept_as_json(unknown: dict[str, Any]) -> None:
    entry = decode(raw(**unknown))

    if not unknown:
        assert entry.extra is None
        return
    assert entry.extra is not None
    assert entry.extra.isascii()
    assert json.loads(entry.extra) == unknown


class Odd(float):
    """A number as others make them, numpy's for one: it writes itself in a way of its own."""

    def __repr__(self) -> str:
        return f"odd.Odd({float(self)})"

    def __add__(self, other: float) -> Odd:
        return Odd(float(self) + other)

    def __sub__(self, other: float) -> Odd:
        return Odd(float(self) - other)

    def __round__(self, digits: Any = None) -> Any:
        return Odd(round(float(self), digits))


@pytest.mark.parametrize("kind", [Odd, int, Fraction, bool])
def test_clocks_that_tests_put_in_place_may_give_any_number(kind: type[Any]) -> None:
    tally = Tally()
    (line,) = encode([("f", kind(0), kind(1), None)], PRODUCER, 1, kind(0), tally)

    entry = decode(line.encode())
    assert (entry.execution_time, entry.created_at) == (1.0, 1.0)
    assert json.loads(tally.totals()["f"].dumps())["sum"] == 1.0


def test_zero_has_no_sign() -> None:
    assert math.copysign(1.0, decode(raw(execution_time=-0.0)).execution_time) == 1.0


@pytest.mark.parametrize(
    "entry_id",
    [
        f"{PRODUCER}-{10**15}",  # beyond what a producer ever reaches
        f"{PRODUCER}-\u0661",  # a digit, but not one of ours
        f"{PRODUCER}-0",
        f"{PRODUCER}-01",
        f"{PRODUCER}-1\n",
        f"{PRODUCER.upper()}-1",
        f"{PRODUCER}0-1",
        "order 66",
        "",
    ],
)
def test_other_ids_are_not_numbered(entry_id: str) -> None:
    entry = decode(raw(id=entry_id))

    assert (entry.entry_id, entry.producer, entry.number) == (entry_id, None, 0)


@pytest.mark.parametrize("number", [1, 10**15 - 1])
def test_ids_of_producers_are_numbered(number: int) -> None:
    entry = decode(raw(id=f"{PRODUCER}-{number}"))

    assert entry.entry_id == f"{PRODUCER}-{number}"
    assert (entry.producer, entry.number) == (PRODUCER, number)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        *(({"func_name": no}, "func_name is missing or empty") for no in ("", None)),
        *(({"func_name": no}, "func_name is not a text") for no in (7, ["f"])),
        ({"func_name": "a\0b"}, "func_name holds a NUL"),
        ({"func_name": "\ud800"}, "func_name has half a surrogate pair"),
        ({"func_name": "f" * 10_001}, "func_name is longer than 10,000 characters"),
        *(
            ({"execution_time": no}, "execution_time is missing or not a number")
            for no in (None, True, "1")
        ),
        *(
            ({"execution_time": no}, "execution_time is not between 0 and 1e+10")
            for no in (-1e-9, 1e10, 10**400)
        ),
        ({"created_at": "today"}, "created_at is missing or not a number"),
        *(
            ({"created_at": no}, "created_at is not between 0 and 2.53402e+11")
            for no in (-1, 253_402_300_800)
        ),
        *(
            ({"error_occurred": no}, "error_occurred is neither 0 nor 1")
            for no in (None, 2, 1.0, "1", ())
        ),
        *(
            ({"outcome": no}, "outcome is longer than 100 characters or not printable")
            for no in ("o" * 101, "a\nb")
        ),
        ({"outcome": "a\0b"}, "outcome holds a NUL"),
        ({"outcome": "error"}, "contradicts error_occurred"),
        *(({"outcome": no, "error_occurred": 1}, "contradicts") for no in ("ok", "cancelled")),
        ({"outcome": 1}, "outcome is not a text"),
        ({"error_type": "KeyError"}, "error_type without an error"),
        ({"error_type": "Key\0Error", "error_occurred": 1}, "error_type holds a NUL"),
        ({"error_type": {}, "error_occurred": 1}, "error_type is not a text"),
        ({"id": 7}, "id is not a text"),
        ({"id": "x" * 10_001}, "id is longer than 10,000 characters"),
    ],
)
def test_an_object_that_is_no_entry(changes: dict[str, Any], why: str) -> None:
    assert why in reason(raw(**changes))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b'\xef\xbb\xbf{"func_name": "f"}', "not JSON"),  # a byte order mark
        (b'{"func_name": "f", "execution_time": ' + b"1" * 5000 + b"}", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (raw(more=json.loads("[" * 101 + "]" * 101)), "a field is nested more than 100 deep"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"entry"', "not a JSON object"),
        (b"\xff{}", "not UTF-8"),
        (raw(func_name="\U0001f600").replace(b"\\ud83d\\ude00", b"\xed\xa0\xbd"), "not UTF-8"),
        (b" " * 65_537, "longer than 65,536 bytes"),
        (raw(execution_time=math.nan), "NaN is not a number"),
        (raw(execution_time=math.inf), "Infinity is not a number"),
        (raw(more=-math.inf), "-Infinity is not a number"),
        (raw(more=1).replace(b": 1}", b": [1e999]}"), "a field holds a number that is too large"),
        (raw(created_at=1).replace(b": 1,", b": 1e999,"), "created_at is not between"),
    ],
)
def test_a_text_that_is_no_entry(text: bytes, why: str) -> None:
    assert why in reason(text)


def test_a_reason_is_short_whatever_the_text() -> None:
    assert len(reason(b'{"a' + b"b" * 60_000)) < 300


# What may stand in JSON where an entry has a field, and more than JSON allows.
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text()
    | st.sampled_from(["ok", "error", "cancelled", "other", f"{PRODUCER}-5", "a\0b", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
keys = ["func_name", "execution_time", "error_occurred", "created_at", "outcome", "error_type"]
nearly_entries = st.fixed_dictionaries(
    {}, optional={key: st.just(GOOD.get(key, "ok")) | values for key in [*keys, "id", "more"]}
)


@given(
    st.binary()
    | st.text().map(str.encode)
    | values.map(json.dumps).map(str.encode)
    | nearly_entries.map(json.dumps).map(str.encode)
)
def test_what_is_accepted_can_be_saved(text: bytes) -> None:
    try:
        entry = decode(text)
    except RejectedEntryError:
        return

    assert 0 <= entry.execution_time < 1e10
    assert 0 <= entry.created_at < 253_402_300_800
    assert entry.error_occurred in (0, 1)
    assert entry.outcome.isprintable()
    assert len(entry.outcome) <= MAX_OUTCOME
    assert entry.extra is None or json.loads(entry.extra)
    Totals().add(entry.execution_time, entry.created_at, entry.mark)
    with sqlite3.connect(":memory:") as database:
        row = database.execute("SELECT " + ",".join("?" * len(entry)), entry).fetchone()
        ((length,),) = database.execute("SELECT length(?)", (entry.func_name,)).fetchall()
    database.close()
    assert row == tuple(entry)
    assert length == len(entry.func_name)
