"""Which rollups cover a time: each moment once, with as few as can be, and never one that is purged."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metrics_collector._core.rollup_ranges import (
    COARSER,
    SECONDS,
    RollupRange,
    ceil,
    cover,
    floor,
    joined,
)

DAY = SECONDS["day"]
DAYS = 12  # of the time that is looked at

moments = st.integers(0, DAYS * DAY // 60).map(lambda minutes: minutes * 60)


@st.composite
def horizons(draw: st.DrawFn) -> dict[str, int]:
    """Before when each resolution is purged: at a beginning of the next coarser one, the finer ones later."""
    day = draw(st.integers(0, DAYS)) * DAY
    hour = max(day, draw(st.integers(0, DAYS)) * DAY)
    minute = max(hour, draw(st.integers(0, DAYS * 24)) * SECONDS["hour"])
    return {"day": day, "hour": hour, "minute": minute}


def assert_in_order(ranges: list[RollupRange]) -> None:
    """Each begins where the one before ends, and where minutes, hours or days begin."""
    for rollup_range in ranges:
        assert rollup_range.start % SECONDS[rollup_range.resolution] == 0
        if rollup_range.end is not None:
            assert rollup_range.end % SECONDS[rollup_range.resolution] == 0
            assert rollup_range.start < rollup_range.end
    for one, other in pairwise(ranges):
        assert one.end == other.start


def assert_kept(ranges: list[RollupRange], purged: dict[str, int]) -> None:
    """None is purged, but for days, which nothing stands in for."""
    for rollup_range in ranges:
        assert (
            rollup_range.resolution == "day"
            or purged[rollup_range.resolution] <= rollup_range.start
        )


def test_where_a_minute_hour_or_day_begins_and_ends() -> None:
    assert [floor(3599.5, r) for r in SECONDS] == [3540, 0, 0]
    assert [ceil(3599.5, r) for r in SECONDS] == [3600, 3600, DAY]
    assert [ceil(DAY, r) for r in SECONDS] == [DAY] * 3


@given(moments, moments)
def test_a_time_is_covered_once_and_to_the_minute(one: int, other: int) -> None:
    start, end = sorted((one, other))
    ranges = cover(start, end, {})
    assert_in_order(ranges)
    if start == end:
        assert ranges == []
        return
    assert (ranges[0].start, ranges[-1].end) == (start, end)
    count = Counter[str]()
    for rollup_range in ranges:
        count[rollup_range.resolution] += ((rollup_range.end or 0) - rollup_range.start) // SECONDS[
            rollup_range.resolution
        ]
    assert count["minute"] < 2 * 60
    assert count["hour"] < 2 * 24
    open_ended = cover(start, None, {})
    assert_in_order(open_ended)
    assert open_ended[0].start == start
    assert open_ended[-1].end is None


@given(moments, moments, horizons())
def test_what_is_purged_is_covered_by_the_next_coarser(
    one: int, other: int, purged: dict[str, int]
) -> None:
    start, end = sorted((one, other))
    for stop in (end, None):
        ranges = cover(start, stop, purged)
        assert_in_order(ranges)
        assert_kept(ranges, purged)
        if not ranges:
            assert start == stop
            continue
        # At its ends it may be more than was asked for, by no more than is needed.
        first, last = ranges[0], ranges[-1]
        assert first.start == max(
            floor(start, r) for r in SECONDS if purged[r] <= floor(start, r) or r == "day"
        )
        if stop is None:
            assert last.end is None
        else:
            assert stop <= (last.end or 0) <= ceil(stop, "day")


@pytest.mark.parametrize("resolution", SECONDS)
@given(st.floats(0, DAYS * DAY), st.floats(0, DAYS * DAY), horizons())
def test_a_history_goes_on_in_coarser_ones(
    resolution: str, one: float, other: float, purged: dict[str, int]
) -> None:
    start, end = sorted((one, other))
    assume(start < end)
    for stop in (end, None):
        ranges = joined(resolution, start, stop, purged)
        assert_in_order(ranges)
        assert_kept(ranges, purged)
        coarseness = [list(SECONDS).index(rollup_range.resolution) for rollup_range in ranges]
        assert coarseness == sorted(coarseness, reverse=True)
        assert min(coarseness, default=0) >= list(SECONDS).index(resolution)
        if ranges:
            first, last = ranges[0], ranges[-1]
            assert first.start == floor(start, first.resolution)
            assert last.end == (None if stop is None else ceil(stop, last.resolution))
            # No coarser than it has to be: at the first moment the next finer one is gone.
            finer = {coarse: fine for fine, coarse in COARSER.items()}.get(first.resolution)
            if first.resolution != resolution:
                assert finer is not None
                assert purged[finer] > start
