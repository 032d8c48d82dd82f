"""A Redis that dies, loses its data, or refuses."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from tests.faults.proxy import Proxy
from tests.faults.world import World
from tests.helpers.pipeline import KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.helpers.redis_server import RedisServer

AWAY = 30.0  # seconds
BUSY = 20_000  # calls a second


def test_redis_is_killed_under_load_and_starts_empty_twice(world: World) -> None:
    worker, scheduler = world.worker(), world.scheduler()
    for name in ("one", "two"):
        world.producer(name, 0, 700)
    for _ in range(2):
        rows = world.rows()
        worker.until(lambda rows=rows: world.rows() > rows and world.waiting() > 0)  # type: ignore[misc]  # mypy infers no type of a lambda with a default
        world.server.kill()
        world.server.start()
    world.end(worker, scheduler)


@pytest.mark.timeout(600)
def test_redis_is_away_at_twenty_thousand_calls_a_second(world: World) -> None:
    most = 100_000
    worker = world.worker()
    producer = world.producer("app", 0, BUSY, METRICS_MAX_BUFFERED=str(most))
    producer.until(lambda: world.rows() > 4 * BUSY)
    world.server.kill()
    time.sleep(AWAY)
    world.server.start()
    world.saves(producer)
    world.stop("app")
    made = world.finish("app", 120)

    assert producer.output.count("entries wait in this process") <= 2  # one line a minute
    assert made.most_held <= most + BUSY  # what came between two looks of the sender
    assert made.dropped > 0  # the calls went on past the limit
    world.check(worker, limit=120)


def _empty(world: World) -> None:
    world.redis.flushall()


def _forget_scripts(world: World) -> None:
    world.redis.script_flush()


def _fill(world: World) -> None:
    world.redis.config_set("maxmemory", 1)
    time.sleep(1)
    world.redis.config_set("maxmemory", 0)


def _demote(world: World) -> None:
    world.redis.replicaof("127.0.0.1", "1")
    time.sleep(1)
    world.redis.replicaof("NO", "ONE")


def _change_password(world: World) -> None:
    world.redis.config_set("requirepass", "another")
    world.cut_connections()
    time.sleep(1)
    world.redis.config_set("requirepass", "")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "trouble",
    [_empty, _forget_scripts, World.cut_connections, _fill, _demote, _change_password],
)
def test_redis_makes_trouble_under_load(world: World, trouble: Callable[[World], None]) -> None:
    worker, scheduler = world.worker(), world.scheduler()
    for name in ("one", "two"):
        world.producer(name, 0, 1000)
    worker.until(lambda: world.rows() > 0)  # what starts would take the first trouble for its own
    for _ in range(5):
        trouble(world)
        world.saves(worker)
    world.end(worker, scheduler)
    assert worker.output.count("cannot save entries") <= 1


@pytest.mark.timeout(300)
def test_a_replica_takes_over_and_the_old_master_goes_on_as_its_replica(
    world: World, start_redis: Callable[..., RedisServer]
) -> None:
    replica = start_redis()
    with Redis.from_url(replica.url) as second, Proxy(world.server.port) as proxy:
        second.replicaof("127.0.0.1", str(world.server.port))
        worker, scheduler = world.worker(url=proxy.url), world.scheduler(url=proxy.url)
        for name in ("one", "two"):
            world.producer(name, 0, 1000, url=proxy.url)
        worker.until(
            lambda: world.rows() > 0 and second.info("replication")["master_link_status"] == "up"
        )
        # Nobody cuts the connections: they lead to a replica now, which refuses to write.
        second.replicaof("NO", "ONE")
        proxy.target = replica.port
        world.redis.replicaof("127.0.0.1", str(replica.port))
        world.saves(worker)
        world.moved_to(replica)
        world.end(worker, scheduler)


def _delete_list(world: World) -> None:
    world.redis.delete(KEYS.metrics_list)


def _delete_claims(world: World) -> None:
    world.redis.delete(KEYS.claims, *world.redis.scan_iter(KEYS.claim("*")))


def _delete_leases(world: World) -> None:
    world.redis.delete(KEYS.claims)


def _delete_any(world: World) -> None:
    keys = sorted(world.redis.scan_iter(f"*{KEYS.metrics_list}*"))
    world.redis.delete(*random.Random(len(keys)).sample(keys, len(keys) // 2))


def _evict(world: World) -> None:
    """As a Redis does that was set up as a cache: all keys, one after the other."""
    world.redis.config_set("maxmemory-policy", "allkeys-random")
    world.redis.config_set("maxmemory", int(world.redis.info("memory")["used_memory"]) - 20_000)
    time.sleep(0.2)
    world.redis.config_set("maxmemory", 0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "lose", [_delete_list, _delete_claims, _delete_leases, _delete_any, _evict]
)
def test_redis_loses_keys_alone_under_load(world: World, lose: Callable[[World], None]) -> None:
    worker, scheduler = world.worker(), world.scheduler()
    for name in ("one", "two"):
        world.producer(name, 0, 2000)
    worker.until(lambda: world.rows() > 0)
    for _ in range(20):
        worker.until(lambda: world.waiting() > 100)
        lose(world)
    # And while no worker is there to claim what waits.
    worker.close()
    waiting = world.waiting()
    scheduler.until(lambda: world.waiting() > waiting + 2000)
    lose(world)
    worker = world.worker()
    world.saves(worker)
    world.end(worker, scheduler)


def _move_leases(world: World, seconds: int) -> int:
    """Have leases end so much later, as if the clock had been set back by that; how many there are."""
    tokens: list[Any] = world.redis.zrange(KEYS.claims, 0, -1)
    for token in tokens:
        world.redis.zincrby(KEYS.claims, 1000 * seconds, token)
    return len(tokens)


def test_the_clock_is_set_back_over_the_claim_of_a_dead_worker(world: World) -> None:
    world.producer("app", 0, 2000)
    for _ in range(3):
        while not _move_leases(world, 7200):
            with world.worker(METRICS_CLAIM_LEASE="60") as worker:
                worker.until(lambda: world.redis.zcard(KEYS.claims) > 0)
        worker = world.worker(METRICS_CLAIM_LEASE="60")
        world.saves(worker, more=1000)
        assert worker.terminate() == 0
    world.end(world.worker())


def test_the_clock_is_set_forward_over_all_claims(world: World) -> None:
    workers = [world.worker(METRICS_CLAIM_LEASE="60") for _ in range(3)]
    for name in ("one", "two"):
        world.producer(name, 0, 2000)
    for _ in range(50):
        workers[0].until(lambda: world.redis.zcard(KEYS.claims) > 0)
        _move_leases(world, -7200)
    world.end(*workers)
