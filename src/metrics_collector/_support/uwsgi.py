"""uWSGI, if this is one of its processes: it forks without Python's hooks, and may run Python without threads."""

from __future__ import annotations

import math
import mmap
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._support import fork_hooks

if TYPE_CHECKING:
    from collections.abc import Callable

_uwsgi: Final[Any] = sys.modules.get("uwsgi")  # a module that only its processes have
_loader: Final = os.getpid()
# One byte that all its processes share: whether one of them sends what was recorded before the first fork.
_sent: Final = bytearray(1) if _uwsgi is None else mmap.mmap(-1, 1)

NO_THREADS: Final = (
    "uWSGI runs Python without threads: entries are sent while a request takes its time, or at the end; "
    "set enable-threads = true"
)


def about_to_fork() -> bool:
    """Whether this is the process in which uWSGI loads applications, and from which it forks its workers.

    What a thread would be doing there, such as an import, each of them would find half done.
    """
    return _uwsgi is not None and os.getpid() == _loader and not _uwsgi.worker_id()


def forked() -> bool:
    """Whether this is a child of that process, in which the hooks of a child have not run."""
    return _uwsgi is not None and fork_hooks.pid == _loader != os.getpid()


def _inherit() -> None:
    # The first worker sends what was recorded as applications were loaded; one that replaces it finds it sent.
    if forked() and _uwsgi.worker_id() == 1 and not _sent[0]:
        _sent[0] = 1
        fork_hooks.began = -math.inf


def after_fork(action: Callable[[], None]) -> None:
    """Have something done in each child that uWSGI forks."""
    if _uwsgi is None:
        return
    others: Callable[[], None] | None = getattr(_uwsgi, "post_fork_hook", None)

    def hook() -> None:
        action()
        if others is not None:
            others()

    _uwsgi.post_fork_hook = hook


def without_threads() -> bool:
    """Whether threads stand still except while a request takes its time."""
    if _uwsgi is None:
        return False
    return "enable-threads" not in _uwsgi.opt and int(_uwsgi.opt.get("threads", 1)) == 1


fork_hooks.register("modules", in_child=_inherit)  # the first step, before any hook looks
