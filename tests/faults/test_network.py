"""What networks do to connections."""

from __future__ import annotations

import hashlib
import time
from importlib import resources
from typing import TYPE_CHECKING, Literal

import pytest

from metrics_collector._redis.refusals import noting
from tests.faults.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.world import World

PUSH = noting(resources.files("metrics_collector._redis").joinpath("lua/push.lua").read_text())
# What a call of it holds.
PUSHES = hashlib.sha1(PUSH.encode(), usedforsecurity=False).hexdigest().encode()


@pytest.fixture
def proxy(world: World) -> Iterator[Proxy]:
    """A way to the world's Redis that can be broken."""
    with Proxy(world.server.port) as proxy:
        yield proxy


@pytest.mark.parametrize(("then", "times"), [("close", 10), ("hang", 1)])
def test_the_reply_to_a_push_is_lost(
    world: World, proxy: Proxy, then: Literal["close", "hang"], times: int
) -> None:
    proxy.lose_replies(to=PUSHES, times=times, every=3, then=then)
    worker = world.worker()
    producer = world.producer("app", 0, 1000, url=proxy.url)
    producer.until(lambda: proxy.replies_left == 0)
    world.stop("app")
    made = world.finish("app")
    assert made.retried > 0
    assert producer.output.count("cannot be used") == 1  # one line a minute says it
    assert world.check(worker).rows == {"app": made.calls}


@pytest.mark.timeout(300)
def test_connections_are_half_open_for_a_while(world: World, proxy: Proxy) -> None:
    url = proxy.url
    worker, scheduler = world.worker(url=url), world.scheduler(url=url)
    for name in ("one", "two"):
        world.producer(name, 0, 500, url=url)
    for _ in range(2):
        world.saves(worker)
        with proxy.half_open():
            time.sleep(7)  # longer than any reply is waited for
        world.saves(worker)
    world.end(worker, scheduler)


def test_all_is_slow(world: World, proxy: Proxy) -> None:
    proxy.delay = 0.3
    worker = world.worker(url=proxy.url)
    world.producer("app", 3000, 1000, url=proxy.url)
    assert world.finish("app").dropped == 0
    proxy.delay = 0.0
    assert world.check(worker).rows == {"app": 3000}


def test_connections_are_cut_all_the_time(world: World, proxy: Proxy) -> None:
    worker, scheduler = world.worker(url=proxy.url), world.scheduler(url=proxy.url)
    world.producer("app", 6000, 1000, url=proxy.url)
    for _ in range(100):
        proxy.cut()
        time.sleep(0.05)
    assert world.end(worker, scheduler) == {"app": 6000}
