"""Work in threads, imports there, and what is done at the exit of the process."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import importlib
import sys
import threading
from functools import cache, partial
from typing import TYPE_CHECKING, TypeVar

from metrics_collector._errors import ConfigurationError
from metrics_collector._support import threads
from metrics_collector._support.fork_hooks import no_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


@cache
def in_subinterpreter() -> bool:
    """Whether this is another interpreter than the main one of its process."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # from Python 3.13 on, and before
        with contextlib.suppress(ImportError):
            interpreters = importlib.import_module(name)
            return bool(interpreters.get_current() != interpreters.get_main())
    return False


def refuse_subinterpreter() -> None:
    """Allow no sender thread in a subinterpreter: one that stays aborts the process when that interpreter ends.

    Raises:
        ConfigurationError: this is one.
    """
    if in_subinterpreter():
        raise ConfigurationError(
            "this is a subinterpreter, from which no metrics are sent: measured functions run, and what they record is "
            "lost; run the program in the main interpreter (mod_wsgi: WSGIApplicationGroup %{GLOBAL}; instead of an "
            "InterpreterPoolExecutor: a ThreadPoolExecutor or ProcessPoolExecutor)"
        )


def exiting() -> bool:
    """Whether the interpreter's exit has begun: many modules cannot be imported now, and soon no thread started."""
    # While executors end their work, the main thread still counts as alive, and nothing public tells.
    return getattr(threading, "_SHUTTING_DOWN", False) or not threading.main_thread().is_alive()


def at_exit(action: Callable[[], None]) -> None:
    """Have something done as the process ends; after `os._exit`, or a signal that kills, it is not."""
    # Celery's pool ends its children by `os._exit`. Another thread may be importing Celery now.
    shutdown = getattr(sys.modules.get("celery.signals"), "worker_process_shutdown", None)
    if shutdown is not None:
        shutdown.connect(lambda **_: action(), weak=False, dispatch_uid="metrics_collector")
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        # Children of multiprocessing end without atexit.
        from multiprocessing.util import Finalize

        Finalize(None, action, exitpriority=0)
    else:
        atexit.register(action)


async def in_thread(work: Callable[[], T], *, stay: bool = False) -> T:
    """Do blocking work in a daemon thread; on the loop if no thread can be started any more.

    `asyncio.to_thread` would not do: the exit of the process waits for the threads of its executor, and once the exit
    has begun it takes no work.

    Args:
        work: what is done.
        stay: whether the thread, after work that did not fail, stays until the process ends, asleep.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if outcome.done():  # whoever waited was cancelled
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
        if stay and problem is None:
            asleep = threads.lock()
            asleep.acquire()
            asleep.acquire()

    name = "metrics_collector_imports" if stay else "metrics_collector_in_thread"
    try:
        threads.start(threads.daemon(run, name))
    except RuntimeError:
        return work()
    return await outcome


async def load(*modules: str) -> None:
    """Import modules that take long in another thread, so that the loop goes on meanwhile.

    The thread stays. Some modules use OpenSSL (Taskiq's HTTP client makes its TLS contexts as it is imported), and a
    thread that has done so takes a lock of OpenSSL's as it ends. It would end just as a fork that waited for the import
    goes on, and a child that is forked while the lock is taken hangs in its exit.
    """
    if not all(module in sys.modules for module in modules):
        await in_thread(partial(_load, modules), stay=True)


def _load(modules: Iterable[str]) -> None:
    with no_fork():
        for module in modules:
            importlib.import_module(module)
