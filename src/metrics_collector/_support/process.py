"""Threads and exits, and how modules load in a thread."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import importlib
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from metrics_collector._support.fork_hooks import no_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


def exiting() -> bool:
    """Whether the main thread has ended: no thread can be started any more, and many a module not be loaded."""
    return not threading.main_thread().is_alive()


def at_exit(action: Callable[[], None]) -> None:
    """Do something as the process ends; nothing can be done about `os._exit` and signals that kill."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        # Children of multiprocessing end without atexit.
        from multiprocessing.util import Finalize

        Finalize(None, action, exitpriority=0)
    else:
        atexit.register(action)


async def aside(work: Callable[[], T]) -> T:
    """Do what would block the loop in a daemon thread; on the loop if no thread can be started any more.

    An executor would not do: the exit waits for its threads, and it takes no work once the exit has begun.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if outcome.done():  # nobody waits any more
            return
        if error is None:
            outcome.set_result(result)  # type: ignore[arg-type]  # a T, since there was no error
        else:
            outcome.set_exception(error)

    def run() -> None:
        result, problem = None, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - goes to whoever waits
            problem = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, problem)

    try:
        threading.Thread(target=run, name="metrics_collector_aside", daemon=True).start()
    except RuntimeError:
        return work()
    return await outcome


async def load(*modules: str) -> None:
    """Load modules that take long, in another thread: the loop goes on meanwhile."""
    if not all(module in sys.modules for module in modules):
        await aside(partial(_load, modules))


def _load(modules: Iterable[str]) -> None:
    with no_fork():
        for module in modules:
            importlib.import_module(module)
