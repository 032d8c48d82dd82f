"""PostgreSQL that is stopped, cut off, or gives way to its standby, under workers that save."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.breaking import STEPS
from tests.faults.proxy import Proxy
from tests.faults.world import BROKEN_WORKER, World
from tests.helpers import postgres_server
from tests.helpers.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.redis_server import RedisServer

STOPS = 100


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    """A server that keeps what it has committed."""
    if postgres_server.folder() is None:
        pytest.skip("PostgreSQL is not installed, and this test needs a real one")
    with PostgresServer(fsync="on", full_page_writes="on") as server:
        yield server


@pytest.fixture
def world(redis_server: RedisServer, tmp_path: Path, database: PostgresServer) -> Iterator[World]:
    """Processes that save into it."""
    with World(redis_server, tmp_path, postgres=database.new_database()) as world:
        yield world


def test_a_worker_killed_at_each_step_of_the_flush(world: World) -> None:
    world.breaks(*(f"{step} 1 kill" for step in STEPS))
    world.producer("app", 0, 800)
    worker = world.worker(BROKEN_WORKER)
    worker.until(lambda: not world.breaks_left())
    world.end(worker)


@pytest.mark.parametrize("stops", [3, pytest.param(STOPS, marks=pytest.mark.timeout(600))])
def test_the_server_stops_at_once_under_two_savers(
    world: World, database: PostgresServer, stops: int
) -> None:
    chance = random.Random(7)
    for name in ("one", "two"):
        world.producer(name, 0, 300)
    workers = [world.worker(), world.worker()]
    for stop in range(stops):
        world.saves(workers[stop % 2])
        time.sleep(chance.uniform(0, 0.3))  # so that it comes at any moment
        database.kill()
        database.start()
    world.end(*workers)


def test_the_reply_to_a_commit_is_lost(world: World, database: PostgresServer) -> None:
    with Proxy(database.port) as proxy:
        past, world.postgres = (
            world.postgres,
            str(world.postgres).replace(str(database.port), str(proxy.port)),
        )
        proxy.lose_replies(to=b"COMMIT", times=8, every=3, then="close")
        world.producer("app", 0, 800)
        worker = world.worker()
        worker.until(lambda: not proxy.replies_left)
        world.postgres = past
        world.end(worker)


def test_the_network_is_cut_again_and_again(world: World, database: PostgresServer) -> None:
    with Proxy(database.port) as proxy:
        past, world.postgres = (
            world.postgres,
            str(world.postgres).replace(str(database.port), str(proxy.port)),
        )
        world.producer("app", 0, 800)
        workers = [world.worker(), world.worker()]
        world.postgres = past
        for _ in range(20):
            world.saves(workers[0])
            proxy.cut()
        world.end(*workers)


def test_a_synchronous_standby_takes_over(
    redis_server: RedisServer, tmp_path: Path, database: PostgresServer
) -> None:
    url = database.new_database()
    with (
        PostgresServer(copy_of=database, fsync="on") as standby,
        World(redis_server, tmp_path, postgres=url) as world,
    ):
        database.configure(synchronous_standby_names="'*'")
        port, other = f":{database.port}/", f":{database.port},127.0.0.1:{standby.port}/"
        world.postgres = f"{url.replace(port, other)}?target_session_attrs=read-write"
        for name in ("one", "two"):
            world.producer(name, 0, 300)
        workers = [world.worker(), world.worker()]
        world.saves(workers[0], more=500)
        database.kill()
        standby.promote()
        world.saves(workers[1], more=500)
        world.end(*workers)


def test_a_worker_that_hangs_in_a_transaction_holds_up_the_other_for_seconds_only(
    world: World,
) -> None:
    world.breaks("saving 3 stop")
    world.producer("app", 0, 800)
    hanging, other = world.worker(BROKEN_WORKER), world.worker()
    other.until(lambda: not world.breaks_left())
    world.saves(other, more=1000)
    hanging.close()
    world.end(other)
