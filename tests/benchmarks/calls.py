"""A measured call of each kind, beside the same call with two clock reads and nothing else."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections import deque
from time import perf_counter as clock
from typing import TYPE_CHECKING, Any

from metrics_collector import measure, metrics_collector
from metrics_collector._recording import recorder
from tests.benchmarks import peers
from tests.benchmarks.harness import Line, Run, Target, interleaved, line, over

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

STRETCH = 2000  # calls between two drains: what 20,000 a second make of a tenth of a second
THREADS = 8
BARE, WRAPPER, OURS = "bare", "two clock reads", "metrics_collector"
FIRM, LOOSE, AMONG = Target("ratio", 1.4), Target("ratio", 1.6), Target("ratio", 1.35)


def lines(run: Run) -> Iterator[Line]:
    """All of them; times are those over the bare call."""
    rounds, stretches = run.pick(31, 3), run.pick(10, 1)
    for kind, subjects, target in _kinds():
        timed = {name: _timer(kind, subject, stretches) for name, subject in subjects.items()}
        samples = over(_measured(rounds, timed), BARE)
        for name, values in samples.items():
            if name != WRAPPER:
                aim = target if name == OURS else None
                yield line(f"{kind}: {name}", values, WRAPPER, samples[WRAPPER], target=aim)


def _measured(rounds: int, timed: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    with recorder.redirected(deque()):
        return interleaved(rounds, timed)


def _kinds() -> Iterator[tuple[str, dict[str, Any], Target | None]]:
    def beside(bare: Any, wrap: Callable[[Any], Any]) -> dict[str, Any]:
        return {BARE: bare, WRAPPER: wrap(bare), OURS: metrics_collector(bare)}

    others = {name: decorate(work_later) for name, decorate in peers.installed(awaits=True)}
    later = beside(work_later, timed_later) | others
    yield "coroutine function", later, FIRM
    others = {name: decorate(work) for name, decorate in peers.installed(awaits=False)}
    yield f"coroutine function, {THREADS} threads", later, AMONG
    plain = beside(work, timed) | others
    yield "function", plain, FIRM
    bare = Worker()
    yield "method", {BARE: bare.bare, WRAPPER: bare.timed, OURS: bare.measured}, LOOSE
    yield "generator", beside(steps, timed_steps), LOOSE
    yield "async generator", beside(steps_later, timed_steps_later), LOOSE
    block = measure("block")
    yield "with", {BARE: work, WRAPPER: within(Timed()), OURS: within(block)}, None
    later = {BARE: work_later, WRAPPER: within_later(Timed()), OURS: within_later(block)}
    yield "async with", later, None
    yield f"function, {THREADS} threads", plain, AMONG


def _timer(kind: str, subject: Any, stretches: int) -> Callable[[], float]:
    """What gives the seconds that one call takes."""
    if kind.startswith("coroutine function") or kind == "async with":
        stretch: Any = _awaited
    else:
        stretch = {"generator": _iterated, "async generator": _iterated_later}.get(kind, _called)
    if kind.endswith("threads"):
        return lambda: _in_threads(stretch, subject, stretches)

    def sample() -> float:
        seconds = 0.0
        for _ in range(stretches):
            got = stretch(subject, STRETCH)
            seconds += asyncio.run(got) if asyncio.iscoroutine(got) else got
            recorder.buffer.clear()
        return seconds / (stretches * STRETCH)

    return sample


def _called(subject: Callable[[int], object], calls: int) -> float:
    start = clock()
    for _ in range(calls):
        subject(1)
    return clock() - start


async def _awaited(subject: Any, calls: int) -> float:
    start = clock()
    for _ in range(calls):
        await subject(1)
    return clock() - start


def _iterated(subject: Any, calls: int) -> float:
    start = clock()
    for _ in range(calls):
        for _step in subject(1):
            pass
    return clock() - start


async def _iterated_later(subject: Any, calls: int) -> float:
    start = clock()
    for _ in range(calls):
        async for _step in subject(1):
            pass
    return clock() - start


def _in_threads(stretch: Any, subject: Any, stretches: int) -> float:
    """The seconds of CPU time that a call takes, without those in which the buffer was drained.

    One thread at a time has the interpreter, and what else runs on the machine would delay each hand-over.

    The buffer is drained when all threads together have made a stretch's calls, as above: nobody drains for the wrapper
    that only reads the clock, and to fill new memory all the time takes longer than the calls.
    """
    starts: list[float] = []
    ready = threading.Barrier(THREADS, lambda: starts.append(time.process_time()))
    calls, pieces = STRETCH // THREADS, stretches * THREADS
    draining: list[float] = []

    def drain() -> None:
        before = time.thread_time()  # as another thread may run meanwhile
        recorder.buffer.clear()
        draining.append(time.thread_time() - before)

    def work_on() -> None:
        ready.wait()
        for _ in range(pieces):
            stretch(subject, calls)
            drain()

    async def work_on_later() -> None:
        ready.wait()
        for _ in range(pieces):
            await stretch(subject, calls)
            drain()

    later = inspect.iscoroutinefunction(stretch)
    threads = [
        threading.Thread(target=asyncio.run, args=(work_on_later(),))
        if later
        else threading.Thread(target=work_on)
        for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.process_time() - starts[0] - sum(draining)
    return seconds / (THREADS * pieces * calls)


def work(number: int) -> int:
    return number


async def work_later(number: int) -> int:
    return number


def steps(number: int) -> Iterator[int]:
    yield number


async def steps_later(number: int) -> AsyncIterator[int]:
    yield number


def timed(function: Any) -> Any:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        clock()
        try:
            return function(*args, **kwargs)
        finally:
            clock()

    return wrapper


def timed_later(function: Any) -> Any:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        clock()
        try:
            return await function(*args, **kwargs)
        finally:
            clock()

    return wrapper


def timed_steps(function: Any) -> Any:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        clock()
        try:
            return (yield from function(*args, **kwargs))
        finally:
            clock()

    return wrapper


def timed_steps_later(function: Any) -> Any:
    """Hands on what is yielded, and nothing that is sent or thrown in: the least that such a wrapper may do."""

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        clock()
        try:
            async for step in function(*args, **kwargs):
                yield step
        finally:
            clock()

    return wrapper


class Worker:
    def bare(self, number: int) -> int:
        return number

    timed = timed(bare)
    measured = metrics_collector(bare)


class Timed:
    def __enter__(self) -> None:
        clock()

    def __exit__(self, *_: object) -> None:
        clock()

    async def __aenter__(self) -> None:
        clock()

    async def __aexit__(self, *_: object) -> None:
        clock()


def within(block: measure | Timed) -> Callable[[int], int]:
    def work_within(number: int) -> int:
        with block:
            return number

    return work_within


def within_later(block: measure | Timed) -> Any:
    async def work_within(number: int) -> int:
        async with block:
            return number

    return work_within
