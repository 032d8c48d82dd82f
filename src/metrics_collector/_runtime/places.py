"""Where the process's home is: on the application's loop, or in a thread with a loop of its own (`_thread_place`).

There is one home at a time. Whoever wants something of it from another loop or thread goes through `Place.call`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from metrics_collector._errors import MetricsCollectorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from metrics_collector._runtime.home import Home

T = TypeVar("T")

GRACE: Final = 0.25  # seconds beyond those for sending
SPOOL_GRACE: Final = 10.0  # the same where what cannot be sent goes to a disk, if that is very slow


class GoneError(Exception):
    """The home left before it could do what it was asked; there is another one by now, or soon."""


class Place:
    """A loop with a home on it, or one that is about to be.

    Args:
        loop: of the home.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._home: asyncio.Future[Home] = loop.create_future()
        # Invariant under the lock: once it is shut, no visitor is let in, so none is forgotten at the end.
        self._door = threading.Lock()
        self._shut = False
        self._visitors: set[asyncio.Task[Any]] = set()

    async def ready(self) -> Home:
        """The home, as soon as it is there; on its own loop.

        Raises:
            GoneError: there will be none.
            MetricsCollectorError: for this reason there will be none.
        """
        return await asyncio.shield(self._home)

    async def call(self, action: Callable[[Home], Awaitable[T]]) -> T:
        """Do something with the home, on its own loop; from any loop, as soon as the home is there.

        Raises:
            GoneError: the home left meanwhile; from another loop only.
        """
        if asyncio.get_running_loop() is self.loop:
            return await action(await self.ready())
        visit = self._visit(action)
        with self._door:
            if self._shut or self.loop.is_closed():
                visit.close()
                raise GoneError
            answer = asyncio.run_coroutine_threadsafe(visit, self.loop)
        try:
            return await asyncio.wrap_future(answer)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if answer.cancelled() and not (caller and caller.cancelling()):
                raise GoneError from None
            raise

    def settle(self, home: Home) -> None:
        """The home is there."""
        self._home.set_result(home)

    def fail(self, error: BaseException) -> None:
        """There will be none."""
        known = isinstance(error, MetricsCollectorError)
        self._home.set_exception(error if known else GoneError())
        self._home.exception()  # looked at here, since nobody may be waiting

    async def _visit(self, action: Callable[[Home], Awaitable[T]]) -> T:
        visitor = asyncio.current_task()
        assert visitor is not None  # noqa: S101 - a coroutine runs in a task
        self._visitors.add(visitor)
        try:
            return await action(await self.ready())
        finally:
            self._visitors.discard(visitor)

    async def close(self) -> None:
        """Send the visitors away and let no more in."""
        with self._door:
            self._shut = True
        for _ in range(2):  # until those at the door are visitors: a task is made, and it begins
            await asyncio.sleep(0)
        visitors = list(self._visitors)
        for visitor in visitors:
            visitor.cancel()
        await asyncio.gather(*visitors, return_exceptions=True)


class TaskPlace(Place):
    """The application's own loop, between the `enter` and the last `leave` of a run.

    Attributes:
        users: runs that share it.
        ending: the last one is being left.
    """

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.users = 1
        self.ending = False
        self._process = os.getpid()
        self._leaving: asyncio.Task[bool] | None = None

    def alive(self) -> bool:
        """Whether the home can be reached."""
        return self.loop.is_running()

    async def leave(self, timeout: float | None) -> bool:
        """Send what is left, for at most `timeout` seconds (`None`: do not), and stop the home; from any loop.

        Returns:
            Whether all was sent, as far as it was to be.
        """
        if os.getpid() != self._process:
            return True  # loop and sockets are the parent's too, and closing them here would disturb it
        if asyncio.get_running_loop() is self.loop:
            return await self._leave(timeout)
        if self.alive():
            there = asyncio.run_coroutine_threadsafe(self._leave(timeout), self.loop)
            return await asyncio.wrap_future(there)
        return True

    def retire(self) -> None:
        """Stop the home, since another place has taken over; from any thread, even while the loop stands still."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._leave_soon)

    def finish(self, timeout: float, grace: float) -> bool:
        """Send what is left, from another thread than the loop's; for the process's exit. Whether all was sent.

        The loop is that of a daemon thread, and goes on until the interpreter is gone.
        """

        async def finish() -> bool:
            home = await self.ready()
            return await home.finish(timeout, plain=True)

        try:
            return asyncio.run_coroutine_threadsafe(finish(), self.loop).result(timeout + grace)
        except Exception:  # noqa: BLE001 - whatever it is, nobody is left to be told
            return False

    def _leave_soon(self) -> None:
        self._leaving = asyncio.ensure_future(self._leave(None))

    async def _leave(self, timeout: float | None) -> bool:
        home = await self.ready()
        try:
            return timeout is None or await home.finish(timeout)
        finally:
            await asyncio.shield(self._end(home))

    async def _end(self, home: Home) -> None:
        await self.close()
        await home.stop()
