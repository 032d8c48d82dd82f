"""Totals: counting, merging, and the forms in which Redis and SQL take them."""

from __future__ import annotations

import json
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_collector._core.histogram import bucket
from metrics_collector._core.totals import (
    OTHERS,
    Mark,
    OtherOutcome,
    Tally,
    Totals,
    counts_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

Call = tuple[float, float, Mark]
TIMEOUT = OtherOutcome("timeout", None)
REFUSED = OtherOutcome("refused", "KeyError")

calls = st.lists(
    st.tuples(
        st.floats(0, 1e6),
        st.floats(0, 1e11),
        st.sampled_from([None, "", "KeyError", "Fehlér", TIMEOUT, REFUSED]),
    ),
    max_size=12,
)

# Whose times and ends are whole numbers of seconds.
whole_calls = calls.map(lambda some: [(time // 1, end // 1, mark) for time, end, mark in some])


def counted(calls: Iterable[Call]) -> Totals:
    totals = Totals()
    for call in calls:
        totals.add(*call)
    return totals


def figures(totals: Totals) -> dict[str, Any]:
    """All but the sum, which depends on the order of additions in its last digits."""
    return {**attributes(totals), "execution_time": None}


def attributes(totals: Totals) -> dict[str, Any]:
    return {name: getattr(totals, name) for name in Totals.__slots__}


@given(calls)
def test_every_call_is_counted_in_full(calls: list[Call]) -> None:
    totals = counted(calls)

    times = [time for time, _, _ in calls]
    marks = [mark for *_, mark in calls]
    errors = [
        "KeyError" if mark is REFUSED else mark for mark in marks if mark not in ("", TIMEOUT)
    ]
    expected = {
        "call_count": len(calls),
        "error_count": sum(error is not None for error in errors),
        "cancelled_count": marks.count(""),
        "outcome:timeout": marks.count(TIMEOUT),
        "outcome:refused": marks.count(REFUSED),
        **{f"error:{error}": errors.count(error) for error in errors if error is not None},
        **{field: [bucket(t) for t in times].count(field) for field in map(bucket, times)},
    }
    assert totals.counts == {field: count for field, count in expected.items() if count}
    assert totals.min == min(times, default=None)
    assert totals.max == max(times, default=None)
    assert totals.last_called_at == max((at for _, at, _ in calls), default=None)
    assert totals.execution_time == pytest.approx(float(sum(map(Fraction, times))))


@given(calls.filter(bool))
def test_counting_many_at_once_is_counting_each(calls: list[Call]) -> None:
    totals = Totals()
    for some in (calls[:1], calls[1:]):
        if some:
            times, ends, marks = zip(*some, strict=True)
            totals.add_all(times, max(ends), [mark for mark in marks if mark is not None])

    assert figures(totals) == figures(counted(calls))
    assert totals.execution_time == pytest.approx(counted(calls).execution_time)


@given(st.lists(st.tuples(st.sampled_from("fg"), whole_calls), max_size=4), st.integers(1, 9))
def test_a_tally_is_counted_in_pieces(parts: list[tuple[str, list[Call]]], some: int) -> None:
    tally = Tally()
    for name, part in parts:
        if part:
            times, ends, marks = zip(*part, strict=True)
            other = {n: mark for n, mark in enumerate(marks) if mark is not None}
            numbers = [t * 1e9 for t in times], [e * 1e6 for e in ends]
            tally.add_all([name], bytes(len(part)), *numbers, other)
            tally.count(some)  # in between, too
    while tally.count(some):
        pass

    expected = {
        name: counted(c for n, part in parts if n == name for c in part)
        for name, part in parts
        if part
    }
    assert {name: figures(one) for name, one in tally.totals().items()} == {
        name: figures(one) for name, one in expected.items()
    }
    totals = tally.totals().values()
    assert [
        dict(zip(*pair, strict=True)) for pair in zip(*json.loads(tally.deltas()), strict=True)
    ] == [one.counts | {field: getattr(one, field) for field in OTHERS} for one in totals]


@given(calls, calls)
def test_merging_is_counting_together(some: list[Call], others: list[Call]) -> None:
    merged, other = counted(some), counted(others)
    before = other.dumps()

    merged.merge(other)

    assert figures(merged) == figures(counted([*some, *others]))
    assert merged.execution_time == counted(some).execution_time + other.execution_time
    assert other.dumps() == before


@given(st.lists(calls, max_size=4))
def test_a_sum_is_all_of_its_parts(parts: list[list[Call]]) -> None:
    whole = Totals.sum(map(counted, parts))

    assert figures(whole) == figures(counted(call for part in parts for call in part))


@given(calls)
def test_text_and_back(calls: list[Call]) -> None:
    totals = counted(calls)

    assert attributes(Totals.loads(totals.dumps())) == attributes(totals)
    assert attributes(Totals.loads(totals.dumps().encode())) == attributes(totals)


@given(
    st.dictionaries(
        st.sampled_from(
            ["call_count", "h:-310", "error:%d", 'error:"', "error:\\", "error:é\x7f\n"]
        )
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
        st.integers(-(2**53), 2**53),
    )
)
def test_counts_of_any_name_are_written_as_json(counts: dict[str, int]) -> None:
    text = counts_text(counts)

    assert json.loads(text) == counts
    assert text.isascii()


def test_the_text_has_no_null_which_lua_would_not_compare() -> None:
    assert json.loads(Totals().dumps()) == {"c": {}, "sum": 0.0}
    assert "null" not in Totals().dumps()


def test_a_loaded_copy_shares_nothing() -> None:
    totals = counted([(1.0, 2.0, None)])
    copy = Totals.loads(totals.dumps())

    copy.add(1.0, 2.0, None)

    assert totals.counts["call_count"] == 1


@given(calls)
def test_the_hash_in_redis_and_back(calls: list[Call]) -> None:
    totals = counted(calls)
    fields: dict[str, object] = {**totals.counts, "as_of": 17}
    fields["execution_time"] = repr(totals.execution_time)
    extremes = {
        "min": totals.min,
        "max": totals.max,
        "last_called_at": totals.last_called_at,
    }
    fields |= {key: repr(value) for key, value in extremes.items() if value is not None}

    pairs = [str(one).encode() for pair in fields.items() for one in pair]
    found, whole = Totals.from_hash(pairs)

    assert attributes(found) == attributes(totals)
    assert whole
    assert not Totals.from_hash(pairs[: pairs.index(b"as_of")])[1]


def test_fields_of_the_hash_that_are_no_figures_are_passed_over() -> None:
    good = {b"call_count": b"3"}
    texts = {b"error_count": b"many", b"min": b"small", b"note": b"looked at by hand"}
    fields = {**good, **texts, b"\xff": b"1", b"execution_time": b"", b"as_of": b"1"}
    found, whole = Totals.from_hash([*chain.from_iterable(fields.items())])

    assert whole
    assert found.counts == {"call_count": 3}
    assert (found.min, found.execution_time) == (None, 0.0)


@pytest.mark.parametrize(
    "odd",
    [
        *["1.5", '"3"', "null", "true", "[4]", "1,2", "", "inf", "4]//", "+5"],
        pytest.param("1" * 400, id="400 digits"),  # beyond what floats hold
    ],
)
@pytest.mark.parametrize("field", ["error_count", "max", "last_called_at"])
def test_what_json_reads_otherwise_is_no_figure_either(odd: str, field: str) -> None:
    """Nor does it change what other fields are."""
    pairs = [b"call_count", b"3", field.encode(), odd.encode(), b"h:-33", b"3", b"min", b"0.5"]
    found, _ = Totals.from_hash([*pairs, b"as_of", b"1"])

    read: type = int if field == "error_count" else float
    expected = Totals({"call_count": 3, "h:-33": 3}, min=0.5)
    with suppress(ValueError):
        value = read(odd)
        if field == "error_count":
            expected.counts[field] = value
        else:
            setattr(expected, field, value)
    assert attributes(found) == attributes(expected)


@pytest.mark.parametrize("time", [-1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_counts_nothing_by_halves(time: float) -> None:
    totals = Totals()

    with pytest.raises(ValueError, match="not a finite number of seconds"):
        totals.add(time, 0.0, "KeyError")

    assert attributes(totals) == attributes(Totals())
