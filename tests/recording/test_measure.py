from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, contextmanager
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector import ConfigurationError, measure, metrics_collector
from metrics_collector._recording import measure as measure_module
from metrics_collector._recording.recorder import CANCELLED, Record
from metrics_collector._support import threads
from tests.helpers.measured import OwnError, said
from tests.helpers.threads import at_once

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, params=[False, True], ids=["one lock", "free threads"])
def undecided(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has asked yet whether metrics are on; without the interpreter's lock the same holds."""
    monkeypatch.setattr(measure_module, "_enabled", None)
    if request.param:
        monkeypatch.setattr(threads, "FREE", True)


def test_a_block_makes_one_entry_under_the_name_as_given(entries: list[Record]) -> None:
    before = perf_counter()
    with measure("parse"):
        assert entries == []
    after = perf_counter()

    ((name, start, end, mark),) = entries
    assert (name, mark) == ("parse", None)
    assert before <= start <= end <= after


async def test_an_async_block(entries: list[Record]) -> None:
    async with measure("parse"):
        await asyncio.sleep(0)
        assert entries == []

    assert said(entries) == [("parse", None)]


@pytest.mark.parametrize(
    ("error", "mark"),
    [
        (ValueError("no"), "ValueError"),
        (OwnError(), "OwnError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(1), "SystemExit"),
        (asyncio.CancelledError(), CANCELLED),
        (StopIteration(), "StopIteration"),
    ],
)
async def test_what_is_raised_in_a_block_passes_unchanged(
    entries: list[Record], error: BaseException, mark: str
) -> None:
    with pytest.raises(type(error)) as caught, measure("block"):
        raise error
    assert caught.value is error
    assert error.__context__ is None

    with pytest.raises(type(error)) as caught:
        async with measure("block"):
            raise error
    assert caught.value is error
    assert error.__context__ is None
    assert said(entries) == [("block", mark)] * 2


def test_a_block_whose_coroutine_or_generator_is_closed_is_cancelled(entries: list[Record]) -> None:
    async def f() -> None:
        with measure("in a coroutine"):
            await asyncio.sleep(0)

    def g() -> Iterator[None]:
        with measure("in a generator"):
            yield

    coroutine = f()
    coroutine.send(None)
    coroutine.close()
    for _ in g():
        break

    assert said(entries) == [("in a coroutine", CANCELLED), ("in a generator", CANCELLED)]


def test_blocks_within_blocks_and_functions(entries: list[Record], times: list[float]) -> None:
    times[:] = [1.0, 2.0, 3.0, 4.0]
    with measure("outer"), measure("inner"):
        pass

    assert entries == [("inner", 2.0, 3.0, None), ("outer", 1.0, 4.0, None)]


def test_exit_stacks(entries: list[Record]) -> None:
    with ExitStack() as stack:
        stack.enter_context(measure("block"))
        kept = stack.pop_all()
    assert entries == []
    kept.close()
    assert len(entries) == 1


# One object, entered more than once


def test_an_object_can_be_entered_again(entries: list[Record], times: list[float]) -> None:
    block = measure("block")
    for n in range(3):
        times[:] = [n, n + 0.5]
        with block:
            pass

    assert [(start, end) for _, start, end, _ in entries] == [(0, 0.5), (1, 1.5), (2, 2.5)]
    assert block._others in (None, {})  # it never was within


def test_an_object_can_be_entered_within_itself(entries: list[Record], times: list[float]) -> None:
    block = measure("block")
    times[:] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    with block, block, block:
        pass

    assert [(start, end) for _, start, end, _ in entries] == [(3.0, 4.0), (2.0, 5.0), (1.0, 6.0)]


def test_after_an_error_an_object_is_as_new(entries: list[Record], times: list[float]) -> None:
    block = measure("block")
    times[:] = [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(OwnError), block:
        raise OwnError
    with block:
        pass

    assert entries == [("block", 1.0, 2.0, "OwnError"), ("block", 3.0, 4.0, None)]


async def test_tasks_that_share_an_object_keep_their_own_times(
    entries: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(measure_module, "clock", lambda: now)
    block = measure("block")
    gates = {name: asyncio.Event() for name in "abc"}

    async def enter(name: str) -> None:
        async with block:
            await gates[name].wait()
            if name == "b":
                with block:
                    raise OwnError

    tasks = {}
    for now, name in enumerate("abc"):  # noqa: B007 - the clock shows it
        tasks[name] = asyncio.create_task(enter(name))
        await asyncio.sleep(0)
    for now, name in enumerate("abc", start=10):  # noqa: B007 - the clock shows it
        gates[name].set()
        await asyncio.wait([tasks[name]])
    assert isinstance(tasks["b"].exception(), OwnError)

    # First in is first out, and "b" enters once more when "a" has left.
    assert [entry[1:] for entry in entries] == [
        (0, 10, None),
        (11, 11, "OwnError"),
        (1, 11, "OwnError"),
        (2, 12, None),
    ]
    with block:
        assert (block._start is None) is threads.FREE
    assert block._others == {}


def test_threads_that_share_an_object_keep_their_own_times(
    entries: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = threading.local()
    monkeypatch.setattr(measure_module, "clock", lambda: mine.number)
    block = measure("block")
    workers = 8
    rounds = 50
    together = threading.Barrier(workers)

    def work(number: int) -> None:
        mine.number = float(number)
        for _ in range(rounds):
            together.wait()
            with block:
                together.wait()

    at_once(*(partial(work, number) for number in range(workers)))

    assert sorted(entries) == [("block", n, n, None) for n in range(workers) for _ in range(rounds)]


async def test_left_by_another_task_there_is_still_one_entry_each(entries: list[Record]) -> None:
    block = measure("block")

    async def enter() -> None:
        block.__enter__()

    async def leave() -> None:
        block.__exit__(None, None, None)

    tasks = []  # kept, so that each has an identity of its own
    for step in (enter, enter, leave, leave):
        tasks.append(asyncio.create_task(step()))
        await tasks[-1]
    assert len(entries) == 2
    block.__exit__(None, None, None)  # nothing is open
    assert len(entries) == 2
    with block:
        pass
    assert len(entries) == 3


# Mistakes


@pytest.mark.parametrize("wrong", ["", "x" * 1001, "\ud800", 7, None])
def test_wrong_names_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="a name is a str of 1 to 1,000 characters"):
        measure(wrong)


def test_it_is_no_decorator_and_says_what_is() -> None:
    with pytest.raises(ConfigurationError, match=r'@metrics_collector\(name="block"\)'):

        @measure("block")  # type: ignore[operator]  # the mistake
        def f() -> None: ...

    with pytest.raises(ConfigurationError, match=r"use @metrics_collector"):

        @measure  # type: ignore[arg-type]  # the mistake
        def g() -> None: ...


# Switched off


async def test_switched_off_it_does_nothing(
    entries: list[Record], monkeypatch: pytest.MonkeyPatch, times: list[float]
) -> None:
    answers = [False]
    monkeypatch.setattr(measure_module, "metrics_enabled", answers.pop)

    with measure("block"), measure("another"):
        pass
    async with measure("block"):
        pass
    with pytest.raises(OwnError), measure("block"):
        raise OwnError
    with pytest.raises(ConfigurationError):
        measure("")

    assert entries == []
    assert answers == []


def test_in_a_measured_context_manager(entries: list[Record]) -> None:
    @contextmanager
    @metrics_collector(name="function")
    def managed() -> Iterator[None]:
        with measure("block"):
            yield

    with managed():
        pass

    assert said(entries) == [("block", None), ("function", None)]
