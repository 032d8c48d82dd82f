"""The sender thread: a daemon thread that sends, with an event loop of its own.

So the application's loops are never blocked, and may begin and end at any time. From any loop, the pipeline in this
thread is used by `SenderThread.call`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: TC003 - redis loads it, which is too late once the interpreter exits
import contextlib
import selectors
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from metrics_collector._errors import MetricsCollectorError, StoreUnavailableError
from metrics_collector._support import process, threads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from metrics_collector._runtime.sending_pipeline import SendingPipeline

T = TypeVar("T")

_PAUSE: Final = 5e-5  # seconds; as short as possible, as sending many entries takes many pauses
_BUILD_TIMEOUT: Final = 30.0  # seconds that the drivers may take to load, on a very busy machine
_CLOSE_TIMEOUT: Final = 5.0  # seconds that cancelled calls may take to clean up
_LOOK_EVERY: Final = 0.1  # seconds between two looks whether an answer is there


class StoppedError(Exception):
    """The thread stopped before it could answer; another one has replaced it or will."""


class _YieldingSelector(selectors.DefaultSelector):
    """Gives other threads the interpreter's lock in each round of the loop.

    A `select` that does not wait releases the lock, too, but has it back before a thread that waits for it wakes up.
    That one, an application's loop maybe, would get it only after five milliseconds (`sys.getswitchinterval`).
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            time.sleep(_PAUSE)
        return super().select(timeout)


class _SenderLoop(asyncio.SelectorEventLoop):
    """A loop that looks up host names without an executor.

    An executor takes no work while the interpreter exits, which is when the last entries of a short script are sent.
    """

    def __init__(self) -> None:
        selector = _YieldingSelector()
        try:
            super().__init__(selector)
        except BaseException:  # no descriptor is left
            selector.close()
            asyncio.BaseEventLoop.close(self)  # which has nothing else to close
            raise
        self.set_debug(False)  # `python -X dev` is for the loops of the program

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        return await process.in_thread(partial(socket.getaddrinfo, host, port, **options))


async def _awaited(answer: concurrent.futures.Future[T]) -> T:
    """Wait for another thread, with a timer besides.

    When a forked child closes the loop that it has inherited, the pipe that wakes the parent's loop is removed from
    the parent's epoll, too.
    """
    future = asyncio.wrap_future(answer)
    try:
        while not future.done():
            await asyncio.wait({future}, timeout=_LOOK_EVERY)
    finally:
        future.cancel()
    return future.result()


class SenderThread:
    """The sender's thread and loop.

    Args:
        build: makes the pipeline, on the thread's loop.
        without_pipeline: is run until cancelled, if there can be no pipeline; it is given the reason and logs it.
        predecessor: a thread with the same outbox that is about to stop; this one waits until it has.
    """

    def __init__(
        self,
        build: Callable[[], SendingPipeline],
        without_pipeline: Callable[[Exception], Awaitable[None]],
        predecessor: SenderThread | None = None,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None  # made in the thread, as gevent needs it
        self.failed = False  # whether there can be no pipeline
        self._build = build
        self._without_pipeline = without_pipeline
        self._predecessor = predecessor
        self._pipeline: asyncio.Future[SendingPipeline]
        self._stopping = False
        self._stop = asyncio.Event()
        self._built = threading.Event()  # there is a pipeline, or it is certain that there is none
        self._send_for: float | None = None
        self._all_sent = False
        # Invariant under the lock: once it is closed, no call is accepted, so that none is left waiting at the end.
        self._lock = threading.Lock()
        self._closed = False
        self._calls: set[asyncio.Task[Any]] = set()
        self._beginning = (
            threads.lock()
        )  # held until there is a loop, or it is certain that there is none
        self._beginning.acquire()
        self._problem: Exception | None = None  # why there is none
        self._thread = threads.daemon(self._run, "metrics_collector")

    def start(self) -> None:
        """Start the thread, and wait until it has a loop.

        Raises:
            OSError: no loop can be made, for lack of a descriptor or socket.
            RuntimeError: no thread can be started, as at the exit of the interpreter, or no socket is allowed.
        """
        try:
            threads.start(self._thread)
            self._beginning.acquire()
        except BaseException:  # of a signal handler, maybe, while the thread starts
            self.request_stop()
            raise
        if self._problem is not None:
            raise self._problem

    def alive(self) -> bool:
        """Whether the thread has not been asked to stop, and has not stopped."""
        return not self._stopping

    async def call(self, action: Callable[[SendingPipeline], Awaitable[T]]) -> T:
        """Do something with the pipeline in this thread, as soon as there is one; may be awaited on any loop.

        Context variables are those of the caller, and a cancellation reaches the action.

        Raises:
            StoppedError: the thread stopped meanwhile.
            MetricsCollectorError: the reason why there is no pipeline, or what the action raised.
        """
        work = self._perform(action)
        with self._lock:
            if self._closed or self.loop is None:
                work.close()
                raise StoppedError
            answer = asyncio.run_coroutine_threadsafe(work, self.loop)
        return await _awaited(answer)

    async def _perform(self, action: Callable[[SendingPipeline], Awaitable[T]]) -> T:
        call = asyncio.current_task()
        assert call is not None  # noqa: S101 - a coroutine runs in a task
        self._calls.add(call)
        try:
            return await action(await asyncio.shield(self._pipeline))
        except asyncio.CancelledError:
            if self._closed:
                raise StoppedError from None
            raise
        finally:
            self._calls.discard(call)

    def request_stop(self, send_for: float | None = None) -> None:
        """Have the thread stop soon; `send_for` as in `stop`."""
        self._stopping = True
        self._send_for = send_for
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed: the thread has stopped
                self.loop.call_soon_threadsafe(self._stop.set)

    def stop(self, send_for: float | None, grace: float) -> bool:
        """Stop the thread and wait until it has, at the exit of the process, and in tests.

        Args:
            send_for: seconds that it may take to send what is left, beside those that its drivers take to load;
                `None`: it sends nothing, and another thread goes on with the outbox.
            grace: seconds that it may take to end, beside those.

        Returns:
            Whether it has ended in that time, and has sent all that it was asked to send.
        """
        self.request_stop(send_for)
        if send_for is not None:
            self._built.wait(_BUILD_TIMEOUT)
        self._thread.join(grace + (send_for or 0.0))
        return not self._thread.is_alive() and (send_for is None or self._all_sent)

    def run_here(self, send_for: float) -> bool:
        """Send what is left, on this thread as none can be started, within `send_for` seconds; whether all was sent."""
        self._send_for = send_for
        self._stop.set()
        self._run()
        return self._all_sent

    def _run(self) -> None:
        try:
            # Where a user's tests allow no sockets, the pair that a loop makes would leave half of itself open.
            socket.socket().close()
            self.loop = loop = _SenderLoop()
        except Exception as error:  # noqa: BLE001 - `start` raises it
            self._problem = error
            self._stopping = True
            return
        finally:
            self._beginning.release()
        try:
            if self._predecessor is not None:
                self._predecessor._thread.join()  # noqa: SLF001 - of the same class
                self._predecessor = None
            loop.run_until_complete(self._live())
        finally:
            loop.close()

    async def _live(self) -> None:
        self._pipeline = asyncio.get_running_loop().create_future()
        if self._stopping:  # since before there was a loop to tell
            self._stop.set()
        try:
            await self._serve()
        finally:
            await self._close()

    async def _serve(self) -> None:
        if self._stop.is_set() and self._send_for is None:
            return None
        try:
            pipeline = self._build()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged
            return await self._go_without(error)
        finally:
            self._built.set()
        try:
            await self._start(pipeline)
        except Exception as error:  # noqa: BLE001 - as above
            await pipeline.stop()
            return await self._go_without(error)
        try:
            await self._stop.wait()
            if self._send_for is not None:
                # At the exit of the interpreter no thread can be started, so SQLite is used without.
                self._all_sent = await pipeline.finish(self._send_for, plain=True)
        finally:
            await pipeline.stop()

    async def _start(self, pipeline: SendingPipeline) -> None:
        """Start the pipeline, unless the thread is asked to stop before it has."""
        if self._stop.is_set():
            return
        starting = asyncio.ensure_future(pipeline.start())
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if starting.done():
            starting.result()
            self._pipeline.set_result(pipeline)
        else:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)

    async def _go_without(self, cause: Exception) -> None:
        known = isinstance(cause, MetricsCollectorError)
        self._pipeline.set_exception(
            cause if known else StoreUnavailableError(f"cannot build the sender: {cause!r}")
        )
        self._pipeline.exception()  # retrieved here, since nobody may be waiting
        self.failed = True
        running = asyncio.ensure_future(self._without_pipeline(cause))
        await asyncio.sleep(0)  # for it to log the cause even if the process ends now
        await self._stop.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def _close(self) -> None:
        """End the calls, and accept no more."""
        with self._lock:
            self._stopping = self._closed = True
        # Each call that was accepted begins: its task is made, and takes its first step.
        for _ in range(2):
            await asyncio.sleep(0)
        for call in self._calls:
            call.cancel()
        # The calls, and what they have started, such as closing a database in another thread.
        if rest := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(rest, timeout=_CLOSE_TIMEOUT)
