"""How a measured call ends, and what else it does not do."""

from __future__ import annotations

import asyncio
import gc
import traceback
import types
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector import metrics_collector
from metrics_collector._recording.recorder import CANCELLED, Record
from tests.helpers.measured import HERE as THERE
from tests.helpers.measured import OwnError, add, add_later, said, settle

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator


def function(error: BaseException) -> None:
    @metrics_collector(name="f")
    def f() -> None:
        raise error

    f()


def coroutine(error: BaseException) -> None:
    @metrics_collector(name="f")
    async def f() -> None:
        raise error

    f().send(None)


def generator(error: BaseException) -> None:
    @metrics_collector(name="f")
    def f() -> Iterator[int]:
        yield 1
        raise error

    assert list(f()) == []


def async_generator(error: BaseException) -> None:
    @metrics_collector(name="f")
    async def f() -> AsyncGenerator[int]:
        yield 1
        raise error

    running = f()
    with pytest.raises(StopIteration):
        running.asend(None).send(None)
    running.asend(None).send(None)


KINDS = [function, coroutine, generator, async_generator]
ERRORS = [
    (ValueError("no"), "ValueError"),
    (OwnError(), "OwnError"),
    (ExceptionGroup("both", [ValueError(), OwnError()]), "ExceptionGroup"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
    (SystemExit(2), "SystemExit"),
    (asyncio.CancelledError("by hand"), CANCELLED),
]


@pytest.mark.parametrize(
    ("run", "error", "mark"),
    [
        *((run, *ending) for run in KINDS for ending in ERRORS),
        *((run, StopAsyncIteration(), "StopAsyncIteration") for run in KINDS[:-1]),
        (function, StopIteration(1), "StopIteration"),
    ],
)
def test_what_is_raised_passes_unchanged(
    entries: list[Record], run: Callable[[BaseException], None], error: BaseException, mark: str
) -> None:
    with pytest.raises(type(error)) as caught:
        run(error)

    assert caught.value is error
    assert said(entries) == [("f", mark)]


def test_a_coroutine_that_raises_stop_iteration(entries: list[Record]) -> None:
    with pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
        coroutine(StopIteration(1))

    assert said(entries) == [("f", "RuntimeError")]


def test_wrong_arguments_are_an_error_of_the_call(entries: list[Record]) -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        add()  # type: ignore[call-arg]  # the mistake

    assert said(entries) == [(f"{THERE}.add", "TypeError")]


async def test_what_was_raised_is_unchanged(entries: list[Record]) -> None:
    context = KeyError("being handled")
    cause = OwnError("the cause")

    def raiser() -> None:
        raise ValueError("no") from cause

    async def raiser_later() -> None:
        raiser()

    async def seen(function: Callable[[], Any]) -> tuple[Any, ...]:
        try:
            raise context
        except KeyError:
            try:
                await settle(function())
            except ValueError as error:
                frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
                return error.__context__, error.__cause__, error.__suppress_context__, frames
        raise AssertionError

    for bare in (raiser, raiser_later):
        *facts, frames = await seen(bare)
        *same, longer = await seen(metrics_collector(bare))
        assert facts[:2] == [context, cause]
        assert same == facts
        longer.remove("wrapper")
        assert longer == frames


async def test_no_error_is_kept_alive_by_its_traceback() -> None:
    @metrics_collector
    def f() -> None:
        raise OwnError

    @metrics_collector
    async def g() -> None:
        raise OwnError

    @metrics_collector
    async def steps() -> AsyncGenerator[int]:
        yield 1
        yield 2

    async def thrown() -> None:
        running = steps()
        await anext(running)
        await running.athrow(OwnError())

    alive: list[weakref.ref[OwnError]] = []
    gc.disable()
    try:
        for one in (f, g, thrown):
            try:
                await settle(one())
            except OwnError as error:
                alive.append(weakref.ref(error))
        assert [error() for error in alive] == [None] * 3
    finally:
        gc.enable()


async def test_cancelled_from_outside(entries: list[Record]) -> None:
    cleaned = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    @metrics_collector(name="steps")
    async def steps() -> AsyncGenerator[int]:
        yield 1
        await wait()

    async def consume() -> None:
        async for _ in steps():
            pass

    for work in (metrics_collector(name="f")(wait), consume):
        running = asyncio.create_task(work())
        for _ in range(3):
            await asyncio.sleep(0)
        running.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await running

    assert cleaned == ["up"] * 2
    assert said(entries) == [("f", CANCELLED), ("steps", CANCELLED)]


async def test_cancellation_that_is_survived_is_ok(entries: list[Record]) -> None:
    @metrics_collector(name="f")
    async def f() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "survived"
        return ""

    running = asyncio.create_task(f())
    await asyncio.sleep(0)
    running.cancel()

    assert await running == "survived"
    assert said(entries) == [("f", None)]


async def test_timeouts(entries: list[Record]) -> None:
    @metrics_collector(name="inner")
    async def inner() -> None:
        await asyncio.Event().wait()

    @metrics_collector(name="outer")
    async def outer() -> None:
        async with asyncio.timeout(0):
            await inner()

    with pytest.raises(TimeoutError):
        await outer()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(inner(), 0.001)

    assert said(entries) == [("inner", CANCELLED), ("outer", "TimeoutError"), ("inner", CANCELLED)]


async def suspended() -> None:
    await asyncio.sleep(0)


@types.coroutine
def suspended_generator() -> Generator[None, None, None]:
    yield


@pytest.mark.parametrize("bare", [suspended, suspended_generator])
def test_a_closed_coroutine_is_cancelled(
    entries: list[Record], bare: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    running = metrics_collector(name="f")(bare)()
    running.send(None)
    running.close()

    assert said(entries) == [("f", CANCELLED)]


async def test_what_never_started_makes_no_entry(entries: list[Record]) -> None:
    cancelled = asyncio.create_task(add_later(1))
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    add_later(1).close()

    assert entries == []


def test_python_itself_tells_of_a_forgotten_await(entries: list[Record]) -> None:
    forgotten: list[object] = [add_later(1)]
    with pytest.warns(RuntimeWarning, match=r"coroutine 'add_later' was never awaited"):
        forgotten.clear()

    assert entries == []


async def test_many_at_once_do_not_mix(entries: list[Record]) -> None:
    @metrics_collector(name="f")
    async def f(n: int) -> int:
        for _ in range(n):
            await asyncio.sleep(0)
        if n % 2:
            raise OwnError
        return n

    results = await asyncio.gather(*(f(n) for n in range(20)), return_exceptions=True)

    assert [r for r in results if isinstance(r, int)] == list(range(0, 20, 2))
    assert said(entries) == [("f", "OwnError" if n % 2 else None) for n in range(20)]


def test_several_loops_in_one_process(entries: list[Record]) -> None:
    for _ in range(3):
        assert asyncio.run(add_later(1)) == 6

    assert len(entries) == 3
