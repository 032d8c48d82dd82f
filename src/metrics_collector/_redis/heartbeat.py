"""The heartbeat of a worker or scheduler."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from metrics_collector._redis import clocks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metrics_collector._redis.connection import RedisConnection


class Heartbeat:
    """Says that a process (`host:id`) is alive in a role (`worker` or `scheduler`).

    `path`: of the database that it saves to, for people to read.
    """

    def __init__(
        self, redis: RedisConnection, role: str, process: str, path: str | None = None
    ) -> None:
        self._redis = redis
        self._key = redis.keys.heartbeat(role, process)
        self._path = path

    async def beat(self, state: Mapping[str, object], ttl: float) -> None:
        """Say it, with the state, for `ttl` seconds; and how this process's clock goes."""
        ahead = (await clocks.look(self._redis)).ahead
        said = json.dumps({**state, "path": self._path, "clock_ahead": ahead})
        await self._redis.execute("SET", self._key, said, "PX", int(ttl * 1000))

    async def stop(self) -> None:
        """Say it no more."""
        await self._redis.execute("DEL", self._key)
