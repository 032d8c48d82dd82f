"""What is done before and after the process forks: all of it in one list and one order.

A child has its parent's memory, but of its threads only the one that forked. So locks may be held by threads that the
child does not have, and sockets and files are the parent's, too. Modules register what their own state needs; one that
is not imported has no state.
"""

from __future__ import annotations

import math
import os
import threading
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ForkStep: TypeAlias = Literal["modules", "database", "spool", "collector", "recorder"]

# In the child:
# - modules: a new lock, as whatever follows may take it;
# - database: new locks, before anything can open one;
# - spool: closes the parent's files, whose locks last as long as any copy of them is open;
# - collector: begins anew, without the parent's thread;
# - recorder: last, since from then on a record (of a signal handler, too) may start a sender: it has to find the new
#   collector.
# In the parent the same order, as far as there is anything to do. Before the fork the reverse order: it waits until all
# uses of the database have ended, for which they may have to load a module; so modules are held back last.
ORDER: Final[tuple[ForkStep, ...]] = get_args(ForkStep)

# Seconds that a fork waits for modules to load. A second or two is what they take, but beside a dozen busy processes it
# may be ten, and a child with half a module is of no use.
_LOAD_TIMEOUT: Final = 30.0


class _Hooks(NamedTuple):
    before: Callable[[], None] | None = None
    in_parent: Callable[[], None] | None = None
    in_child: Callable[[], None] | None = None


_hooks: Final[dict[ForkStep, list[_Hooks]]] = {step: [] for step in ORDER}
_no_fork = threading.RLock()

pid = os.getpid()
"""The process in which this module was imported, or else the hooks of a child have run."""
began = math.inf
"""For the hooks of a child: when it began, in seconds of `perf_counter()`; older records are its parent's.

Not now, if it is noticed later (`fork_detection`) or inherits what was recorded (`uwsgi`): these set it first.
"""


def register(
    step: ForkStep,
    *,
    before: Callable[[], None] | None = None,
    in_parent: Callable[[], None] | None = None,
    in_child: Callable[[], None] | None = None,
) -> None:
    """Add hooks to a step, in whose place in the order they are called; `in_parent` and `in_child` after the fork."""
    _hooks[step].append(_Hooks(before, in_parent, in_child))


@contextmanager
def no_fork() -> Iterator[None]:
    """Keep the process from forking within this block, whose work a child must not find half done.

    For instance a module that a thread of ours imports: it would stay half imported in the child, and each import of it
    there, also by the user's code, would wait for ever.
    """
    with _no_fork:
        yield


def wait_for_modules() -> None:
    """Wait until no thread of ours imports a module, for some seconds at most.

    For the end of the interpreter, which ends threads wherever they are: within pydantic-core that aborts the process.
    """
    if _no_fork.acquire(timeout=_LOAD_TIMEOUT):
        _no_fork.release()


def _run(moment: Literal["before", "in_parent", "in_child"]) -> None:
    hooks = [getattr(hooks, moment) for step in ORDER for hooks in _hooks[step]]
    with ExitStack() as last_first:  # which calls each of them, whatever the others raise
        for hook in hooks if moment == "before" else reversed(hooks):
            if hook is not None:
                last_first.callback(hook)


def in_child() -> None:
    """Run the hooks of a child."""
    global began, pid
    try:
        _run("in_child")
    finally:
        began, pid = math.inf, os.getpid()


def _hold_modules_back() -> None:
    _no_fork.acquire(timeout=_LOAD_TIMEOUT)


def _let_modules_load() -> None:
    with suppress(RuntimeError):  # another thread still has it: the wait timed out
        _no_fork.release()


def _renew_lock() -> None:
    global _no_fork  # noqa: PLW0603 - its owner may be a thread that the child does not have
    _no_fork = threading.RLock()


register("modules", before=_hold_modules_back, in_parent=_let_modules_load, in_child=_renew_lock)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(
        before=partial(_run, "before"),
        after_in_parent=partial(_run, "in_parent"),
        after_in_child=in_child,
    )
