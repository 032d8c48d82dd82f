"""Threads, forks and exits, and how modules load in a thread without harm to a forked child."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import importlib
import os
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

# Seconds that a fork waits for modules to load; a second or two is what they take on a slow machine.
_LOAD_TIMEOUT: Final = 5.0

# A module that one thread loads while another forks stays half loaded in the child, and whoever imports it there, the
# user's code included, waits for ever. So a fork waits until its owner has let go of this.
_loading = threading.RLock()


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


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Keep the process from forking; for imports that may happen in a thread of ours."""
    with _loading:
        yield


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
    with loading():
        for module in modules:
            importlib.import_module(module)


def _before_fork() -> None:
    _loading.acquire(timeout=_LOAD_TIMEOUT)


def _after_fork_in_parent() -> None:
    with contextlib.suppress(RuntimeError):  # it is another thread's: the wait was in vain
        _loading.release()


def _after_fork_in_child() -> None:
    global _loading  # noqa: PLW0603 - its owner may be a thread that is not here
    _loading = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
