"""Clocks that are set, and malformed entries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from metrics_collector._saving.taskiq.stream import STREAM
from tests.helpers.pipeline import KEYS

if TYPE_CHECKING:
    from tests.faults.world import World

POISON = (
    b"",
    b"{}",
    b"[" * 50_000,
    b"\xff\xfe\0",
    b"a" * 100_000,
    b"__import__('os').abort()",
    json.dumps({"func_name": "f", "execution_time": 1e999}).encode(),
    json.dumps({"func_name": 5, "execution_time": "x", "error_occurred": [], "id": {}}).encode(),
)


def test_clocks_are_set_under_load(world: World) -> None:
    worker, scheduler = world.worker(jumping=True), world.scheduler(jumping=True)
    for name in ("one", "two"):
        world.producer(name, 6000, 1000, jumping=True)
    assert world.end(worker, scheduler) == {"one": 6000, "two": 6000}


@pytest.mark.parametrize("steps", ["7200", "-7200", "0,7200,-7200", "2678400", "-2678400"])
def test_a_worker_whose_clock_is_wrong_deletes_nothing_too_early(world: World, steps: str) -> None:
    wrong = world.worker(jumping=True, CLOCK_STEPS=steps, METRICS_RETENTION="0.05")
    scheduler = world.scheduler()
    world.producer("app", 0, 1000)
    wrong.until(lambda: world.rows() > 0)
    for _ in range(4):  # each scheduler that starts requests a purge
        world.saves(wrong, more=1000)
        with world.scheduler():
            world.saves(wrong, more=1000)
        world.redis.flushall()  # so that what is saved comes again
    if "," not in steps:  # else it may be right whenever it is asked for
        wrong.until(lambda: "nothing is deleted by its age: the clock of this" in wrong.output)
        wrong.until(lambda: "cannot delete old entries" in wrong.output)
    right = world.worker(METRICS_RETENTION="0.05")
    world.saves(right, more=1000)
    world.end(wrong, right, scheduler)


def test_poison_among_good_entries(world: World) -> None:
    worker, scheduler = world.worker(), world.scheduler()
    producer = world.producer("app", 0, 1000)
    rounds = 5
    for _ in range(rounds):
        world.redis.rpush(KEYS.metrics_list, *POISON)
        for data in (b"\xff", b'{"task_id": 1}', b""):
            world.redis.xadd(STREAM, {"data": data})
        world.saves(producer)
    world.end(worker, scheduler, rejected=rounds * len(POISON))
    assert "Traceback" not in worker.output
