"""The histogram against exact arithmetic: integers for its buckets, raw times for its quantiles."""

from __future__ import annotations

import sys
from collections import Counter
from decimal import ROUND_FLOOR, Decimal, localcontext
from fractions import Fraction
from math import ceil, inf, nan, nextafter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metrics_collector._core import histogram
from metrics_collector._core.histogram import bounds, bucket, counted, quantile

SMALLEST = 5e-324
SMALLEST_NORMAL = sys.float_info.min
LARGEST = sys.float_info.max

# (r - 1) / (r + 1) with r = 2**(1/32), and a little for the rounding of floats
ERROR = Fraction("0.010830001253372816") * (1 + Fraction(1, 10**12))


def exact_index(time: float) -> int:
    """The i with 2**(i/32) < time <= 2**((i+1)/32), by whole numbers: time**32 and powers of 2."""
    over, under = time.as_integer_ratio()  # `under` is a power of two
    ceiling_of_log2 = (over**32 - 1).bit_length() - 32 * (under.bit_length() - 1)
    return ceiling_of_log2 - 1


def is_largest_float_up_to(candidate: float, index: int) -> bool:
    """Whether `candidate` is not above 2**(index/32), and the next float is."""
    power_of_two = Fraction(2) ** index
    above = nextafter(candidate, inf)
    return Fraction(candidate) ** 32 <= power_of_two and (
        above == inf or power_of_two < Fraction(above) ** 32
    )


def nearest_rank(times: list[float], q: float) -> float:
    return sorted(times)[max(1, ceil(Fraction(str(q)) * len(times))) - 1]


indexes = st.integers(exact_index(SMALLEST), exact_index(LARGEST))
positive_times = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
likely_times = st.floats(min_value=1e-8, max_value=1e4)
many_times = st.lists(
    st.one_of(st.just(0.0), likely_times, st.floats(SMALLEST_NORMAL, LARGEST)), min_size=1
)
quantiles = st.integers(0, 10**6).map(lambda millionths: millionths / 10**6)


@st.composite
def times_at_a_bound(draw: st.DrawFn) -> float:
    """A float next to, or at, a bound between two buckets."""
    _, high = bounds(f"h:{draw(indexes)}")
    return draw(st.sampled_from([nextafter(high, 0.0), high, nextafter(high, 1e300)]))


def test_constants_are_those_of_high_precision() -> None:
    with localcontext() as context:
        context.prec = 80
        for step, edge in enumerate(histogram._EDGES):
            exact = Decimal(2) ** (Decimal(step) / 32) / 2
            assert Decimal(edge) <= exact < Decimal(nextafter(edge, 1.0))
            digits = (exact * 2**53).to_integral_value(ROUND_FLOOR)
            assert edge == int(digits) / 2**53
        assert len(histogram._EDGES) == 32
        ratio = Decimal(2) ** (Decimal(1) / 32)
        assert float(2 / (1 + ratio)) == histogram._CENTRE
        assert abs((ratio - 1) / (ratio + 1) - Decimal("0.01083")) < Decimal("1e-6")


@given(st.one_of(positive_times, likely_times, times_at_a_bound().filter(bool)))
@example(SMALLEST)
@example(3 * SMALLEST)
@example(nextafter(SMALLEST_NORMAL, 0.0))
@example(SMALLEST_NORMAL)
@example(LARGEST)
def test_bucket_is_exact(time: float) -> None:
    assert bucket(time) == f"h:{exact_index(time)}"


def test_a_power_of_two_ends_its_bucket() -> None:
    powers = range(-1074, 1024)
    assert [bucket(2.0**power) for power in powers] == [f"h:{32 * power - 1}" for power in powers]


@pytest.mark.parametrize(
    ("time", "field"),
    [
        (0.0, "h:zero"),
        (-0.0, "h:zero"),
        (SMALLEST, "h:-34369"),
        (0.001, "h:-319"),
        (1.0, "h:-1"),
        (nextafter(1.0, 2.0), "h:0"),
        (1.02, "h:0"),
        (1.03, "h:1"),
        (2.0, "h:31"),
        (60.0, "h:189"),
        (LARGEST, "h:32767"),
    ],
)
def test_fields_do_not_change(time: float, field: str) -> None:
    assert bucket(time) == field


@pytest.mark.parametrize("time", [-1.0, -SMALLEST, nan, inf, -inf])
def test_bucket_refuses_what_is_no_time(time: float) -> None:
    with pytest.raises(ValueError, match=f"{time!r} is not a finite number of seconds"):
        bucket(time)


@given(st.lists(st.one_of(st.just(0.0), positive_times, likely_times, times_at_a_bound())))
def test_many_are_counted_as_each_alone(times: list[float]) -> None:
    assert counted(sorted(times), 1.0) == Counter(map(bucket, times))


whole_times = times_at_a_bound().filter(lambda time: time < 1e9).map(lambda time: round(time * 1e9))


@given(st.lists(st.one_of(st.integers(0, 2**60), st.integers(0, 10**6), whole_times)))
def test_whole_nanoseconds_are_counted_as_the_seconds_that_they_are(times: list[int]) -> None:
    some = sorted(map(float, times))

    assert counted(some, 1e9) == Counter(bucket(time / 1e9) for time in some)


@pytest.mark.parametrize("time", [-1.0, nan, inf])
def test_what_is_no_time_is_refused_among_many(time: float) -> None:
    with pytest.raises(ValueError, match="not a finite number of seconds"):
        counted(sorted([1.0, time]), 1.0)


@given(indexes)
@example(-34369)
@example(-1022 * 32 - 1)
@example(-1022 * 32)
@example(32767)
def test_bounds_are_the_largest_floats_up_to_the_true_ones(index: int) -> None:
    low, high = bounds(f"h:{index}")
    assert is_largest_float_up_to(low, index)
    assert is_largest_float_up_to(high, index + 1)


def test_bounds_below_the_normal_floats_are_rounded_down_too() -> None:
    for index in range(-34369, -1021 * 32):
        low, _ = bounds(f"h:{index}")
        assert is_largest_float_up_to(low, index)


@given(st.one_of(positive_times, likely_times))
def test_bounds_hold_the_time(time: float) -> None:
    low, high = bounds(bucket(time))
    assert low < time <= high


def test_bounds_of_the_zero_bucket() -> None:
    assert bounds("h:zero") == (0.0, 0.0)


NO_BUCKETS = [
    "", "h:", "h", "5", "h:x", "h:1.0", "h:+5", "h:05", "h:-0", "h: 5", "h:1_0", "h:\u0665",
    "h:h:5", "H:5", "h:Zero", "h:-34370", "h:32768", "call_count", "error:ValueError",
]  # many short texts a line  # fmt: skip


@pytest.mark.parametrize("field", NO_BUCKETS)
def test_bounds_refuse_what_is_no_bucket(field: str) -> None:
    with pytest.raises(ValueError, match="is not the field of a bucket"):
        bounds(field)


@given(times=many_times, q=quantiles, minimum_known=st.booleans(), maximum_known=st.booleans())
def test_quantile_is_near_the_nearest_rank(
    *, times: list[float], q: float, minimum_known: bool, maximum_known: bool
) -> None:
    time = nearest_rank(times, q)
    result = quantile(
        Counter(map(bucket, times)),
        q,
        min(times) if minimum_known else None,
        max(times) if maximum_known else None,
    )
    assert result is not None
    assert abs(Fraction(result) - Fraction(time)) <= ERROR * Fraction(time)


@given(st.floats(SMALLEST, SMALLEST_NORMAL, exclude_max=True))
@example(SMALLEST)
def test_quantile_of_times_below_the_normal_floats(time: float) -> None:
    result = quantile({bucket(time): 1}, 0.5, None, None)
    assert result is not None
    assert abs(Fraction(result) - Fraction(time)) <= ERROR * Fraction(time) + Fraction(SMALLEST)


@given(st.integers(1, 10**9), quantiles)
@example(100, 0.07)
@example(100, 0.14)
@example(100, 0.55)
@example(1000, 0.999)
def test_rank_is_that_of_the_decimal_number(count: int, q: float) -> None:
    rank = max(1, ceil(Fraction(str(q)) * count))
    first, second = (quantile({field: 1}, 1.0, None, None) for field in ("h:0", "h:1"))
    assert quantile({"h:0": rank, "h:1": count - rank}, q, None, None) == first
    assert quantile({"h:0": rank - 1, "h:1": count - rank + 1}, q, None, None) == second


@given(st.lists(many_times, max_size=5), quantiles)
def test_merging_is_addition(parts: list[list[float]], q: float) -> None:
    whole = Counter(bucket(time) for part in parts for time in part)
    merged: Counter[str] = Counter()
    for part in reversed(parts):
        merged.update(Counter(map(bucket, part)))
    assert merged == whole
    assert quantile(merged, q, None, None) == quantile(whole, q, None, None)


@given(many_times, st.lists(st.floats(0.0, 1.0), min_size=2))
def test_quantile_never_falls_as_q_rises(times: list[float], qs: list[float]) -> None:
    counts = Counter(map(bucket, times))
    results = [quantile(counts, q, min(times), max(times)) for q in sorted(qs)]
    assert results == sorted(result for result in results if result is not None)


@given(many_times, quantiles)
def test_quantile_stays_between_smallest_and_largest(times: list[float], q: float) -> None:
    result = quantile(Counter(map(bucket, times)), q, min(times), max(times))
    assert result is not None
    assert min(times) <= result <= max(times)


@given(st.one_of(st.just(0.0), positive_times), st.integers(1, 1000), quantiles)
def test_quantile_of_one_repeated_time_is_that_time(time: float, count: int, q: float) -> None:
    assert quantile({bucket(time): count}, q, time, time) == time


@pytest.mark.parametrize("counts", [{}, {"h:5": 0, "h:7": -3}, dict.fromkeys(NO_BUCKETS, 3)])
def test_quantile_of_no_calls_is_none(counts: dict[str, int]) -> None:
    assert quantile(counts, 0.5, None, None) is None


def test_quantile_ignores_what_counts_no_times() -> None:
    others = dict.fromkeys(NO_BUCKETS, 1000)
    counts = {**others, "h:-9": 1, "h:5": 2, "h:7": 1, "h:9": 0, "h:zero": -3}
    median = quantile({"h:5": 1}, 0.5, None, None)
    assert quantile(counts, 0.5, None, None) == median


def test_zero_is_below_all_other_times() -> None:
    counts = {bucket(SMALLEST): 1, "h:zero": 1}
    assert quantile(counts, 0.5, None, None) == 0.0
    assert quantile(counts, 1.0, None, None) == SMALLEST


@pytest.mark.parametrize("q", [-0.1, nextafter(1.0, 2.0), 95, nan])
def test_quantile_refuses_a_q_outside_of_0_to_1(q: float) -> None:
    with pytest.raises(ValueError, match=f"{q!r} is not a quantile: allowed are numbers from 0 to"):
        quantile({"h:0": 1}, q, None, None)
