"""The process's one buffer of records, and what becomes of the next one.

`record` is rebound, so that the hot path has no question to ask: while no sender runs it appends
and calls the starter (`start_on_next_record`), with a sender it is `buffer.append` itself
(`only_append`), and where nobody will ever send it does nothing (`discard`). Hence it is always
called as `recorder.record(...)`, never imported by name.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from metrics_collector._support import fork_hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Record = tuple[str, float, float, str | None]
"""One call: its function's name, start and end in `perf_counter()` seconds, and the mark.

The mark is `None` for ok, `CANCELLED`, or the name of the error's type.
"""

CANCELLED: Final = ""

buffer: deque[Record] = deque()
"""What no sender has taken yet: cleared or taken from the left, and replaced by `redirected` alone."""

_logger = logging.getLogger("metrics_collector")
# The type's real name: a metaclass may have put an attribute of its own over it.
_type_name: Callable[[type], str] = type.__dict__["__name__"].__get__
_nowhere: Final[deque[Record]] = deque(maxlen=0)
_starter: Callable[[], None] | None = None
# Holds one token while the starter is due. Whoever pops it calls the starter, and `pop` is atomic: a lock here
# could be taken a second time by the same thread, through a finaliser or a signal handler that
# calls a measured function.
_starter_due: Final[deque[None]] = deque((None,), maxlen=1)
_failure_logged = False


def mark_of(error: BaseException) -> str:
    """The mark of a call that raised this: `CANCELLED` if cancelled or closed, else the type name."""
    kind = type(error)
    if issubclass(kind, (CancelledError, GeneratorExit)):
        return CANCELLED
    return _type_name(kind) or "Exception"  # a type made by hand may have an empty name


def on_first_record(starter: Callable[[], None]) -> None:
    """Set what starts the sender.

    It is called by the first record after `start_on_next_record`, in the thread of the measured
    call, and calls `only_append` once a sender runs. What it raises is logged, once, and the
    records stay in the buffer until someone else takes them.
    """
    global _starter  # noqa: PLW0603 - the state of a process is that of this module
    _starter = starter


def start_on_next_record() -> None:
    """Have the next record call the starter: no sender runs."""
    global record  # noqa: PLW0603 - see above
    # In this order: a thread that sees the new `record` must find the token.
    _starter_due.append(None)
    record = _append_and_start


def only_append() -> None:
    """Have records appended, and no more: a sender runs."""
    global record  # noqa: PLW0603 - see above
    # In this order: a thread that is still in the old `record` must find no token.
    _starter_due.clear()
    record = buffer.append


def discard() -> None:
    """Have records forgotten: nobody will ever send them."""
    global record  # noqa: PLW0603 - see above
    _starter_due.clear()
    record = _nowhere.append


@contextmanager
def redirected(to: deque[Record]) -> Iterator[None]:
    """Have records go to another buffer, for tests; afterwards all is as it was.

    No record calls the starter, unless `start_on_next_record` is called within. A call that ends at either change may
    reach the buffer from before it.
    """
    global buffer, record  # noqa: PLW0603 - see above
    old_buffer, old_record, was_starter_due = buffer, record, bool(_starter_due)
    buffer = to
    only_append()
    try:
        yield
    finally:
        buffer = old_buffer
        if was_starter_due:
            _starter_due.append(None)
        else:
            _starter_due.clear()
        record = old_record


def _append_and_start(entry: Record) -> None:
    buffer.append(entry)
    if _starter is None:
        return
    try:
        _starter_due.pop()
    except IndexError:  # another call was first
        return
    try:
        _starter()
    except Exception as error:  # noqa: BLE001 - metrics must not break the measured code
        _log_failure(error)
    except BaseException:  # Ctrl-C meanwhile is for the program; the next record tries again
        _starter_due.append(None)
        raise


def _log_failure(error: Exception) -> None:
    global _failure_logged  # noqa: PLW0603 - see above
    if _failure_logged:
        return
    _failure_logged = True
    error.__suppress_context__ = True  # which may be an error of the measured function
    with suppress(Exception):  # a handler that raises must not break the call either
        _logger.error("cannot start a sender; records wait in this process", exc_info=error)


def _start_afresh_in_the_child() -> None:
    global _failure_logged  # noqa: PLW0603 - see above
    own = [entry for entry in buffer if entry[2] > fork_hooks.began]
    buffer.clear()  # the parent sends the others
    buffer.extend(own)
    _failure_logged = False
    start_on_next_record()


record: Callable[[Record], None] = _append_and_start

fork_hooks.register("recorder", in_child=_start_afresh_in_the_child)
