"""Children that C code has forked without Python's hooks, as uWSGI does unless its options say otherwise.

Such a child is noticed by its process id, wherever entries are sent or counted; a call cannot afford to ask.
"""

from __future__ import annotations

import _imp
import asyncio
import importlib
import math
import os
import signal
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any, Final

from metrics_collector._support import fork_hooks, threads, uwsgi

# Process → who runs its hooks: the thread, and the very call. No lock, as nobody would release that of a child.
_claims: Final[dict[int, tuple[int, object]]] = {}

_UNSAFE: Final = (
    "C code has forked this process without Python's hooks, and a thread may hang here: entries are sent at the end; "
    "have it fork by os.fork() or call PyOS_AfterFork_Child()"
)


def notice() -> bool:
    """Run the hooks of a child, if this is one in which they have not run; whether it was."""
    pid = os.getpid()
    if pid == fork_hooks.pid:
        return False
    thread = threading.get_ident()
    claim = (thread, object())
    owner = _claims.setdefault(pid, claim)
    if owner is claim:
        try:
            _run_hooks()
        finally:
            del _claims[pid]
        return True
    if owner[0] != thread:  # else a hook has led here
        while pid != fork_hooks.pid:
            time.sleep(0.001)
    return False


def _run_hooks() -> None:
    if not uwsgi.forked():  # from a process in which none of our threads runs
        fork_hooks.began = _began()
        if _repair():
            return
        threads.forbid(_UNSAFE)
    fork_hooks.in_child()


def _began() -> float:
    """When this process began, in seconds of `perf_counter()`, or up to a clock tick (10 ms) earlier.

    Linux says no more, and other systems nothing: better the parent's last records twice than those of the child never.
    """
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as stat:  # noqa: PTH123 - pathlib loads slowly
            ticks = int(stat.read().rpartition(")")[2].split()[19])
    except (OSError, ValueError):
        return -math.inf
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.perf_counter() - age


def _repair() -> bool:
    """Do what C code has to do after a fork, so that this process can have threads and import modules; whether it was.

    The parent may have forked while the sender's thread, which this process lacks, waited for the interpreter or
    imported a module: a second thread here, or the same import, would wait for ever. What is to be done ends all other
    threads, and all other interpreters.
    """
    try:
        if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 - as above
            return False
    except OSError:
        return False
    _forget_half_imported()
    bootstrap: Any = importlib._bootstrap  # noqa: SLF001 - no public way
    lost = _import_lock_is_lost()
    if lost:
        free = {"acquire_lock": _nothing, "release_lock": _nothing}
        bootstrap._imp = SimpleNamespace(**vars(_imp) | free)  # noqa: SLF001 - as above
    if threads.FREE or (lost and sys.version_info[:3] == (3, 13, 0)):
        return False  # what follows would abort; imports go on without the lock
    import ctypes

    loop = asyncio._get_running_loop()  # noqa: SLF001 - as below
    task = None if loop is None else asyncio.current_task(loop)
    wakeup = (
        signal.set_wakeup_fd(-1) if threading.current_thread() is threading.main_thread() else -1
    )
    if not lost:
        _imp.acquire_lock()  # as Python does before a fork; it is released after it
    ctypes.pythonapi.PyOS_AfterFork_Child()  # which runs all hooks
    if lost:
        while _imp.lock_held():  # by this thread now, as often as it was held
            _imp.release_lock()
        bootstrap._imp = _imp  # noqa: SLF001 - as above
    # From Python 3.12 on asyncio forgets loop and signals then, though the loop runs, and from 3.14 on the task.
    asyncio._set_running_loop(loop)  # noqa: SLF001 - no public way
    signal.set_wakeup_fd(wakeup)
    if loop is not None and task is not None and asyncio.current_task(loop) is None:
        asyncio._enter_task(loop, task)  # noqa: SLF001 - as above
    return True


def _nothing() -> None: ...


def _forget_half_imported() -> None:
    """What another thread was importing, which this process lacks, is imported anew by whatever needs it."""
    bootstrap: Any = importlib._bootstrap  # noqa: SLF001 - no public way
    for name, reference in tuple(bootstrap._module_locks.items()):  # noqa: SLF001 - as above
        lock = reference()
        if lock is not None and lock.owner not in {None, threading.get_ident()}:
            bootstrap._module_locks.pop(name, None)  # noqa: SLF001 - as above
            sys.modules.pop(name, None)


def _import_lock_is_lost() -> bool:
    """Whether the lock of all imports is that of a thread which this process lacks."""
    if not _imp.lock_held():
        return False
    try:
        _imp.release_lock()
    except RuntimeError:
        return True
    _imp.acquire_lock()  # this thread's, which is within an import
    return False
