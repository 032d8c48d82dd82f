"""The surface as a user's type checker sees it: what is decorated keeps its type.

Nothing here is run. `mypy` and `pyright`, as pyproject.toml sets them up, read it; a mistake that
they would no longer find makes its `type: ignore` an error of its own.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import abc
import functools
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
)
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, assert_type, overload

from metrics_collector import measure, metrics_collector

T = TypeVar("T")
P = ParamSpec("P")


# Functions, bare, called and named


@metrics_collector
def bare(a: int, /, b: str = "", *, c: float = 0.0) -> list[int]:
    return [a]


@metrics_collector()
def called(a: int, /, b: str = "", *, c: float = 0.0) -> list[int]:
    return [a]


@metrics_collector(name="named")
def named(a: int, /, b: str = "", *, c: float = 0.0) -> list[int]:
    return [a]


assert_type(bare(1, b="", c=0.5), list[int])
assert_type(called(1, "", c=0.5), list[int])
assert_type(named(1), list[int])
bare("1")  # type: ignore[arg-type]  # refused
bare(a=1)  # type: ignore[call-arg]  # refused
called(1, c="")  # type: ignore[arg-type]  # refused
named()  # type: ignore[call-arg]  # refused
named(1, d=1)  # type: ignore[call-arg]  # refused


@metrics_collector
async def coroutine(a: int) -> str:
    return str(a)


@metrics_collector(name="generator")
def generator(a: int) -> Generator[int, str, bytes]:
    got = yield a
    return got.encode()


@metrics_collector
def iterator(a: int) -> Iterator[int]:
    yield a


@metrics_collector()
async def async_generator(a: int) -> AsyncGenerator[int, str]:
    got = yield a
    assert_type(got, str)


@metrics_collector
async def async_iterator(a: int) -> AsyncIterator[int]:
    yield a


assert_type(generator(1), Generator[int, str, bytes])
assert_type(iterator(1), Iterator[int])
assert_type(async_generator(1), AsyncGenerator[int, str])
assert_type(async_iterator(1), AsyncIterator[int])


async def use() -> None:
    later: Coroutine[Any, Any, str] = coroutine(1)
    assert_type(await later, str)
    await coroutine("1")  # type: ignore[arg-type]  # refused
    async for got in async_generator(1):
        assert_type(got, int)
    assert_type(await async_generator(1).asend(""), int)
    await async_generator(1).asend(1)  # type: ignore[arg-type]  # refused
    async for item in async_iterator(1):
        assert_type(item, int)
    for number in generator(1):
        assert_type(number, int)


# Overloads and generics


@overload
def either(a: int) -> int: ...
@overload
def either(a: str) -> str: ...
@metrics_collector
def either(a: int | str) -> int | str:
    return a


assert_type(either(1), int)
assert_type(either(""), str)
either(1.5)  # type: ignore[call-overload]  # refused


@metrics_collector
def same(a: T) -> T:
    return a


@metrics_collector(name="first")
async def first(items: list[T], *others: T) -> T:
    return items[0]


@metrics_collector
def apply(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return function(*args, **kwargs)


assert_type(same(1), int)
assert_type(same(""), str)
assert_type(apply(bare, 1, b=""), list[int])
apply(bare, "1")  # type: ignore[arg-type]  # refused


async def use_generics() -> None:
    assert_type(await first([1]), int)


# Methods


class Service:
    @metrics_collector
    def method(self, a: int) -> str:
        return str(a)

    @metrics_collector(name="service.later")
    async def later(self, a: int) -> str:
        return str(a)

    @metrics_collector
    async def stream(self, a: int) -> AsyncIterator[str]:
        yield str(a)

    @staticmethod
    @metrics_collector
    def static_above(a: int) -> str:
        return str(a)

    @metrics_collector
    @staticmethod
    def static_below(a: int) -> str:
        return str(a)

    @metrics_collector(name="service.static_later")
    @staticmethod
    async def static_later(a: int) -> str:
        return str(a)

    @classmethod
    @metrics_collector
    def class_above(cls, a: int) -> str:
        return str(a)

    @metrics_collector
    @classmethod
    def class_below(cls, a: int) -> str:
        return str(a)

    @metrics_collector(name="service.class_later")
    @classmethod
    async def class_later(cls, a: int) -> str:
        return str(a)

    @property
    @metrics_collector
    def value(self) -> int:
        return 1

    @metrics_collector
    def __call__(self, a: int) -> bytes:
        return bytes(a)


service = Service()
assert_type(service.method(1), str)
assert_type(Service.method(service, 1), str)
assert_type(Service.static_above(1), str)
assert_type(service.static_below(1), str)
assert_type(Service.static_below(1), str)
assert_type(Service.class_above(1), str)
assert_type(service.class_below(1), str)
assert_type(Service.class_below(1), str)
assert_type(service.value, int)
assert_type(service(1), bytes)
service.method("1")  # type: ignore[arg-type]  # refused
service.static_below("1")  # type: ignore[arg-type]  # refused
Service.class_below("1")  # type: ignore[arg-type]  # refused
Service.method(1)  # type: ignore[call-arg, arg-type]  # refused


async def use_methods() -> None:
    assert_type(await service.later(1), str)
    assert_type(await Service.static_later(1), str)
    assert_type(await Service.class_later(1), str)
    async for item in service.stream(1):
        assert_type(item, str)
    await service.later("1")  # type: ignore[arg-type]  # refused


class Better(Service):
    @metrics_collector
    def method(self, a: int, b: int = 0) -> str:
        return super().method(a) + str(b)


class Stack(Generic[T]):
    def __init__(self, *items: T) -> None:
        self.items = list(items)

    @metrics_collector
    def pop(self) -> T:
        return self.items.pop()


assert_type(Stack(1).pop(), int)


class Port(abc.ABC):
    @metrics_collector
    @abc.abstractmethod
    async def fetch(self, key: str) -> bytes: ...


class Adapter(Port):
    @metrics_collector(name="adapter.fetch")
    async def fetch(self, key: str) -> bytes:
        return key.encode()


class Fetches(Protocol):
    async def fetch(self, key: str) -> bytes: ...


fetches: Fetches = Adapter()
Port()  # type: ignore[abstract]  # refused


# Other things that can be called, and other decorators


class Handler:
    async def __call__(self, a: int) -> str:
        return str(a)


assert_type(metrics_collector(Handler()), Handler)
assert_type(metrics_collector(functools.partial(bare, 1)), functools.partial[list[int]])
assert_type(
    metrics_collector(functools.partialmethod(Service.method, 1)), functools.partialmethod[str]
)
assert_type(metrics_collector(len)([]), int)


@contextmanager
@metrics_collector
def block() -> Generator[int, None, None]:
    yield 1


@asynccontextmanager
@metrics_collector(name="ablock")
async def ablock() -> AsyncGenerator[int, None]:
    yield 1


@metrics_collector
@functools.cache
def cached(a: int) -> str:
    return str(a)


@functools.cache
@metrics_collector
def cache_of_measured(a: int) -> str:
    return str(a)


assert_type(cached(1), str)
assert_type(cached.cache_info().hits, int)
assert_type(cache_of_measured(1), str)

with block() as entered:
    assert_type(entered, int)

# As it is passed on

task: Callable[[int], Awaitable[str]] = coroutine
decorator = metrics_collector(name="passed on")
assert_type(decorator(same)(1), int)

# `measure`


async def blocks() -> int:
    with measure("block") as nothing:
        assert_type(nothing, None)
    async with measure("block"):
        return 1
    # A checker knows that no exception is swallowed: else it would miss a `return` here.


measure()  # type: ignore[call-arg]  # refused
measure(1)  # type: ignore[arg-type]  # refused
measure("block")(bare)  # type: ignore[operator]  # refused
measure(bare)  # type: ignore[arg-type]  # refused

# Mistakes

metrics_collector("named")  # type: ignore[call-overload]  # refused
metrics_collector(1)  # type: ignore[call-overload]  # refused
metrics_collector(name=1)  # type: ignore[call-overload]  # refused
metrics_collector(bare, name="named")  # type: ignore[call-overload]  # refused
metrics_collector(bare, "named")  # type: ignore[call-overload]  # refused
metrics_collector(nam="named")  # type: ignore[call-overload]  # refused
metrics_collector(property(iterator))  # type: ignore[call-overload]  # refused
