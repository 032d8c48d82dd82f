"""`measure`: a block of code, measured like a function."""

from __future__ import annotations

import asyncio
import threading
from time import perf_counter as clock
from typing import TYPE_CHECKING

from metrics_collector._errors import ConfigurationError
from metrics_collector._recording import recorder
from metrics_collector._recording.recorder import mark_of
from metrics_collector._recording.registry import checked_name
from metrics_collector._support import threads
from metrics_collector._support.environment import metrics_enabled

if TYPE_CHECKING:
    from types import TracebackType

_DECORATE = 'is for a block: `with measure("...")`; to measure a function, use @metrics_collector'

# Asked at the first use and not at import, like the decorator, but only once: it may read a file.
_enabled: bool | None = None


class _Apart(dict[tuple[int, int], list[float]]):
    """The starts of all threads; true though it is empty, so that none is kept in `_start`.

    Two threads that run at the same time would both find that free.
    """

    def __bool__(self) -> bool:
        return True


class measure:  # noqa: N801 - it is used like a function
    """Measure a block: `with measure("parse"):`, or `async with`.

    The outcome is that of a call: an exception makes it an error, asyncio's CancelledError makes it
    cancelled; so does the closing of a coroutine or generator that is suspended within the block.
    Exceptions pass unchanged.

    An object may be entered again, also while it is entered: recursively, by several tasks, by
    several threads. With METRICS_ENABLED=false it does nothing.

    Args:
        name: the whole name to record under, a str of at most 1,000 characters.

    Raises:
        ConfigurationError: the name is wrong.
    """

    # `_start` is when it was entered; `_others` has the starts of those who entered meanwhile:
    # (thread, task) → starts, innermost last.
    __slots__ = ("_name", "_others", "_start")

    def __init__(self, name: str, /) -> None:
        try:
            self._name = checked_name(name)
        except ConfigurationError:
            if callable(name):
                raise ConfigurationError(f"measure {_DECORATE}") from None
            raise
        self._start: float | None = None
        self._others: dict[tuple[int, int], list[float]] | None = _Apart() if threads.FREE else None
        if _enabled is None:
            _decide()

    def __enter__(self) -> None:
        if not _enabled:
            return
        start = clock()
        if self._start is None and not self._others:
            self._start = start
        else:
            self._enter_again(start)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not _enabled:
            return
        end = clock()
        if self._others:
            start = self._leave(self._others)
        else:
            start, self._start = self._start, None
        if start is not None:
            mark = None if error is None else mark_of(error)
            recorder.record((self._name, start, end, mark))

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    if not TYPE_CHECKING:  # a checker is to find the mistake itself

        def __call__(self, *_: object, **__: object) -> None:
            raise ConfigurationError(f'measure("{self._name}") {_DECORATE}(name="{self._name}")')

    def _enter_again(self, start: float) -> None:
        if self._others is None:
            self._others = {}
        self._others.setdefault(_current_task(), []).append(start)

    def _leave(self, others: dict[tuple[int, int], list[float]]) -> float | None:
        key = _current_task()
        if key not in others:
            start, self._start = self._start, None
            if start is not None:
                return start
            # Left by another task than has entered: better the time of another one than no entry.
            key = next(iter(others.copy()), key)
        try:
            starts = others[key]
            start = starts.pop()
            if not starts:
                del others[key]
        except (IndexError, KeyError):  # the other one was left at the same moment
            return None
        return start


def _current_task() -> tuple[int, int]:
    loop = asyncio._get_running_loop()  # noqa: SLF001 - the public way raises where none runs, which takes longer
    task = None if loop is None else asyncio.current_task(loop)
    return threading.get_ident(), id(task)


def _decide() -> None:
    global _enabled  # noqa: PLW0603 - one decision a process
    _enabled = metrics_enabled()
