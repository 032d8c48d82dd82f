"""The delays between tries."""

from __future__ import annotations

import pytest

from metrics_collector._support.backoff import Backoff


@pytest.mark.parametrize(
    ("first", "longest", "most"),
    [
        (0.05, 1.0, [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]),
        (1.0, 1.0, [1.0, 1.0]),
        (3.0, 2.0, [2.0, 2.0]),
    ],
)
def test_delays_double_up_to_the_longest(first: float, longest: float, most: list[float]) -> None:
    for _ in range(100):  # whatever chance makes of it
        backoff = Backoff(first, longest)
        for limit in most:
            assert limit / 2 < backoff.next_delay() <= limit


def test_processes_do_not_wait_equally_long() -> None:
    assert len({Backoff(1.0, 1.0).next_delay() for _ in range(100)}) > 1


def test_after_a_reset_the_first_delay_comes_again() -> None:
    backoff = Backoff(0.1, 10.0)
    for _ in range(5):
        backoff.next_delay()
    backoff.reset()
    assert backoff.next_delay() <= 0.1
    assert 0.1 < backoff.next_delay() <= 0.2
