"""A claim read chunk by chunk: while one is saved, the next one is read and decoded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from metrics_collector._storage import chunks
from metrics_collector._storage.steps import with_pauses

if TYPE_CHECKING:
    from metrics_collector._redis.worker_commands import WorkerCommands
    from metrics_collector._storage.chunks import Chunk


class ClaimReader:
    """The head of a claim, and one chunk behind it.

    The elements of a claim never change, and it gets shorter only from its head. So what was read behind the head is
    the new one once that is taken off, unless another worker has taken some off meanwhile.
    """

    def __init__(self, source: WorkerCommands, token: str) -> None:
        self._source = source
        self._token = token
        self._head: Chunk | None = None
        self._ahead: asyncio.Task[Chunk] | None = None

    async def head(self, count: int) -> Chunk:
        """The first `count` elements, or fewer if they are large; the same ones until `go_on`.

        Raises:
            StoreUnavailableError: Redis cannot be used.
        """
        if self._head is None:
            self._head = await self._read(count, 0)
        known = len(self._head.elements)
        if self._ahead is None and known < self._head.length:
            self._ahead = asyncio.create_task(self._read(count, known))
        return self._head

    async def settle(self) -> None:
        """Wait for what is being read, so that one connection is enough: a URL may allow no more."""
        if self._ahead is not None:
            await asyncio.wait([self._ahead])

    async def go_on(self, *, taken: bool) -> None:
        """Be at what follows the head if that was `taken` off the claim, else at whatever its head is now.

        Raises:
            StoreUnavailableError: what follows could not be read.
        """
        head, self._head = self._head, None
        if taken and head is not None and self._ahead is not None:
            following = await self._ahead
            if following.length == head.length - len(head.elements):
                self._head = following
        await self.aclose()

    async def aclose(self) -> None:
        """End reading."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    async def _read(self, count: int, start: int) -> Chunk:
        length, elements = await self._source.read(self._token, count, start)
        return await with_pauses(chunks.prepare(self._token, length - start, elements))
