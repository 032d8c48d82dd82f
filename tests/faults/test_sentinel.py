"""Masters that die, hang and come back, and the Sentinels that replace them."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from tests.faults.world import World
from tests.helpers.sentinel import SentinelGroup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.redis_server import RedisServer

FAILOVERS = 6


@pytest.fixture
def group() -> Iterator[SentinelGroup]:
    """A master, two replicas and three Sentinels, none of which persists anything."""
    with SentinelGroup(replicas=2) as group:
        yield group


@pytest.fixture
def world(group: SentinelGroup, tmp_path: Path) -> Iterator[World]:
    """Processes that know the Sentinels alone."""
    with World(group.servers[0], tmp_path, group.url) as world:
        yield world


@pytest.mark.timeout(900)
def test_masters_die_and_hang_at_random_under_load(world: World, group: SentinelGroup) -> None:
    chance = random.Random(12)
    worker, scheduler = world.worker(), world.scheduler()
    for name in ("one", "two"):
        world.producer(name, 0, 1000)
    worker.until(lambda: world.rows() > 0)
    for stop in [signal.SIGKILL, signal.SIGSTOP] * (FAILOVERS // 2):
        group.wait_until_ready()
        time.sleep(chance.uniform(0, 1))
        old = group.fail_over(stop)
        world.saves(worker)
        time.sleep(chance.uniform(0, 1))
        if stop == signal.SIGKILL:
            old.start()  # empty, and a master until the Sentinels see it
        else:
            os.kill(old.pid, signal.SIGCONT)
    world.end(worker, scheduler)
    for process in (worker, scheduler):
        assert "Traceback" not in process.output


@pytest.mark.timeout(300)
def test_some_go_on_with_a_master_that_was_replaced(world: World, group: SentinelGroup) -> None:
    workers = [world.worker(METRICS_CLAIM_LEASE="5") for _ in range(2)]
    producers = [world.producer(name, 0, 1000) for name in ("one", "two")]
    workers[0].until(lambda: world.rows() > 10_000)
    behind = [workers[0], producers[0]]
    for process in behind:
        process.send_to_group(signal.SIGSTOP)
    old = group.fail_over(signal.SIGSTOP)
    world.saves(workers[1])
    os.kill(old.pid, signal.SIGCONT)
    for process in behind:
        process.send_to_group(signal.SIGCONT)
    # Until the Sentinels make the old one a replica, there are two masters that entries are sent to and saved from.
    for command in ("rpush", "ltrim"):
        before = _calls(old, command)
        workers[0].until(lambda: _calls(old, command) > before)  # noqa: B023 - called in this round alone
    group.wait_until_ready()
    for process in workers:
        world.saves(process)
    world.end(*workers)


def _calls(server: RedisServer, command: str) -> int:
    """How often a server has run a command, also in a script."""
    with Redis.from_url(server.url) as client:
        counts: Any = client.info("commandstats")
        return int(counts.get(f"cmdstat_{command}", {"calls": 0})["calls"])
