"""The stream of rings in Redis, as one worker of its group sees it."""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redis.asyncio import Redis

DOORBELL: Final = "{metrics_list}:doorbell"
GROUP: Final = "workers"
LENGTH: Final = (
    1000  # rings that the stream keeps; with no worker about they would pile up for ever
)

# In seconds.
ABANDONED_AFTER: Final = (
    120.0  # longer than the lease of the claim that a dead worker leaves behind
)
FORGOTTEN_AFTER: Final = 600.0

Entry = tuple[bytes, dict[bytes, bytes]]  # id and fields


class Stream:
    """Takes rings under a name of its own. Every method raises what redis-py raises.

    Args:
        redis: open for as long as the stream is used.
        abandoned_after: seconds; who has not acknowledged a ring by then counts as dead.
    """

    def __init__(self, redis: Redis, abandoned_after: float = ABANDONED_AFTER) -> None:
        self._redis = redis
        self._abandoned_after = abandoned_after
        self._name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._taken: set[bytes] = set()  # read and not acknowledged yet

    async def declare(self) -> None:
        """Make the group, which begins with the oldest ring, and the stream if there is none."""
        try:
            await self._redis.xgroup_create(DOORBELL, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def read(self, block: float) -> list[Entry]:
        """All that nobody has taken yet; waits up to `block` seconds for the first."""
        reply: Any = await self._redis.xreadgroup(
            GROUP, self._name, {DOORBELL: ">"}, count=LENGTH, block=int(block * 1000)
        )
        entries: list[Entry] = [entry for _, entries in reply for entry in entries]
        self._taken.update(entry_id for entry_id, _ in entries)
        return entries

    async def acknowledge(self, ids: Iterable[bytes]) -> None:
        """Say that these are answered."""
        ids = list(ids)
        self._taken.difference_update(ids)
        await self._redis.xack(DOORBELL, GROUP, *ids)

    async def sweep(self) -> bool:
        """Drop what dead workers took, and forget them; True if that has to be rung again here.

        So does what this one took without knowing, as its connection broke under the reply.
        """
        idle = int(self._abandoned_after * 1000)
        ids = {*await self._pending(idle=idle), *await self._pending(consumername=self._name)}
        lost = ids - self._taken
        # Several workers may see the same: the one whose XACK counts it rings again.
        again = bool(lost and await self._redis.xack(DOORBELL, GROUP, *lost))
        await self._forget(lambda _, idle: idle > FORGOTTEN_AFTER)
        return again

    async def leave(self) -> None:
        """Take this worker's name off the group."""
        await self._forget(lambda name, _: name == self._name)

    async def _pending(self, **which: Any) -> list[bytes]:
        entries: Any = await self._redis.xpending_range(
            DOORBELL, GROUP, min="-", max="+", count=LENGTH, **which
        )
        return [entry["message_id"] for entry in entries]

    async def _forget(self, gone: Callable[[str, float], bool]) -> None:
        """Delete the consumers for whom `gone(name, idle seconds)` holds."""
        for consumer in await self._redis.xinfo_consumers(DOORBELL, GROUP):
            name = consumer["name"].decode()
            # What it has pending would go with it, so that has to be swept first.
            if not consumer["pending"] and gone(name, consumer["idle"] / 1000):
                await self._redis.xgroup_delconsumer(DOORBELL, GROUP, name)
