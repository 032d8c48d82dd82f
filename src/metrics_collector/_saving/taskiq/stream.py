"""The stream of flush and purge requests in Redis, as one worker of its group sees it."""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoPermissionError, ResponseError

from metrics_collector._redis.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from redis.asyncio import Redis

STREAM: Final = Keys().flush_requests
GROUP: Final = "workers"
LENGTH: Final = 1000  # requests that the stream keeps; without a worker they would pile up for ever

# In seconds.
ABANDONED_AFTER: Final = 120.0  # longer than the lease of a claim whose worker has died
FORGOTTEN_AFTER: Final = 600.0

StreamEntry = tuple[bytes, dict[bytes, bytes]]  # id and fields


class Stream:
    """Takes requests under a name of its own. Every method raises what redis-py raises.

    A worker that has not acknowledged a request after `abandoned_after` seconds counts as dead.
    """

    def __init__(self, redis: Redis, abandoned_after: float) -> None:
        self._redis = redis
        self._abandoned_after = abandoned_after
        self._name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._taken: set[bytes] = set()  # read and not acknowledged yet

    async def declare(self) -> None:
        """Make the group, which begins with the oldest request, and the stream, unless they are there."""
        try:
            await self._redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def read(self, block: float) -> list[StreamEntry]:
        """Take all requests that no worker has taken yet; waits `block` seconds for the first one."""
        reply: Any = await self._redis.xreadgroup(
            GROUP, self._name, {STREAM: ">"}, count=LENGTH, block=int(block * 1000)
        )
        entries: list[StreamEntry] = [entry for _, entries in reply for entry in entries]
        self._taken.update(entry_id for entry_id, _ in entries)
        return entries

    async def acknowledge(self, ids: Iterable[bytes]) -> None:
        """Acknowledge requests: they are answered."""
        ids = list(ids)
        self._taken.difference_update(ids)
        await self._redis.xack(STREAM, GROUP, *ids)

    async def sweep(self) -> bool:
        """Acknowledge what dead workers took, and delete their consumers.

        The same is done with what this worker took without knowing, as its connection broke during the reply. Where the
        server refuses to say what was taken, or by whom, that is left: workers flush by a timer, too. Returns whether
        this worker is the one to send another request in place of those.
        """
        idle = int(self._abandoned_after * 1000)
        ids = {*await self._pending(idle=idle), *await self._pending(consumername=self._name)}
        lost = ids - self._taken
        # Several workers may see the same: the one whose XACK counts it sends another.
        again = bool(lost and await self._redis.xack(STREAM, GROUP, *lost))
        await self._delete_consumers(lambda _, idle: idle > FORGOTTEN_AFTER)
        return again

    async def leave(self) -> None:
        """Delete this worker's consumer."""
        await self._delete_consumers(lambda name, _: name == self._name)

    async def _pending(self, **which: Any) -> list[bytes]:
        entries = await _if_allowed(
            self._redis.xpending_range(STREAM, GROUP, min="-", max="+", count=LENGTH, **which)
        )
        return [entry["message_id"] for entry in entries]

    async def _delete_consumers(self, gone: Callable[[str, float], bool]) -> None:
        """Delete the consumers for whom `gone(name, idle seconds)` holds."""
        for consumer in await _if_allowed(self._redis.xinfo_consumers(STREAM, GROUP)):
            name = consumer["name"].decode()
            # What it has pending would be deleted with it, so that has to be acknowledged first.
            if not consumer["pending"] and gone(name, consumer["idle"] / 1000):
                await self._redis.xgroup_delconsumer(STREAM, GROUP, name)


async def _if_allowed(question: Awaitable[Any]) -> Any:
    """What the server answers, or nothing if it refuses the command: by its ACL, or by another name of it."""
    try:
        return await question
    except NoPermissionError:
        return []
    except ResponseError as error:
        if str(error).startswith("unknown command"):
            return []
        raise
