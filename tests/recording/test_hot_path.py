"""What one measured call does, in counts instead of times: calls, instructions, and blocks of memory that stay.

The numbers are small and fixed, so whoever adds a call, a question, or an object a record, to the hot path changes them
here.
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import suppress
from time import perf_counter as clock
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from metrics_collector import measure, metrics_collector
from metrics_collector._recording import recorder
from metrics_collector._support import threads
from tests.helpers.work import run, undisturbed, work_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

CALLS = 1000
KEPT = 3  # a record: the tuple, and two floats


def work() -> None: ...


async def work_later() -> None: ...


class FailedError(Exception):
    """Not one of Python's own, whose name is a new text each time."""


def failing() -> None:
    raise FailedError


def steps() -> Iterator[int]:
    yield 1


async def steps_later() -> AsyncIterator[int]:
    yield 1


# The least that records a call: two clock reads, a tuple, and what `recorder` has for the next record.


def least(function: Callable[[], object], name: str = "f") -> Callable[[], object]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = clock()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            recorder.record((name, start, clock(), type(error).__name__))
            raise
        recorder.record((name, start, clock(), None))
        return result

    return wrapper


def least_later(function: Callable[[], Any], name: str = "f") -> Callable[[], Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = clock()
        try:
            result = await function(*args, **kwargs)
        except BaseException:  # noqa: TRY203 - as it stands in the wrapper
            raise
        recorder.record((name, start, clock(), None))
        return result

    return wrapper


def least_steps(function: Callable[[], Any], name: str = "f") -> Callable[[], Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = clock()
        try:
            result = yield from function(*args, **kwargs)
        except BaseException:  # noqa: TRY203 - as it stands in the wrapper
            raise
        recorder.record((name, start, clock(), None))
        return result

    return wrapper


def least_steps_later(
    function: Callable[[], AsyncIterator[int]], name: str = "f"
) -> Callable[[], AsyncIterator[int]]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncIterator[int]:
        start = clock()
        try:
            async for step in function(*args, **kwargs):
                yield step
        except BaseException:  # noqa: TRY203 - as it stands in the wrapper
            raise
        recorder.record((name, start, clock(), None))

    return wrapper


class Least:
    __slots__ = ("_name", "_start")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._start = clock()

    def __exit__(self, *_: object) -> None:
        recorder.record((self._name, self._start, clock(), None))

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *error: object) -> None:
        self.__exit__(*error)


def caught(function: Callable[[], object]) -> None:
    with suppress(FailedError):
        function()


def listed(generator: Callable[[], Any]) -> None:
    for _ in generator():
        pass


async def exhausted(generator: Callable[[], Any]) -> None:
    async for _ in generator():
        pass


def in_no_block(_: object) -> None: ...


def in_block(block: measure | Least) -> None:
    with block:
        pass


async def in_block_later(block: measure | Least) -> None:
    async with block:
        pass


class Holder:
    def work(self) -> None: ...

    measured = metrics_collector(work)


HOLDER = Holder()
FUNCTION = metrics_collector(work)
COROUTINE = metrics_collector(work_later)
FAILING = metrics_collector(failing)
GENERATOR = metrics_collector(steps)
ASYNC_GENERATOR = metrics_collector(steps_later)
BLOCK = measure("block")
LEAST = least(work)
LEAST_METHOD = least(HOLDER.work)
LEAST_LATER = least_later(work_later)
LEAST_FAILING = least(failing)
LEAST_STEPS = least_steps(steps)
LEAST_STEPS_LATER = least_steps_later(steps_later)
LEAST_BLOCK = Least("block")


class Use(NamedTuple):
    """A measured call, beside the same with the least that records it, and beside the same that is not measured.

    Attributes:
        python: by how many Python functions it enters more than what is not measured.
        c: by how many C functions it calls more than that.
        factor: how many times the least instructions it may have.
    """

    measured: Callable[[], object]
    least: Callable[[], object]
    bare: Callable[[], object]
    python: int
    c: int
    factor: float


# On a free-threaded build, blocks ask for thread and task.
PYTHON_APART, C_APART, APART = (6, 9, 4.0) if threads.FREE else (0, 0, 1.0)
USES = {
    # The wrapper; two clock reads and an append.
    "function": Use(FUNCTION, LEAST, work, 1, 3, 1.0),
    "method": Use(HOLDER.measured, LEAST_METHOD, HOLDER.work, 1, 3, 1.0),
    "coroutine": Use(
        lambda: run(COROUTINE()),
        lambda: run(LEAST_LATER()),
        lambda: run(work_later()),
        *(1, 3, 1.0),
    ),
    # A generator is entered twice.
    "generator": Use(
        lambda: listed(GENERATOR),
        lambda: listed(LEAST_STEPS),
        lambda: listed(steps),
        *(2, 3, 1.0),
    ),
    # `mark_of`, which asks by `issubclass`.
    "function that raises": Use(
        lambda: caught(FAILING),
        lambda: caught(LEAST_FAILING),
        lambda: caught(failing),
        *(2, 4, 1.5),
    ),
    # What is sent and thrown in is passed on, and no event loop is to see the inner generator.
    "async generator": Use(
        lambda: run(exhausted(ASYNC_GENERATOR)),
        lambda: run(exhausted(LEAST_STEPS_LATER)),
        lambda: run(exhausted(steps_later)),
        *(3, 5, 2.0),
    ),
    # `__enter__` and `__exit__`, which ask whether metrics are on, and whether somebody else is in the block.
    "with": Use(
        lambda: in_block(BLOCK),
        lambda: in_block(LEAST_BLOCK),
        lambda: in_no_block(BLOCK),
        *(2 + PYTHON_APART, 3 + C_APART, 2.2 * APART),
    ),
    "async with": Use(
        lambda: run(in_block_later(BLOCK)),
        lambda: run(in_block_later(LEAST_BLOCK)),
        lambda: run(work_later()),
        *(4 + PYTHON_APART, 3 + C_APART, 2.2 * APART),
    ),
}


@pytest.fixture(autouse=True)
def nothing_of_others() -> Iterator[None]:
    """Count only what the test does."""
    with undisturbed():
        yield


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_a_measured_call_does_no_more_than_the_least_that_records_it(use: Use) -> None:
    with recorder.redirected(deque()):
        for action in (use.measured, use.least, use.bare):
            action()  # what is only done once is done
        ours, theirs, bare = work_of(use.measured), work_of(use.least), work_of(use.bare)

    more = ours - bare
    assert (more.python, more.c) == (use.python, use.c), more.table()
    assert more.instructions <= (theirs - bare).instructions * use.factor, more.table()


@pytest.mark.parametrize("measured", [use.measured for use in USES.values()], ids=USES.keys())
def test_a_record_keeps_three_blocks_of_memory(measured: Callable[[], object]) -> None:
    with recorder.redirected(deque()):
        for _ in range(5 * CALLS):
            measured()  # uses up the interpreter's free lists
        before = sys.getallocatedblocks()
        for _ in range(CALLS):
            measured()
        after = sys.getallocatedblocks()

    # Beside these, the deque has a block for each 64 of its elements.
    blocks = KEPT * CALLS + CALLS // 64
    assert blocks - 50 <= after - before <= blocks + 50


def test_the_count_is_not_blind() -> None:
    def with_one_more() -> None:
        work()
        len("")

    more = work_of(with_one_more) - work_of(work)
    assert (more.python, more.c) == (1, 1)
    assert more.instructions > 0
