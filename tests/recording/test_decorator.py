"""The decorator's forms, what its result looks like, and what it does when switched off."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import io
import logging
import pickle
import typing
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector import ConfigurationError, metrics_collector
from metrics_collector._recording import decorator, registry
from metrics_collector._recording.registry import name_of
from tests.helpers.measured import HERE as THERE
from tests.helpers.measured import Handler, add, add_later, said, settle

if TYPE_CHECKING:
    import types
    from collections.abc import AsyncIterator, Callable, Iterator

    from metrics_collector._recording.recorder import Record


HERE = __name__


# Form and name


def test_a_call_makes_one_entry_of_two_moments(entries: list[Record]) -> None:
    before = perf_counter()
    assert add(1, 20, c=300) == 321
    after = perf_counter()

    ((name, start, end, mark),) = entries
    assert name == f"{THERE}.add"
    assert before <= start <= end <= after
    assert mark is None


async def test_an_awaited_call_makes_one_entry_when_it_ends(entries: list[Record]) -> None:
    running = asyncio.create_task(add_later(1, 20, c=300))
    await asyncio.sleep(0)
    assert entries == []

    assert await running == 321
    assert said(entries) == [(f"{THERE}.add_later", None)]


def test_called_without_arguments_it_is_the_same_decorator(entries: list[Record]) -> None:
    @metrics_collector()
    def f() -> int:
        return 1

    assert f() == 1
    assert said(entries) == [(name_of(f), None)]
    assert name_of(f) == f"{HERE}.test_called_without_arguments_it_is_the_same_decorator.<locals>.f"


def test_a_given_name_is_the_whole_name(entries: list[Record]) -> None:
    @metrics_collector(name="checkout")
    def f() -> int:
        return 1

    f()
    assert said(entries) == [("checkout", None)]
    assert name_of(f) == "checkout"
    assert "checkout" in registry.names()


@pytest.mark.parametrize("wrong", ["", "x" * 1001, "\ud800", 7, b"bytes"])
def test_a_wrong_name_is_refused_before_there_is_a_function(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="a name is a str"):
        metrics_collector(name=wrong)


def test_every_decorated_function_is_known_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    def factory() -> Callable[[], None]:
        @metrics_collector(name="shared by closures")
        def f() -> None: ...

        return f

    factory()
    factory()
    assert "shared by closures" in registry.names()
    assert not caplog.records

    @metrics_collector(name="shared by closures")
    def another() -> None: ...

    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert line.getMessage().count(f"{__file__}:") == 2


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        (int, r"class: decorate its methods, int.__init__"),
        ("checkout", r'@metrics_collector\(name="..."\)'),
        (property(add), "put @metrics_collector below it"),
        (functools.cached_property(add), "put @metrics_collector below it"),
        (None, "cannot be called"),
        (7, "cannot be called"),
        (staticmethod(7), "cannot be called"),  # type: ignore[arg-type]  # the mistake
        (classmethod(property(add)), "put @metrics_collector below it"),  # type: ignore[arg-type]  # the mistake
    ],
)
def test_what_cannot_be_measured_is_refused_with_the_remedy(given: Any, remedy: str) -> None:
    for decorate in (metrics_collector, metrics_collector(name="other")):
        with pytest.raises(ConfigurationError, match=remedy):
            decorate(given)


# The face of the function


class Greeter:
    greeting: str = "hello"

    @metrics_collector
    def plain(self, name: str) -> str:
        """Greet."""
        return f"{self.greeting} {name}"

    @metrics_collector
    async def later(self, name: str) -> str:
        """Greet later."""
        return f"{self.greeting} {name}"

    @staticmethod
    @metrics_collector
    def static_above(name: str) -> str:
        return name

    @metrics_collector
    @staticmethod
    def static_below(name: str) -> str:
        return name

    @metrics_collector
    @staticmethod
    async def static_later(name: str) -> str:
        return name

    @classmethod
    @metrics_collector
    def class_above(cls, name: str) -> str:
        return f"{cls.greeting} {name}"

    @metrics_collector
    @classmethod
    def class_below(cls, name: str) -> str:
        return f"{cls.greeting} {name}"

    @metrics_collector(name="greeter.class_later")
    @classmethod
    async def class_later(cls, name: str) -> str:
        return f"{cls.greeting} {name}"

    @property
    @metrics_collector
    def shout(self) -> str:
        return self.greeting.upper()

    to_world = metrics_collector(functools.partialmethod(plain.__wrapped__, "world"))  # type: ignore[attr-defined]  # a wrapper has it


class Loud(Greeter):
    greeting = "HELLO"


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("plain", "HELLO ann"),
        ("later", "HELLO ann"),
        ("static_above", "ann"),
        ("static_below", "ann"),
        ("static_later", "ann"),
        ("class_above", "HELLO ann"),
        ("class_below", "HELLO ann"),
    ],
)
async def test_methods_of_each_sort(entries: list[Record], method: str, expected: str) -> None:
    for owner in (Loud(), Loud):
        if isinstance(owner, type) and method in {"plain", "later"}:
            result = getattr(owner, method)(owner(), "ann")  # unbound
        else:
            result = getattr(owner, method)("ann")
        assert await settle(result) == expected

    assert said(entries) == [(f"{HERE}.Greeter.{method}", None)] * 2


async def test_more_methods(entries: list[Record]) -> None:
    assert await Loud.class_later("ann") == "HELLO ann"
    assert Loud().shout == "HELLO"
    assert Loud().to_world() == "HELLO world"

    assert said(entries) == [
        ("greeter.class_later", None),
        (f"{HERE}.Greeter.shout", None),
        (f"{HERE}.Greeter.plain", None),
    ]


def test_static_and_class_methods_stay_such() -> None:
    assert isinstance(Greeter.__dict__["static_below"], staticmethod)
    assert isinstance(Greeter.__dict__["class_below"], classmethod)
    assert isinstance(Greeter.__dict__["to_world"], functools.partialmethod)
    assert inspect.iscoroutinefunction(Greeter.static_later)
    assert inspect.iscoroutinefunction(Greeter().class_later)


def bare_function(a: int, *rest: str, flag: bool = False, **more: float) -> list[str]:
    """The docstring."""
    return []


async def bare_coroutine(a: int, *rest: str, flag: bool = False, **more: float) -> list[str]:
    """The docstring."""
    return []


def bare_generator(a: int, *rest: str, flag: bool = False, **more: float) -> Iterator[str]:
    """The docstring."""
    yield ""


async def bare_asyncgen(
    a: int, *rest: str, flag: bool = False, **more: float
) -> AsyncIterator[str]:
    """The docstring."""
    yield ""


@pytest.mark.parametrize("bare", [bare_function, bare_coroutine, bare_generator, bare_asyncgen])
def test_a_function_looks_like_itself(bare: types.FunctionType) -> None:
    bare.colour = "red"  # type: ignore[attr-defined]  # as a framework marks its functions
    measured: Any = metrics_collector(bare)

    assert measured is not bare
    for kind in (
        inspect.isfunction,
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    ):
        assert kind(measured) == kind(bare), kind.__name__
    assert inspect.signature(measured) == inspect.signature(bare)
    known = {"Iterator": typing.Iterator, "AsyncIterator": typing.AsyncIterator}
    assert typing.get_type_hints(measured, known) == typing.get_type_hints(bare, known)
    for attribute in ("__name__", "__qualname__", "__module__", "__doc__", "__annotations__"):
        assert getattr(measured, attribute) == getattr(bare, attribute), attribute
    assert measured.colour == "red"
    assert measured.__wrapped__ is bare


def test_pickle_and_copy() -> None:
    for function in (add, add_later, Greeter.plain, Greeter.static_below):
        assert pickle.loads(pickle.dumps(function)) is function  # noqa: S301 - just dumped
        assert copy.copy(function) is function
        assert copy.deepcopy(function) is function
    again = pickle.loads(pickle.dumps(Loud().plain))  # noqa: S301 - just dumped
    assert again("ann") == "HELLO ann"


# Switched off


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decorator, "metrics_enabled", lambda: False)


def with_room_for_a_name() -> list[Any]:
    def f() -> None: ...

    later: Any = classmethod(f)  # type: ignore[arg-type]  # it is never called
    return [f, staticmethod(f), later, functools.partial(f), Handler(1)]


@pytest.mark.usefixtures("off")
def test_switched_off_it_returns_the_function_itself(entries: list[Record]) -> None:
    f, *others = with_room_for_a_name()
    bare = [bare_coroutine, bare_generator, bare_asyncgen]
    for function in (f, *others, *bare, functools.partialmethod(f), len, io.StringIO().write):
        assert metrics_collector(function) is function
        assert metrics_collector()(function) is function
        assert name_of(function) in registry.names()
    f()
    assert entries == []


@pytest.mark.usefixtures("off")
def test_switched_off_a_given_name_is_found_where_there_is_room_for_it() -> None:
    for number, function in enumerate(with_room_for_a_name()):
        assert metrics_collector(name=f"off {number}")(function) is function
        assert name_of(function) == f"off {number}"
    assert metrics_collector(name="off len")(len) is len
    assert name_of(len) == "builtins.len"
    assert "off len" in registry.names()


@pytest.mark.usefixtures("off")
def test_switched_off_mistakes_are_still_refused() -> None:
    with pytest.raises(ConfigurationError):
        metrics_collector(name="")
    with pytest.raises(ConfigurationError):
        metrics_collector(int)
