"""Intervals against a plain set of numbers."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_collector._core.intervals import Intervals

UP_TO = 60  # small, so that intervals meet, touch and join often
LARGEST = 2**63 - 1

numbers = st.integers(1, UP_TO)
pairs = st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))
short_pairs = st.tuples(numbers, st.integers(0, 3)).map(lambda pair: (pair[0], sum(pair)))
many_pairs = st.lists(st.one_of(short_pairs, pairs))


def plain(first: int, last: int) -> set[int]:
    return set(range(first, last + 1))


def intervals_of(pairs: list[tuple[int, int]]) -> Intervals:
    intervals = Intervals()
    for first, last in pairs:
        intervals.add(first, last)
    return intervals


def numbers_of(intervals: Intervals) -> set[int]:
    return {number for first, last in intervals for number in range(first, last + 1)}


@given(many_pairs)
def test_add_is_like_a_set(pairs: list[tuple[int, int]]) -> None:
    intervals, model = Intervals(), set[int]()
    for first, last in pairs:
        added = plain(first, last)
        assert intervals.add(first, last) == len(added - model)
        model |= added
        assert numbers_of(intervals) == model
        assert len(intervals) == len(model)
        # apart by at least one number that is missing, and in order
        assert all(before[1] + 1 < after[0] for before, after in pairwise(intervals))
        assert all(first <= last for first, last in intervals)


@given(st.lists(numbers))
def test_numbers_one_by_one(added: list[int]) -> None:
    intervals = Intervals()
    assert sum(intervals.add(number) for number in added) == len(set(added))
    assert numbers_of(intervals) == set(added)


@given(many_pairs, st.integers(-1, UP_TO + 5))
def test_contains_is_like_a_set(pairs: list[tuple[int, int]], number: int) -> None:
    intervals = intervals_of(pairs)
    assert (number in intervals) is (number in numbers_of(intervals))


@given(many_pairs, st.integers(-1, UP_TO + 5), st.integers(0, UP_TO))
def test_covers_is_like_a_subset(pairs: list[tuple[int, int]], first: int, more: int) -> None:
    intervals = intervals_of(pairs)
    asked = plain(first, first + more)
    assert intervals.covers(first, first + more) is (asked <= numbers_of(intervals))


def test_count_is_like_an_intersection() -> None:
    intervals = intervals_of([(2, 4), (6, 6), (9, 13)])
    for first, last in product(range(-1, 16), repeat=2):
        expected = len(plain(first, last) & numbers_of(intervals))
        assert intervals.count(first, last) == expected


@given(many_pairs, many_pairs)
def test_update_is_like_a_union(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    intervals, other = intervals_of(left), intervals_of(right)
    before, added = numbers_of(intervals), numbers_of(other)
    assert intervals.update(other) == len(added - before)
    assert numbers_of(intervals) == before | added
    assert list(other) == list(intervals_of(right))
    assert intervals.update(intervals) == 0
    assert numbers_of(intervals) == before | added


def test_neighbours_become_one() -> None:
    assert list(intervals_of([(1, 3), (4, 5)])) == [(1, 5)]
    assert list(intervals_of([(4, 5), (1, 3)])) == [(1, 5)]
    assert list(intervals_of([(1, 3), (5, 6), (4, 4)])) == [(1, 6)]
    assert list(intervals_of([(1, 3), (5, 6)])) == [(1, 3), (5, 6)]


def test_an_empty_set() -> None:
    intervals = Intervals()
    assert not intervals
    assert list(intervals) == []
    assert 1 not in intervals
    assert not intervals.covers(1, 1)
    assert intervals.text() == ""


@pytest.mark.parametrize(
    ("first", "last"), [(0, 0), (0, 5), (-3, 5), (5, 4), (1, LARGEST + 1), (LARGEST + 1, None)]
)
def test_add_refuses_what_is_no_interval(first: int, last: int | None) -> None:
    intervals = intervals_of([(3, 9)])
    with pytest.raises(ValueError, match=f"not an interval of numbers .*: {first}-"):
        intervals.add(first, last)
    assert list(intervals) == [(3, 9)]
    assert len(intervals) == 7


def test_the_largest_set_can_be_counted() -> None:
    assert intervals_of([(1, LARGEST)]).add(LARGEST) == 0
    assert len(intervals_of([(1, LARGEST)])) == LARGEST


def test_text() -> None:
    intervals = intervals_of([(60, 71), (1, 57), (80, 80)])
    assert intervals.text() == "1-57,60-71,80-80"
    assert intervals.text(limit=2) == "1-57,80-80"
    assert intervals.text(limit=1) == "1-57"
    assert intervals.text(limit=0) == ""


def test_text_keeps_the_16_lowest_and_the_16_highest() -> None:
    intervals = intervals_of([(number, number) for number in range(99, 0, -2)])
    kept = [*range(1, 33, 2), *range(69, 100, 2)]
    assert intervals.text() == ",".join(f"{number}-{number}" for number in kept)


@given(many_pairs)
def test_parse_reads_what_text_writes(pairs: list[tuple[int, int]]) -> None:
    intervals = intervals_of(pairs)
    assert list(Intervals.parse(intervals.text(limit=UP_TO))) == list(intervals)


@given(many_pairs, st.integers(0, 5))
def test_a_shortened_text_covers_nothing_else(pairs: list[tuple[int, int]], limit: int) -> None:
    intervals = intervals_of(pairs)
    shortened = list(Intervals.parse(intervals.text(limit)))
    assert len(shortened) == min(limit, len(list(intervals)))
    assert set(shortened) <= set(intervals)


BAD_TEXTS = [
    " ", ",", "-", "1", "1-", "-1", "1-2-3", "1-2,", ",1-2", "1-2,,4-5", "1-2;4-5", "a-b", "1-b",
    "0-0", "0-5", "5-4", "-5-4", "+1-2", "01-2", "1-02", " 1-2", "1 -2", "1-2 ", "1-2\n", "1_0-11",
    "\u0661-\u0662", "1.0-2", "1e3-1e4", "4-5,1-2", "1-3,4-5", "1-3,3-5", "1-3,1-3",
    "1-9223372036854775808", "1-" + "9" * 5000,
]  # many short texts a line  # fmt: skip


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_parse_refuses_what_text_does_not_write(text: str) -> None:
    with pytest.raises(ValueError, match="not a list of intervals such as '1-57,60-60'") as caught:
        Intervals.parse(text)
    assert str(caught.value).endswith(f": {text[:100]!r}")
    assert len(str(caught.value)) < 200


@given(st.text(alphabet="0123-, +", max_size=12))
def test_parse_reads_a_text_as_it_would_write_it_or_not_at_all(text: str) -> None:
    try:
        intervals = Intervals.parse(text)
    except ValueError:
        return
    assert intervals.text() == text
