"""Threads of tests, and the lack of them."""

from __future__ import annotations

import errno
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest


@contextmanager
def working(*works: Callable[[], object]) -> Iterator[None]:
    """Have each done in a thread of its own meanwhile, and wait for all of them."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


def at_once(*works: Callable[[], object]) -> None:
    """Do each in a thread of its own."""
    with working(*works):
        pass


def allow_no_more(patch: pytest.MonkeyPatch) -> list[None]:
    """Let no thread be started, as at the exit of the interpreter, or where a process has its fill: the tries."""
    tries: list[None] = []

    def start(_: threading.Thread) -> None:
        tries.append(None)
        raise RuntimeError("can't start new thread")

    patch.setattr(threading.Thread, "start", start)
    return tries


def allow_no_loops(patch: pytest.MonkeyPatch) -> list[None]:
    """Let no socket be made, of which an event loop needs two: where no descriptor is left: the tries."""
    tries: list[None] = []

    def socketpair() -> None:
        tries.append(None)
        raise OSError(errno.EMFILE, "Too many open files")

    patch.setattr(socket, "socketpair", socketpair)
    return tries
