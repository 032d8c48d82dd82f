"""The home in a daemon thread: for sync scripts, threads and repeated `asyncio.run`, and at the exit of the process."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # redis loads it, which is too late once the interpreter exits
import contextlib
import selectors
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._errors import MetricsCollectorError, StoreUnavailableError
from metrics_collector._runtime.places import GRACE, GoneError, Place
from metrics_collector._support import process

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from metrics_collector._runtime.home import Home

_LEAVE_TIMEOUT: Final = 5.0  # seconds
_REST: Final = (
    5e-5  # seconds; as short as it may be, for many rests make the sending of many entries
)
_BUILD_TIMEOUT: Final = 10.0  # seconds that the drivers may take to load, on a very slow machine


class _PoliteSelector(selectors.DefaultSelector):
    """Lets other threads have the interpreter's lock between any two pieces of work of this one.

    A look that does not wait gives the lock up too, but has it back before a thread that waits for it wakes up. That
    one, an application's loop maybe, would get it after five milliseconds only (`sys.getswitchinterval`).
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            time.sleep(_REST)
        return super().select(timeout)


class _OwnLoop(asyncio.SelectorEventLoop):
    """A loop that needs no executor to look names up: that takes no work any more while the interpreter exits.

    That is when the last entries of a short script are sent.
    """

    def __init__(self) -> None:
        super().__init__(_PoliteSelector())
        self.set_debug(False)  # `python -X dev` is for the loops of the program

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        return await process.aside(partial(socket.getaddrinfo, host, port, **options))


class ThreadPlace(Place):
    """The home in a daemon thread, for sync scripts, threads and repeated `asyncio.run`.

    Args:
        build: makes the home, on the thread's loop.
        hold: keeps the outbox within its bound, until cancelled, if the home cannot be built.
    """

    def __init__(
        self,
        build: Callable[[], Home],
        hold: Callable[[Exception], Awaitable[None]],
    ) -> None:
        super().__init__(_OwnLoop())
        self._build = build
        self._hold = hold
        self._stop = asyncio.Event()
        self._built = threading.Event()  # or given up
        self._last_words: float | None = None
        self._failed = False
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, name="metrics_collector", daemon=True)

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: no thread can be started, as at the exit of the interpreter.
        """
        try:
            self._thread.start()
        except RuntimeError:
            self.loop.close()
            raise

    def alive(self) -> bool:
        """Whether the home can be reached."""
        return not self.loop.is_closed()

    async def leave(self) -> None:
        """Stop the home without sending, for another one to go on with the outbox. From any loop."""
        self._tell_to_stop(None)
        # A matter of milliseconds, unless it is still loading its drivers.
        await asyncio.wait({asyncio.wrap_future(self._ended)}, timeout=_LEAVE_TIMEOUT)

    def stop(self, last_words: float | None, grace: float = GRACE) -> bool:
        """Stop the home and wait for that; for the process's exit, and for tests.

        Args:
            last_words: seconds that it may take to send what is left, beside those that its drivers take to load;
                `None`: not to be sent.
            grace: seconds beyond those that it may take to end.

        Returns:
            Whether it has ended in that time, and all was sent, if it was to be.
        """
        self._tell_to_stop(last_words)
        if last_words is not None:
            self._built.wait(_BUILD_TIMEOUT)
        self._thread.join(grace + (last_words or 0.0))
        return not self._thread.is_alive() and not self._failed

    def stop_here(self, last_words: float) -> bool:
        """Bring up a home on the calling thread just to send what is left, when no other thread can be started.

        Returns:
            Whether all was sent.
        """
        self._last_words = last_words
        self._stop.set()
        self._run()
        return not self._failed

    def _tell_to_stop(self, last_words: float | None) -> None:
        self._last_words = last_words
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has stopped
            self.loop.call_soon_threadsafe(self._stop.set)

    def _run(self) -> None:
        try:
            self.loop.run_until_complete(self._live())
        finally:
            self.loop.close()
            self._ended.set_result(None)

    async def _live(self) -> None:
        try:
            await self._serve()
        finally:
            await self.close()
            # What a visitor has left to be done, such as closing a database in another thread.
            if rest := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(rest, timeout=_LEAVE_TIMEOUT)

    async def _serve(self) -> None:
        if self._stop.is_set() and self._last_words is None:
            self._built.set()
            return self.fail(GoneError())
        try:
            home = self._build()
        except Exception as error:  # noqa: BLE001 - whatever keeps it from sending: `hold` says so
            return await self._go_without(error)
        finally:
            self._built.set()
        try:
            await self._start(home)
        except Exception as error:  # noqa: BLE001 - as above
            await home.stop()
            return await self._go_without(error)
        try:
            if self._last_words is not None:
                # At the exit of the interpreter no thread can be started, so SQLite is used without.
                self._failed = not await home.finish(self._last_words, plain=True)
        finally:
            await home.stop()

    async def _start(self, home: Home) -> None:
        """Have the home run until it is to stop, which may be before it has started."""
        stopped = asyncio.ensure_future(self._stop.wait())
        starting = asyncio.ensure_future(home.start(lambda: None))
        if not self._stop.is_set():
            await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            self.settle(home)
            await stopped
        else:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            self.fail(GoneError())

    async def _go_without(self, cause: Exception) -> None:
        known = isinstance(cause, MetricsCollectorError)
        self.fail(cause if known else StoreUnavailableError(f"there is no sender: {cause!r}"))
        holding = asyncio.ensure_future(self._hold(cause))
        await asyncio.sleep(0)  # for it to say so even if the process ends now
        await self._stop.wait()
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
