"""What one measured call does, in counts instead of times: Python calls, and blocks of memory that stay.

The numbers are small and fixed, so whoever adds a call, or an object a record, to the hot path changes them here.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector import measure, metrics_collector
from metrics_collector._recording import recorder
from metrics_collector._support import threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import FrameType

CALLS = 1000
KEPT = 3  # a record: the tuple, and two floats


def work() -> None: ...


async def work_later() -> None: ...


def steps() -> Iterator[int]:
    yield 1


async def steps_later() -> AsyncIterator[int]:
    yield 1


class Holder:
    def work(self) -> None: ...

    measured = metrics_collector(work)


def run(coroutine: Any) -> None:
    """Drive a coroutine that waits for nothing, without a loop's own calls."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits for something")


async def exhausted(generator: Any) -> None:
    async for _ in generator:
        pass


async def in_block(block: measure) -> None:
    async with block:
        pass


def in_no_block() -> None:
    work()


def in_plain_block(block: measure) -> None:
    with block:
        pass


FUNCTION = metrics_collector(work)
COROUTINE = metrics_collector(work_later)
GENERATOR = metrics_collector(steps)
ASYNC_GENERATOR = metrics_collector(steps_later)
BLOCK = measure("block")
HOLDER = Holder()


@pytest.fixture(autouse=True)
def nothing_of_others() -> Iterator[None]:
    """No garbage of other tests is collected meanwhile, and no loop of theirs looks on."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    sys.set_asyncgen_hooks(*hooks)


# On a free-threaded build, blocks ask for thread and task.
APART = (6, 9) if threads.FREE else (0, 0)

# What is measured, what is not, and by how many calls they differ: of Python functions, and of C functions.
USES: dict[str, tuple[Callable[[], object], Callable[[], object], int, int]] = {
    "function": (FUNCTION, work, 1, 3),
    "method": (HOLDER.measured, HOLDER.work, 1, 3),
    "coroutine": (lambda: run(COROUTINE()), lambda: run(work_later()), 1, 3),
    "generator": (lambda: list(GENERATOR()), lambda: list(steps()), 2, 3),
    "async generator": (
        lambda: run(exhausted(ASYNC_GENERATOR())),
        lambda: run(exhausted(steps_later())),
        3,
        5,
    ),
    "with": (lambda: in_plain_block(BLOCK), in_no_block, 2 + APART[0], 3 + APART[1]),
    "async with": (
        lambda: run(in_block(BLOCK)),
        lambda: run(work_later()),
        4 + APART[0],
        3 + APART[1],
    ),
}


@pytest.mark.parametrize(
    ("measured", "bare", "python_calls", "c_calls"), USES.values(), ids=USES.keys()
)
def test_a_measured_call_makes_so_many_calls_more(
    measured: Callable[[], object], bare: Callable[[], object], python_calls: int, c_calls: int
) -> None:
    with recorder.redirected(deque()):
        measured()  # what is only done once is done
        ours, theirs = counted(measured), counted(bare)

    assert (ours[0] - theirs[0], ours[1] - theirs[1]) == (python_calls, c_calls)


@pytest.mark.parametrize("measured", [use[0] for use in USES.values()], ids=USES.keys())
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

    assert counted(with_one_more) == (counted(work)[0] + 1, counted(work)[1] + 1)


def counted(action: Callable[[], object]) -> tuple[int, int]:
    """How many Python functions are entered, or entered again, and how many C functions are called."""
    python = c = 0

    def profile(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal python, c
        python += event == "call"
        c += event == "c_call"

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(before)
    return python, c - 1  # without that of `sys.setprofile`
