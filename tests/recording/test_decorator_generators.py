"""Generators and async generators: driven by hand and by event loops, beside bare ones."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_collector import metrics_collector
from tests.helpers.measured import OwnError, said, settle

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator

    from metrics_collector._recording.recorder import Record


@metrics_collector(name="count")
def count(n: int) -> Iterator[int]:
    yield from range(n)


@metrics_collector(name="acount")
async def acount(n: int) -> AsyncIterator[int]:
    for i in range(n):
        await asyncio.sleep(0)
        yield i


# Time and outcome


def test_a_generator_is_measured_from_its_first_step_to_its_end(
    entries: list[Record], times: list[float]
) -> None:
    steps = count(2)
    times.append(1.0)
    assert next(steps) == 0
    assert (times, entries) == ([], [])

    times.append(9.0)
    assert list(steps) == [1]
    assert entries == [("count", 1.0, 9.0, None)]


async def test_an_async_generator_is_measured_from_its_first_step_to_its_end(
    entries: list[Record], times: list[float]
) -> None:
    steps = acount(2)
    times.append(1.0)
    assert await anext(steps) == 0
    assert (times, entries) == ([], [])

    times.append(9.0)
    assert [i async for i in steps] == [1]
    assert entries == [("acount", 1.0, 9.0, None)]


async def test_what_never_started_makes_no_entry(entries: list[Record]) -> None:
    bare: Any = count(1)
    bare.close()
    asynchronous: Any = acount(1)
    await asynchronous.aclose()
    del bare, asynchronous
    count(1)
    acount(1)
    gc.collect()

    assert entries == []


async def test_closed_early_is_ok(entries: list[Record]) -> None:
    for i in count(9):
        if i == 3:
            break
    async with aclosing(acount(9)) as steps:  # type: ignore[type-var]  # annotated as iterator, as many are
        async for i in steps:
            if i == 3:
                break

    assert said(entries) == [("count", None), ("acount", None)]


def test_an_error_while_closing_is_an_error(entries: list[Record]) -> None:
    @metrics_collector(name="steps")
    def steps() -> Generator[int]:
        try:
            yield 1
        finally:
            raise OwnError

    running = steps()
    next(running)
    with pytest.raises(OwnError) as caught:
        running.close()

    assert isinstance(caught.value.__context__, GeneratorExit)
    assert said(entries) == [("steps", "OwnError")]


def test_a_generator_returns_its_value_and_takes_what_is_sent(entries: list[Record]) -> None:
    @metrics_collector(name="steps")
    def steps() -> Generator[str, int, str]:
        got = yield "first"
        try:
            yield f"got {got}"
        except LookupError as error:
            yield f"caught {error}"
        return "value"

    def outside() -> Generator[str, int, str]:
        return (yield from steps())

    running = outside()
    assert next(running) == "first"
    assert running.send(5) == "got 5"
    assert running.throw(LookupError("thrown")) == "caught thrown"
    with pytest.raises(StopIteration) as end:
        next(running)

    assert end.value.value == "value"
    assert said(entries) == [("steps", None)]


def fail_to_look_up() -> None:
    raise LookupError


async def test_context_managers_of_generators(entries: list[Record]) -> None:
    @asynccontextmanager
    @metrics_collector(name="block")
    async def block() -> AsyncIterator[int]:
        try:
            yield 1
        except LookupError:
            await asyncio.sleep(0)

    async with block() as value:
        assert value == 1
        fail_to_look_up()
    error = OwnError()
    with pytest.raises(OwnError) as caught:
        async with block():
            raise error

    assert caught.value is error
    assert caught.value.__context__ is None
    assert said(entries) == [("block", None), ("block", "OwnError")]


# Beside a bare one: whatever is done to both, both do the same


def obstinate(how: str) -> Generator[str, object, str]:
    """Meets what is thrown into it in its own ways."""
    got: object = None
    while True:
        try:
            got = yield f"value after {got}"
        except ValueError as error:
            got = f"caught {error}"
        except KeyError:
            raise OwnError("from the handler")  # noqa: B904 - the context is what is looked at
        except GeneratorExit:
            if how == "raise":
                raise OwnError("while closing")  # noqa: B904 - the same
            raise
        if got == "end":
            return "the end"
        if got == "fail":
            raise OwnError("asked to fail")
        if got == "stop":
            raise StopIteration("by mistake")  # noqa: PLR1708 - that mistake


async def aobstinate(how: str) -> AsyncGenerator[str, object]:  # noqa: C901 - no real code
    """Meets what is thrown into it in its own ways."""
    got: object = None
    while True:
        try:
            await asyncio.sleep(0)
            got = yield f"value after {got}"
            await asyncio.sleep(0)
        except ValueError as error:
            await asyncio.sleep(0)
            got = f"caught {error}"
        except KeyError:
            raise OwnError("from the handler")  # noqa: B904 - the context is what is looked at
        except GeneratorExit:
            if how == "raise":
                raise OwnError("while closing")  # noqa: B904 - the same
            if how == "return":
                return
            if how == "await":
                await asyncio.sleep(0)
            if how != "yield":
                raise
            got = "refused to close"
        if got == "end":
            return
        if got == "fail":
            raise OwnError("asked to fail")
        if got == "stop":
            raise StopAsyncIteration("by mistake")
        if got == "stop, too":
            raise StopIteration("by mistake")  # noqa: PLR1708 - that mistake


Told = tuple[object, ...]


def told(error: BaseException) -> Told:
    """All that a caller can see of an error, but for its traceback."""
    seen: list[object] = []
    one: BaseException | None = error
    while one is not None and len(seen) < 9:
        seen.append((type(one), str(one), one.__suppress_context__, type(one.__cause__)))
        one = one.__context__
    return tuple(seen)


async def drive(steps: Any, moves: list[tuple[str, object]]) -> list[Told]:
    """What each move brought about; the steps of an async generator are awaited."""
    a = "a" if inspect.isasyncgen(steps) else ""
    out: list[Told] = []
    for move, argument in moves:
        try:
            if move == "next":
                result = getattr(steps, f"__{a}next__")()
            elif move == "close":
                result = getattr(steps, f"{a}close")()
            else:
                result = getattr(steps, f"{a}{move}")(argument)
            out.append((move, await settle(result)))
        except BaseException as error:  # noqa: BLE001 - what is raised is what is compared
            out.append((move, error is argument, told(error), getattr(error, "value", None)))
    return out


SENT = st.sampled_from([None, 1, "end", "fail", "stop", "stop, too"])
THROWN = [ValueError, KeyError, OwnError, StopIteration, StopAsyncIteration]


def moves_throwing(*errors: type[BaseException]) -> st.SearchStrategy[list[tuple[str, Any]]]:
    move = st.one_of(
        st.just(("next", None)),
        st.tuples(st.just("send"), SENT),
        st.tuples(st.just("throw"), st.sampled_from(errors)),
        st.just(("close", None)),
    )
    return st.lists(move, max_size=8)


MOVES = moves_throwing(*THROWN)
AMOVES = moves_throwing(*THROWN, GeneratorExit, KeyboardInterrupt)


def fresh(moves: list[tuple[str, Any]]) -> list[tuple[str, object]]:
    """The moves with errors of their own: one that was thrown before carries its past."""
    return [
        (move, argument("thrown") if isinstance(argument, type) else argument)
        for move, argument in moves
    ]


async def check_alike(bare: Callable[[str], Any], how: str, moves: list[tuple[str, Any]]) -> None:
    both = metrics_collector(name="obstinate")(bare)(how), bare(how)
    ours, theirs = [await drive(steps, fresh(moves)) for steps in both]
    assert ours == theirs
    for steps in both:  # else it would raise, or refuse, when it is dropped or the loop closes it
        await drive(steps, [("next", None), ("send", "end")])


@given(how=st.sampled_from(["", "raise"]), moves=MOVES)
def test_a_measured_generator_does_what_the_bare_one_does(
    how: str, moves: list[tuple[str, Any]]
) -> None:
    asyncio.run(check_alike(obstinate, how, moves))


@given(how=st.sampled_from(["", "raise", "return", "await", "yield"]), moves=AMOVES)
def test_a_measured_async_generator_does_what_the_bare_one_does(
    how: str, moves: list[tuple[str, Any]]
) -> None:
    asyncio.run(check_alike(aobstinate, how, moves))


@given(moves=AMOVES)
def test_inside_a_handler_errors_have_the_same_context(moves: list[tuple[str, Any]]) -> None:
    measured = metrics_collector(name="aobstinate")(aobstinate)

    async def handling(steps: Any) -> list[Told]:
        try:
            int("being handled")
        except ValueError:
            return await drive(steps, fresh(moves))
        raise AssertionError

    async def both() -> None:
        assert await handling(measured("")) == await handling(aobstinate(""))

    asyncio.run(both())


async def test_two_steps_at_once_are_refused_as_ever() -> None:
    @metrics_collector(name="steps")
    async def steps() -> AsyncGenerator[int]:
        await asyncio.sleep(0)
        yield 1

    running = steps()
    first = asyncio.create_task(anext(running))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="already running"):
        await anext(running)
    assert await first == 1
    await running.aclose()


# The event loop's part


def unfinished(log: list[str]) -> Callable[..., AsyncGenerator[int]]:
    """Awaits while it is closed, and tells when that is done."""

    @metrics_collector(name="unfinished")
    async def steps(*_held: object) -> AsyncGenerator[int]:
        try:
            yield 1
            yield 2
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            log.append("closed")

    return steps


def test_the_loop_closes_it_at_its_end_and_does_not_complain(entries: list[Record]) -> None:
    log: list[str] = []
    complaints: list[dict[str, Any]] = []
    kept = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        for _ in range(20):  # the loop closes them in any order
            steps = unfinished(log)()
            kept.append(steps)
            await anext(steps)

    asyncio.run(main())

    assert complaints == []
    assert log == ["closed"] * 20
    assert said(entries) == [("unfinished", None)] * 20


def uvloops() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


@pytest.mark.parametrize(
    ("new_loop", "circle"),
    [
        (asyncio.new_event_loop, True),
        (asyncio.new_event_loop, False),
        pytest.param(
            uvloops,
            False,
            marks=pytest.mark.skipif(sys.platform == "win32", reason="there is no uvloop"),
        ),
    ],
)
def test_the_loop_closes_what_is_dropped(
    entries: list[Record], new_loop: Callable[[], asyncio.AbstractEventLoop], *, circle: bool
) -> None:
    log: list[str] = []
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        holder: list[object] = []
        steps = unfinished(log)(holder)
        if circle:
            holder.append(steps)
        await anext(steps)

        del steps, holder
        gc.collect()
        for _ in range(20):
            await asyncio.sleep(0)
        assert log == ["closed"]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    assert complaints == []
    assert said(entries) == [("unfinished", None)]


def test_without_a_loop_it_is_closed_when_it_is_dropped(entries: list[Record]) -> None:
    log: list[str] = []

    @metrics_collector(name="steps")
    async def steps() -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            log.append("closed")

    running = steps()
    with pytest.raises(StopIteration):
        running.asend(None).send(None)
    del running
    gc.collect()

    assert log == ["closed"]
    assert said(entries) == [("steps", None)]


async def test_the_hooks_of_the_loop_are_its_own_again() -> None:
    before = sys.get_asyncgen_hooks()
    steps = acount(1)
    await anext(steps)
    assert sys.get_asyncgen_hooks() == before
    assert [i async for i in steps] == []
