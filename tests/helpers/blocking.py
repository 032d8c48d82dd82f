"""Finds calls of the package that block an event loop, whatever becomes of the error they raise."""

from __future__ import annotations

import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import blockbuster.blockbuster
import pytest

import metrics_collector

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where the loop may wait for a small file: (file, functions), and all that these call.
ALLOWED = [
    # A module is read once in a process, by the thread that first needs it; the others wait for that.
    ("<frozen importlib._bootstrap>", {"_find_and_load", "_lock_unlock_module"}),
    # The settings: at decoration, which rarely happens in a loop, and as a run begins.
    ("metrics_collector/_support/environment.py", {"_dotenv_text"}),
    # The scripts come with the package, and are read as a connection is set up.
    ("metrics_collector/_redis/connection.py", {"__init__", "<dictcomp>"}),
    # Where the process is, which no disk is asked for.
    ("metrics_collector/_support/settings.py", {"_absolute"}),
    ("metrics_collector/_storage/sqlite/store.py", {"label"}),
    # The exit needs sessions without a thread, and so does a loop whose thread forks all the time.
    ("metrics_collector/_storage/sqlite/session.py", {"_plain", "execute"}),
    # A fork blocks whatever forks, and has to come after the database is closed.
    ("metrics_collector/_storage/sqlite/fork_safe_connection.py", {"_before_fork"}),
    # The loop of our own thread rests between two pieces of work, for the application's loop.
    ("metrics_collector/_runtime/sender_thread.py", {"select"}),
    # Who starts a thread waits until it has begun, here as in `threading`; once in a process.
    ("metrics_collector/_runtime/sender_thread.py", {"start"}),
    # Tests that begin anew have the thread of before stopped.
    ("metrics_collector/_runtime/collector.py", {"_stop_thread"}),
    # Where log lines go is the application's choice.
    ("logging/__init__.py", {"handle"}),
    # redis-py looks up its own version whenever it connects.
    ("redis/utils.py", {"get_lib_version"}),
    # Where coverage is measured, it looks at a file the first time that one of its functions runs.
    ("coverage/control.py", {"_should_trace"}),
    # fakeredis reads its table of commands at its first use.
    ("fakeredis/model/_command_info.py", {"_load_command_info"}),
]
PACKAGE = str(Path(metrics_collector.__file__).parent)


@contextmanager
def watch() -> Iterator[list[str]]:
    """Let each blocking call of the package in a running loop raise, and list all there were.

    The list is what counts: much of the package survives any error, so this one may be swallowed.
    """
    calls: list[str] = []

    class NotedBlockingError(blockbuster.BlockingError):
        def __init__(self, function: str) -> None:
            super().__init__(function)
            calls.append(f"{function} called in {_caller()}")

    watched = blockbuster.BlockBuster(metrics_collector)
    for function in watched.functions.values():
        function.can_block_functions.extend(ALLOWED)
    acquire = watched.functions["threading.Lock.acquire"]
    ends_at_once = acquire.can_block_predicate
    tracers = _lock_of_the_tracer()
    acquire.can_block_predicate = lambda lock, *args, **kwargs: (
        lock is tracers or ends_at_once(lock, *args, **kwargs)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blockbuster.blockbuster, "BlockingError", NotedBlockingError)
        watched.activate()
        try:
            yield calls
        finally:
            watched.deactivate()


def _lock_of_the_tracer() -> object:
    """Where coverage is measured, its tracer takes a lock in whatever function runs; it has no frame to be known by."""
    running = sys.modules["coverage"].Coverage.current() if "coverage" in sys.modules else None
    return running and running._collector.data_lock


def _caller() -> str:
    # Without the frames of this function, its caller and blockbuster's wrapper.
    stack = traceback.extract_stack()[:-3]
    ours = [frame for frame in stack if frame.filename.startswith(PACKAGE)][-1]
    place = f"{ours.name} ({ours.filename}:{ours.lineno})"
    last = stack[-1]
    return place if last is ours else f"{place}, by way of {last.filename}:{last.lineno}"
