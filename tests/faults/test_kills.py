"""Processes that are killed at the worst moments."""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.faults.breaking import STEPS
from tests.faults.world import BROKEN_WORKER, World, children, kill_one


@pytest.mark.parametrize("passes", [1, pytest.param(2, marks=pytest.mark.timeout(180))])
def test_a_worker_killed_at_each_step_of_the_flush(world: World, passes: int) -> None:
    world.breaks(*(f"{step} {passes} kill" for step in STEPS))
    world.producer("app", 0, 800)
    worker = world.worker(BROKEN_WORKER)
    worker.until(lambda: not world.breaks_left())
    world.end(worker)


def test_two_producers_while_the_workers_group_is_killed_and_all_connections_are_cut(
    world: World,
) -> None:
    for name in ("one", "two"):
        world.producer(name, 0, 300)
    for kill in range(6):
        worker = world.worker()
        world.saves(worker)
        if kill % 2:
            world.cut_connections()
        worker.close()
    world.end(world.worker())


def test_worker_manager_and_scheduler_killed_at_random_moments(world: World) -> None:
    chance = random.Random(3)
    for name in ("one", "two"):
        world.producer(name, 6000, 500)
    workers = [world.worker(workers=2)]
    scheduler = world.scheduler()
    killed = {"a child": 0, "a manager": 0, "a scheduler": 0}
    ends = time.monotonic() + 12  # the calls take as long
    while time.monotonic() < ends:
        time.sleep(chance.uniform(0, 0.8))
        what = chance.choice(list(killed))
        killed[what] += 1
        if what == "a child":
            kill_one(children(chance.choice(workers)), chance)
        elif what == "a manager":
            # Its children go on without it, beside those of the next one.
            workers[-1].send(signal.SIGKILL)
            workers.append(world.worker(workers=2))
        else:
            scheduler.close()
            scheduler = world.scheduler()
    assert min(killed.values()) > 0
    assert world.end(workers[-1], scheduler) == {"one": 6000, "two": 6000}


def test_a_killed_producer_loses_no_more_than_it_had_not_sent(world: World) -> None:
    worker = world.worker()
    known = {}
    for name in ("one", "two", "three"):
        process = world.producer(name, 0, 3000)
        process.until(lambda name=name: world.progress(name)[1] > 1000)  # type: ignore[misc]  # mypy infers no type of a lambda with a default
        known[name] = world.killed(name)
    rows = world.check(worker).rows
    for name, (calls, acknowledged) in known.items():
        assert acknowledged <= rows[name] <= calls
