"""Reads for the pages: few at once, as each may take hundreds of megabytes, and the same one once for all who ask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

T = TypeVar("T")

AT_ONCE: Final = 2  # so that a long one does not hold up all others
MOST_WAITING: Final = 50
PATIENCE: Final = 30.0  # seconds that one may wait for its turn: half of what proxies usually wait
_RETRY_AFTER: Final = 5  # seconds


_begun: Final[set[asyncio.Future[Any]]] = set()  # the loop alone would not keep them


class Reads:
    """What is being read, and what waits for its turn."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: dict[Hashable, _Shared] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    async def once(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `read` returns, or what is already being read under that key does.

        It is cancelled when all have been who ask for it.
        """
        running = self._on_this_loop()
        shared = running.get(key)
        if shared is None:
            shared = running[key] = _Shared(read())
        shared.asking += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.asking -= 1
            if not shared.asking:
                del running[key]
                shared.task.cancel()

    async def in_turn(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """As `once`, but as soon as it is its turn, and once begun to its end.

        Raises:
            HTTPException: 503, as it is not within `PATIENCE`, or too many wait already.
        """
        running = self._on_this_loop()
        if key not in running and len(running) >= AT_ONCE + MOST_WAITING:
            raise _busy()
        return await self.once(key, lambda: _with(self._room, read))

    def _on_this_loop(self) -> dict[Hashable, _Shared]:
        """What is being read on the running loop: some tests use an app on one after the other."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._running, self._room = loop, {}, asyncio.Semaphore(AT_ONCE)
        return self._running


class _Shared:
    """What is read for all who ask for it."""

    def __init__(self, read: Coroutine[Any, Any, Any]) -> None:
        self.task = asyncio.ensure_future(read)
        self.task.add_done_callback(_retrieved)
        self.asking = 0


async def _with(room: asyncio.Semaphore, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        async with asyncio.timeout(PATIENCE):
            await room.acquire()
    except TimeoutError:
        raise _busy() from None
    # What was begun keeps its place until it ends: a cancel does not stop the thread that reads.
    begun = asyncio.ensure_future(read())
    _begun.add(begun)
    begun.add_done_callback(_begun.discard)
    begun.add_done_callback(lambda _: room.release())
    begun.add_done_callback(_retrieved)
    return await asyncio.shield(begun)


def _retrieved(task: asyncio.Future[Any]) -> None:
    """Where all who asked were cancelled, asyncio would log a failure that nobody awaits."""
    if not task.cancelled():
        task.exception()


def _busy() -> HTTPException:
    return HTTPException(
        503,
        f"The dashboard reads the figures of {AT_ONCE} windows at once, and too many others wait for theirs. "
        f"Try again in {_RETRY_AFTER} seconds.",
        {"Retry-After": str(_RETRY_AFTER)},
    )
