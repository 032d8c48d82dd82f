"""Everything that can be called can be measured."""

from __future__ import annotations

import abc
import asyncio
import functools
import inspect
import itertools
import sys
import types
import typing
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from metrics_collector import metrics_collector
from metrics_collector._recording.registry import name_of
from tests.helpers.measured import HERE as THERE
from tests.helpers.measured import AsyncHandler, Handler, said, settle

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator, Iterator

    from starlette.requests import Request

    from metrics_collector._recording.recorder import Record

HERE = __name__


async def test_objects_that_can_be_called(entries: list[Record]) -> None:
    handle = metrics_collector(Handler(1))
    handle_later: Any = metrics_collector(AsyncHandler(1))

    assert handle(2) == 3
    assert await handle_later(2) == 3
    assert said(entries) == [(f"{THERE}.Handler", None), (f"{THERE}.AsyncHandler", None)]
    assert inspect.iscoroutinefunction(handle_later)
    assert str(inspect.signature(handle)) == "(a: 'int') -> 'int'"
    assert handle.base == 1
    assert handle.__doc__ == "Handle."
    assert handle.__name__ == "Handler"  # type: ignore[attr-defined]  # what is returned is a function
    assert typing.get_type_hints(handle) == {}


def bare(a: int, b: int = 2) -> int:
    return a + b


async def later(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.mark.parametrize(
    ("partial", "name", "result"),
    [
        (functools.partial(bare, 1), f"{HERE}.bare", 3),
        (functools.partial(functools.partial(later, 1), b=2), f"{HERE}.later", 3),
        (functools.partial(Handler(1).__call__, 2), f"{THERE}.Handler.__call__", 3),
        (functools.partial(Handler(1), 2), f"{THERE}.Handler", 3),
        (functools.partial(AsyncHandler(1), 2), f"{THERE}.AsyncHandler", 3),
    ],
)
async def test_partials_have_the_name_of_their_function(
    entries: list[Record], partial: functools.partial[Any], name: str, result: object
) -> None:
    measured: Any = metrics_collector(partial)

    got = measured()
    assert inspect.iscoroutinefunction(measured) == inspect.iscoroutine(got)
    assert await settle(got) == result
    assert said(entries) == [(name, None)]
    assert inspect.signature(measured) == inspect.signature(partial)


async def test_a_partial_has_the_face_of_its_function() -> None:
    measured: Any = metrics_collector(functools.partial(later, 1))

    assert measured.__doc__ == "Add two numbers."
    assert measured.__qualname__ == "later"
    assert measured.__module__ == HERE


def test_a_partial_of_a_class_measures_its_making(entries: list[Record]) -> None:
    make = metrics_collector(functools.partial(Handler, 5))

    assert make().base == 5
    assert said(entries) == [(f"{THERE}.Handler", None)]
    assert not hasattr(make, "timeout")  # what the class has is not the function's


def test_builtins_lambdas_and_methods_of_builtins(entries: list[Record]) -> None:
    items: list[int] = []
    assert metrics_collector(len)([1, 2]) == 2
    metrics_collector(items.append)(1)
    assert metrics_collector(lambda: 7)() == 7

    assert items == [1]
    assert [name.rpartition(".")[2] for name, _ in said(entries)] == ["len", "append", "<lambda>"]


if sys.version_info >= (3, 12):

    async def test_what_is_marked_as_a_coroutine_function(entries: list[Record]) -> None:
        @inspect.markcoroutinefunction
        def marked(a: int) -> Coroutine[Any, Any, int]:
            return later(a, 1)

        measured: Any = metrics_collector(marked)

        assert inspect.iscoroutinefunction(measured)
        running = measured(1)
        assert entries == []
        assert await running == 2
        assert len(entries) == 1


@pytest.mark.parametrize("above", [True, False])
async def test_generator_based_coroutines(entries: list[Record], *, above: bool) -> None:
    def steps(a: int) -> Generator[Any, Any, int]:
        yield from asyncio.sleep(0).__await__()
        return a

    measured: Any = (
        metrics_collector(types.coroutine(steps))
        if above
        else types.coroutine(metrics_collector(steps))
    )

    assert await measured(3) == 3
    assert len(entries) == 1


@pytest.mark.parametrize("above", [True, False])
def test_lru_cache(entries: list[Record], *, above: bool) -> None:
    def double(a: int) -> int:
        return 2 * a

    cached: Any = (
        functools.lru_cache(metrics_collector(double))
        if above
        else metrics_collector(functools.lru_cache(double))
    )

    assert [cached(1), cached(1), cached(2)] == [2, 2, 4]
    assert len(entries) == (2 if above else 3)
    assert cached.cache_info().hits == 1
    assert cached.cache_parameters()["maxsize"] == 128
    cached.cache_clear()
    assert cached.cache_info().currsize == 0
    assert name_of(cached).endswith("double")


def test_cached_methods_are_still_bound(entries: list[Record]) -> None:
    class Model:
        @metrics_collector
        @functools.cache  # noqa: B019 - the model lives as long as the test
        def size(self) -> int:
            return 3

    model = Model()
    assert model.size() + model.size() == 6
    assert len(entries) == 2


def test_abstract_methods_stay_abstract(entries: list[Record]) -> None:
    class Port(abc.ABC):
        @metrics_collector
        @abc.abstractmethod
        def below(self) -> int: ...

        @abc.abstractmethod
        @metrics_collector
        def above(self) -> int: ...

        @metrics_collector
        @classmethod
        @abc.abstractmethod
        def of_class(cls) -> int: ...

        @metrics_collector
        @staticmethod
        @abc.abstractmethod
        def static() -> int: ...

    assert Port.__abstractmethods__ == {"below", "above", "of_class", "static"}

    class Real(Port):
        @metrics_collector
        def below(self) -> int:
            return 1

    with pytest.raises(TypeError, match="abstract"):
        Real()  # type: ignore[abstract]  # what is tested


def test_protocols_and_dataclasses(entries: list[Record]) -> None:
    @typing.runtime_checkable
    class Sized(Protocol):
        @metrics_collector
        def size(self) -> int: ...

    @dataclass(frozen=True, order=True)
    class Box:
        width: int

        @metrics_collector
        def __post_init__(self) -> None:
            assert self.width > 0

        @metrics_collector
        def size(self) -> int:
            return self.width

    assert isinstance(Box(2), Sized)
    assert Box(2).size() == 2
    assert [name.rpartition(".")[2] for name, _ in said(entries)] == [
        "__post_init__",
        "__post_init__",
        "size",
    ]


def test_special_methods_are_found_by_python(entries: list[Record]) -> None:
    class Thing:
        @metrics_collector
        def __new__(cls) -> Thing:  # noqa: PYI034 - not generic
            return super().__new__(cls)

        @metrics_collector
        def __len__(self) -> int:
            return 3

        @metrics_collector
        def __class_getitem__(cls, key: str) -> str:
            return key

    assert len(Thing()) == 3
    assert Thing["key"] == "key"  # type: ignore[misc]  # a checker knows it undecorated only
    assert len(entries) == 3


def fail_to_look_up() -> None:
    raise LookupError


@pytest.mark.parametrize("above", [True, False])
def test_context_managers(entries: list[Record], *, above: bool) -> None:
    def block() -> Iterator[int]:
        with suppress(LookupError):
            yield 1

    # Above, the decorator measures the generator, which is the block; below, only the making of it.
    managed = (
        contextmanager(metrics_collector(block))
        if above
        else metrics_collector(contextmanager(block))
    )

    with managed() as value:
        assert value == 1
        assert len(entries) == (0 if above else 1)
        fail_to_look_up()
    assert len(entries) == 1
    assert entries[0][3] is None


def test_recursion_makes_an_entry_for_each_call(entries: list[Record]) -> None:
    @metrics_collector
    def down(n: int) -> int:
        return 0 if n == 0 else 1 + down(n - 1)

    assert down(5) == 5
    assert len(entries) == 6
    for (_, start, end, _), (_, outer_start, outer_end, _) in itertools.pairwise(entries):
        assert outer_start <= start <= end <= outer_end


def test_each_decorator_makes_entries_of_its_own(entries: list[Record]) -> None:
    @metrics_collector(name="outer")
    @metrics_collector(name="inner")
    def f() -> None: ...

    f()
    assert said(entries) == [("inner", None), ("outer", None)]


async def test_endpoints_of_a_web_framework(entries: list[Record]) -> None:
    @metrics_collector(name="GET /sync")
    def sync(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.query_params["q"])

    @metrics_collector(name="GET /async")
    async def later(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.query_params["q"])

    app = Starlette(routes=[Route("/sync", sync), Route("/async", later)])
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for path in ("/sync", "/async"):
            assert (await client.get(path, params={"q": "x"})).text == "x"

    assert said(entries) == [("GET /sync", None), ("GET /async", None)]
