"""How a measured call ends, and what else it does not do."""

from __future__ import annotations

import asyncio
import gc
import sys
import traceback
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector import metrics_collector
from metrics_collector._recording.recorder import CANCELLED, Record
from tests.helpers.measured import HERE as THERE
from tests.helpers.measured import OwnError, add, add_later, said, settle

if TYPE_CHECKING:
    import types
    from collections.abc import Callable


ENDINGS = [
    (ValueError("no"), "ValueError"),
    (OwnError(), "OwnError"),
    (ExceptionGroup("both", [ValueError(), OwnError()]), "ExceptionGroup"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
    (SystemExit(2), "SystemExit"),
    (asyncio.CancelledError("by hand"), CANCELLED),
    (StopAsyncIteration(), "StopAsyncIteration"),
]


@pytest.mark.parametrize(("error", "mark"), [*ENDINGS, (StopIteration(1), "StopIteration")])
def test_what_a_function_raises(
    entries: list[Record], error: BaseException, mark: str | None
) -> None:
    @metrics_collector(name="f")
    def f() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        f()

    assert caught.value is error
    assert said(entries) == [("f", mark)]


@pytest.mark.parametrize(("error", "mark"), ENDINGS)
def test_what_a_coroutine_raises(
    entries: list[Record], error: BaseException, mark: str | None
) -> None:
    @metrics_collector(name="f")
    async def f() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        f().send(None)

    assert caught.value is error
    assert said(entries) == [("f", mark)]


def test_a_coroutine_that_raises_stop_iteration(entries: list[Record]) -> None:
    @metrics_collector(name="f")
    async def f() -> None:
        raise StopIteration(1)

    with pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
        f().send(None)

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

    alive: list[weakref.ref[OwnError]] = []
    gc.disable()
    try:
        for function in (f, g):
            try:
                await settle(function())
            except OwnError as error:
                alive.append(weakref.ref(error))
        assert [one() for one in alive] == [None, None]
    finally:
        gc.enable()


async def test_cancelled_from_outside(entries: list[Record]) -> None:
    cleaned = []

    @metrics_collector(name="f")
    async def f() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    running = asyncio.create_task(f())
    await asyncio.sleep(0)
    running.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await running

    assert cleaned == ["up"]
    assert said(entries) == [("f", CANCELLED)]


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


async def test_a_task_group_cancels_the_others(entries: list[Record]) -> None:
    @metrics_collector(name="waits")
    async def waits() -> None:
        await asyncio.Event().wait()

    @metrics_collector(name="fails")
    async def fails() -> None:
        raise OwnError

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(waits())
            group.create_task(fails())

    with pytest.raises(ExceptionGroup):
        await both()

    assert said(entries) == [("fails", "OwnError"), ("waits", CANCELLED)]


def test_a_closed_coroutine_is_cancelled(entries: list[Record]) -> None:
    @metrics_collector(name="f")
    async def f() -> None:
        await asyncio.sleep(0)

    running = f()
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


def test_the_call_does_nothing_else() -> None:
    """Two clock reads, one record, and no Python code but the function's."""
    seen: list[str] = []

    def profile(frame: types.FrameType, event: str, argument: Any) -> None:
        if event == "call":
            seen.append(frame.f_code.co_qualname)
        elif event == "c_call":
            seen.append(argument.__name__)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        add(1)
    finally:
        sys.setprofile(before)

    own = [name for name in seen if name != "setprofile"]
    assert own == ["_function.<locals>.wrapper", "perf_counter", "add", "perf_counter", "append"]
