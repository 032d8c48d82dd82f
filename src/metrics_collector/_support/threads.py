"""Threads of ours: daemons of the system, to which no signals go."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

# Those of the thread that runs: an error of its own, or the time that it has used.
_OWN_SIGNALS: Final = {
    getattr(signal, name, None)
    for name in ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGPROF", "SIGSEGV", "SIGTRAP")
}

FREE: Final = "t" in getattr(sys, "abiflags", "")
"""Whether Python was built for threads that run at the same time, though it may have its lock all the same."""


class _BareThread:
    """As `threading.Thread`, of which gevent has made a greenlet here: that one would stop the thread it is in."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._runs = lock()

    def start(self) -> None:
        self._runs.acquire()
        try:
            _original("start_new_thread")(self._run, ())
        except BaseException:
            self._runs.release()
            raise

    def join(self, timeout: float | None = None) -> None:
        if self._runs.acquire(timeout=-1 if timeout is None else timeout):
            self._runs.release()

    def is_alive(self) -> bool:
        return self._runs.locked()

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._runs.release()


Thread: TypeAlias = threading.Thread | _BareThread

_forbidden: tuple[int, str] | None = None  # in which process, and why


def daemon(work: Callable[[], None], name: str) -> Thread:
    """A thread that is yet to be started, by `start`, and that no exit waits for.

    A signal that came to it would interrupt no wait of the main thread; and uWSGI ends the process in the very thread
    to which the signal has come.
    """

    def run() -> None:
        if hasattr(signal, "pthread_sigmask"):  # not on Windows
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _OWN_SIGNALS)
        work()

    if _patched():
        return _BareThread(run)
    return threading.Thread(target=run, name=name, daemon=True)


def start(thread: Thread) -> None:
    """Start a thread of ours.

    Raises:
        RuntimeError: that is impossible, as at the exit of the interpreter, or forbidden.
    """
    if _forbidden is not None and _forbidden[0] == os.getpid():
        raise RuntimeError(_forbidden[1])
    thread.start()


def forbid(why: str) -> None:
    """Start no more threads in this process, where one would hang."""
    global _forbidden  # noqa: PLW0603 - the state of a process is that of this module
    _forbidden = os.getpid(), why


def lock() -> _thread.LockType:
    """A lock with which threads of the system wait for each other, whatever gevent has made of locks."""
    made: _thread.LockType = _original("allocate_lock")()
    return made


def _patched() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _original(name: str) -> Any:
    """What `_thread` had under this name before gevent put its own there."""
    if _patched():
        return sys.modules["gevent.monkey"].get_original("_thread", name)
    return getattr(_thread, name)
