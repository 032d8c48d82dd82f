"""What is remembered of the steps of a window."""

from __future__ import annotations

from metrics_collector._core.totals import CALLS, Totals
from metrics_collector._reading.reports.closed_windows import Part
from metrics_collector._storage.base import StepCounts


def test_a_function_may_be_counted_several_times_in_a_step() -> None:
    """As it is where a step is of several rollups, or of several releases."""
    counts = [
        StepCounts(120, ["b", "a"], [8, 16], [0, 1]),
        StepCounts(60, ["a", "b", "a"], [1, 2, 4], [1, 0, 2]),
    ]
    part = Part({"a": Totals({CALLS: 21}), "b": Totals({CALLS: 10})}, counts)
    assert part.starts == [60, 120]
    assert part.calls == {"a": (5, 16), "b": (2, 8)}
    assert (part.all_calls, part.all_errors) == ([7, 24], [3, 1])
    assert part.total.counts == {CALLS: 31}
