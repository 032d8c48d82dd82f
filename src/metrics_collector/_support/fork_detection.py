"""Children that C code has forked without Python's hooks, as uWSGI does unless it is told otherwise.

Such a child is noticed by its process id, wherever entries are sent or counted; a call cannot afford to ask.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import os
import sys
import threading
import time
from typing import Any, Final

from metrics_collector._support import fork_hooks, uwsgi

# Process → who runs its hooks: the thread, and the very call. No lock, as nobody would release that of a child.
_claims: Final[dict[int, tuple[int, object]]] = {}


def notice() -> bool:
    """Run the hooks of a child, if this is one in which they have not run; whether it was."""
    pid = os.getpid()
    if pid == fork_hooks.pid:
        return False
    thread = threading.get_ident()
    claim = (thread, object())
    owner = _claims.setdefault(pid, claim)
    if owner is claim:
        own_since = uwsgi.own_since()
        with fork_hooks.child_that_began(_began() if own_since is None else own_since):
            if own_since is not None or not _repair():
                fork_hooks.in_child()
        return True
    if owner[0] != thread:  # else a hook has led here
        while pid != fork_hooks.pid:
            time.sleep(0.001)
    return False


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
    ctypes = sys.modules.get("ctypes")  # to import it might be what waits
    try:
        if ctypes is None or len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 - as above
            return False
    except OSError:
        return False
    loop = asyncio._get_running_loop()  # noqa: SLF001 - as below
    ctypes.pythonapi.PyOS_AfterFork_Child()  # which runs all hooks
    asyncio._set_running_loop(loop)  # noqa: SLF001 - from Python 3.12 on it is no longer known then, though it runs
    bootstrap: Any = importlib._bootstrap  # noqa: SLF001 - no public way
    for name, reference in tuple(bootstrap._module_locks.items()):  # noqa: SLF001 - as above
        lock = reference()
        if lock is not None and lock.owner not in {None, threading.get_ident()}:
            # Half imported; what needs it imports it anew.
            bootstrap._module_locks.pop(name, None)  # noqa: SLF001 - as above
            sys.modules.pop(name, None)
    return True
