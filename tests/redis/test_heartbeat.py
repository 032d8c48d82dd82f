"""Heartbeats, on fakeredis and on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._redis.clocks import TOLERATED
from metrics_collector._redis.heartbeat import Heartbeat
from tests.helpers.pipeline import KEYS

if TYPE_CHECKING:
    from tests.helpers.pipeline import Commands


async def test_heartbeats(redis: Commands, client: Any) -> None:
    host = "ho*st[1]"
    mine, other = (
        Heartbeat(redis.connection, "worker", f"{name}:1", path)
        for name, path in ((host, "/a"), ("host", None))
    )
    await mine.beat({"error": None}, 20.0)
    await other.beat({"error": "x"}, 20.0)
    beats = await redis.reader.heartbeats("worker")
    for state in beats.values():
        assert abs(state.pop("clock_ahead")) < TOLERATED
    both = {f"{host}:1": {"error": None, "path": "/a"}, "host:1": {"error": "x", "path": None}}
    assert beats == both
    assert await redis.reader.heartbeats("scheduler") == {}
    assert 0 < await client.pttl(KEYS.heartbeat("worker", f"{host}:1")) <= 20_000
    await mine.stop()
    assert (await redis.reader.heartbeats("worker")).keys() == {"host:1"}


async def test_a_heartbeat_from_before_the_clock_was_set_back_is_none(redis: Commands) -> None:
    beat = Heartbeat(redis.connection, "worker", "host:1")
    await beat.beat({}, 7200.0)
    assert await redis.reader.heartbeats("worker") == {}
    await beat.beat({}, 20.0)
    assert (await redis.reader.heartbeats("worker")).keys() == {"host:1"}


@pytest.mark.parametrize(
    "state",
    [
        b"alive",
        b"\xff",
        b"[]",
        b'"x"',
        b"[" * 100_000,
        b'{"flushed_at": "x"}',
        b'{"flushed_at": []}',
        b'{"flushed_at": NaN}',
        b'{"flushed_at": 1e300}',
        b'{"db": 1}',
        b'{"path": ["/a"]}',
        b'{"clock_ahead": "x"}',
        b'{"clock_ahead": Infinity}',
        b'{"clock_ahead": 1e300}',
    ],
)
async def test_what_somebody_else_has_written_is_no_heartbeat(
    redis: Commands, client: Any, state: bytes
) -> None:
    await Heartbeat(redis.connection, "worker", "host:1").beat({"flushed_at": 1.5}, 20.0)
    await client.set(KEYS.heartbeat("worker", "host:2"), state)
    await client.rpush(KEYS.heartbeat("worker", "host:3"), state)
    assert (await redis.reader.heartbeats("worker")).keys() == {"host:1"}
