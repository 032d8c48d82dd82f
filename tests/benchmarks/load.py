"""Records as a service makes them, for what comes after the call."""

from __future__ import annotations

import random
from collections import deque
from time import perf_counter as clock
from typing import TYPE_CHECKING

from metrics_collector._sending.outbox import BATCH, Outbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metrics_collector._recording.recorder import Record
    from metrics_collector._sending.batch import Batch

FUNCTIONS = 100
ERRORS = 0.02


def durations(count: int, seed: int = 1) -> list[float]:
    """Times around 5 ms, log-normal: some 30 buckets a function in a batch of 2,000, some 100 in all."""
    rng = random.Random(seed)
    return [0.005 * rng.lognormvariate(0.0, 0.7) for _ in range(count)]


def records(count: int, functions: int = FUNCTIONS) -> list[Record]:
    """Records of so many functions in turn, the last of which ends now."""
    now = clock()
    rng = random.Random(2)
    return [
        (
            f"shop.orders.function_{number % functions}",
            now - seconds - (count - number) * 1e-5,
            now - (count - number) * 1e-5,
            "TimeoutError" if rng.random() < ERRORS else None,
        )
        for number, seconds in enumerate(durations(count))
    ]


def filled(count: int, functions: int = FUNCTIONS) -> Outbox:
    """An outbox with so many records in its buffer."""
    return Outbox(deque(records(count, functions)))


def closing(outbox: Outbox, count: int, size: int = BATCH) -> Iterator[None]:
    """Make batches of the first `count` records, and stop after each."""
    while outbox.holds_before(count):
        while outbox.holds_before(count) and not outbox.fill(size):
            pass
        outbox.close_batch()
        yield


def batches(count: int, functions: int = FUNCTIONS) -> tuple[str, list[Batch]]:
    """A producer's id and its batches of so many entries."""
    outbox = filled(count, functions)
    for _ in closing(outbox, count):
        pass
    return outbox.producer, list(outbox._batches)
