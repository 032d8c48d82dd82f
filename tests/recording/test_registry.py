from __future__ import annotations

import enum
import functools
import gc
import importlib
import logging
import sys
import threading
import types
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_collector import ConfigurationError
from metrics_collector._recording import registry
from metrics_collector._recording.decorator import metrics_collector
from metrics_collector._recording.registry import (
    Place,
    checked_name,
    default_name,
    name_of,
    place_of,
)
from tests.helpers.threads import at_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HERE = __name__


def test_names_are_those_registered() -> None:
    assert registry.names() == frozenset()
    registry.register("app.f", Place("app.py", 1))
    registry.register("app.g", Place("app.py", 5))
    registry.register("app.f", Place("app.py", 1))

    assert registry.names() == {"app.f", "app.g"}


def test_one_warning_names_both_places_of_two_functions(caplog: pytest.LogCaptureFixture) -> None:
    registry.register("app.f", Place("app.py", 1))
    registry.register("app.f", Place("app.py", 1))
    assert not caplog.records

    for file, number in (("other.py", 7), ("other.py", 7), ("third.py", 9), ("app.py", 1)):
        registry.register("app.f", Place(file, number))

    (line,) = caplog.records
    assert (line.name, line.levelno) == ("metrics_collector", logging.WARNING)
    for part in ("'app.f'", "app.py:1", "other.py:7", "name="):
        assert part in line.getMessage()


def test_each_shared_name_has_its_own_warning(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("app.f", "app.g"):
        for line in (1, 7):
            registry.register(name, Place("app.py", line))

    assert len(caplog.records) == 2


DEFINED = "from metrics_collector import metrics_collector\n@metrics_collector\ndef pay(): ...\n"


@pytest.mark.parametrize("anew", ["reloaded", "imported again"])
def test_a_function_whose_module_runs_anew_is_replaced_without_a_warning(
    anew: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "shop_that_changes.py"
    module = types.ModuleType(file.stem)
    monkeypatch.setitem(sys.modules, file.stem, module)
    for lines in range(3):
        file.write_text("\n" * lines + DEFINED)
        if anew == "reloaded":
            importlib.reload(module)
        else:
            del sys.modules[file.stem]
            module = importlib.import_module(file.stem)
    assert not caplog.records

    file.write_text(DEFINED * 2)
    importlib.reload(module)
    assert "two functions are measured as" in caplog.text


def test_a_cell_of_a_notebook_replaces_its_function_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    notebook = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)

    def run(source: str, number: int) -> None:
        exec(compile(source, f"<ipython-input-{number}>", "exec"), vars(notebook))  # noqa: S102 - as IPython does

    earlier = []
    for number in range(100):
        run("\n" * (number % 3) + DEFINED, number)
        earlier.append(weakref.ref(notebook.pay))
    gc.collect()
    assert not caplog.records
    assert registry.names() == {"pay"}
    assert [function() for function in earlier if function()] == [notebook.pay]

    run("@metrics_collector(name='pay')\ndef refund(): ...", 100)
    assert "two functions are measured as 'pay'" in caplog.text


@pytest.mark.parametrize(
    "other",
    [
        Place("shop.py", 7, "shop", "pay"),
        Place("cell 2", 1, "shop", "refund"),
        Place("plugin/shop.py", 7, "shop", "pay", weakref.ref(types.ModuleType("shop"))),
        Place("shop.py", 7, "a second name of the file", "pay", None, "another spec"),
    ],
)
def test_two_functions_of_one_name_are_told(other: Place, caplog: pytest.LogCaptureFixture) -> None:
    registry.register("pay", Place("shop.py", 1, "shop", "pay"))
    registry.register("pay", other)
    assert len(caplog.records) == 1


def test_threads_that_decorate_at_once_make_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    registry.register("app.f", Place("app.py", 1))
    ready = threading.Barrier(8)

    def decorate(number: int) -> None:
        ready.wait()
        registry.register("app.f", Place("other.py", number))

    at_once(*(partial(decorate, number) for number in range(8)))

    assert len(caplog.records) == 1


class Step(enum.StrEnum):
    PAY = "checkout.pay"


class Colour(str, enum.Enum):  # noqa: UP042 - such enums write themselves as `Colour.RED`
    RED = "red"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a", "a"),
        ("x" * 1000, "x" * 1000),
        ("Ünïcode 名前 🙂", "Ünïcode 名前 🙂"),
        (Step.PAY, "checkout.pay"),
        (Colour.RED, "red"),
    ],
)
def test_names_that_are_allowed(given: str, name: str) -> None:
    assert checked_name(given) == name
    assert type(checked_name(given)) is str


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        ("", "''"),
        ("x" * 1001, "1,001"),
        ("\ud800", r"'\ud800'"),
        ("a\0b", r"'a\x00b'"),
        (7, "int"),
        (b"name", "bytes"),
        (None, "NoneType"),
    ],
)
def test_names_that_are_not_allowed(wrong: Any, shown: str) -> None:
    with pytest.raises(ConfigurationError, match=r"1 to 1,000 characters") as caught:
        checked_name(wrong)
    assert shown in str(caught.value)
    str(caught.value).encode()


@given(st.text(st.characters(codec=None), max_size=1100))
def test_a_name_is_allowed_exactly_if_all_stores_can_hold_it(text: str) -> None:
    try:
        text.encode()
        holds = 1 <= len(text) <= 1000 and "\0" not in text
    except UnicodeEncodeError:
        holds = False

    if holds:
        assert checked_name(text) == text
    else:
        with pytest.raises(ConfigurationError):
            checked_name(text)


def plain() -> None: ...


class Base:
    def method(self) -> None: ...

    @classmethod
    def of_class(cls) -> None: ...

    @staticmethod
    def static() -> None: ...

    def __call__(self) -> None: ...


class Derived(Base):
    pass


def nested() -> Callable[[], None]:
    def inner() -> None: ...

    return inner


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (plain, f"{HERE}.plain"),
        (nested(), f"{HERE}.nested.<locals>.inner"),
        (lambda: None, f"{HERE}.<lambda>"),
        (Base().method, f"{HERE}.Base.method"),
        (Base.of_class, f"{HERE}.Base.of_class"),
        (Derived.of_class, f"{HERE}.Base.of_class"),
        (Base.__dict__["of_class"], f"{HERE}.Base.of_class"),
        (Base.__dict__["static"], f"{HERE}.Base.static"),
        (Base(), f"{HERE}.Base"),
        (Derived(), f"{HERE}.Derived"),
        (partial(plain), f"{HERE}.plain"),
        (partial(partial(Base().method)), f"{HERE}.Base.method"),
        (partial(Derived), f"{HERE}.Derived"),
        (partial(Derived()), f"{HERE}.Derived"),
        (functools.partialmethod(Base.method), f"{HERE}.Base.method"),
        (len, "builtins.len"),
        ([].append, "list.append"),
    ],
)
def test_default_names(function: Any, name: str) -> None:
    assert default_name(function) == name
    assert name_of(function) == name


class Odd:
    __qualname__: Any
    __name__: Any

    def __init__(self, qualname: Any, name: Any = None, module: Any = HERE) -> None:
        self.__qualname__ = qualname
        self.__name__ = name
        self.__module__ = module

    def __call__(self) -> None: ...


class Unbound:
    """A proxy such as web frameworks have, outside of a request."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("there is no request")

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (Odd("a\ud800b"), rf"{HERE}.a\ud800b"),
        (Odd("a\0b"), rf"{HERE}.a\x00b"),
        (Odd(7, "named"), f"{HERE}.named"),
        (Odd(7, 8), f"{HERE}.Odd"),
        (Odd("q" * 2000), f"{HERE}.{'q' * 2000}"[:1000]),
        (Odd("", module=None), "unnamed"),
        *((Odd("f", module=module), "f") for module in ("__main__", "__mp_main__", None, "", 7)),
    ],
)
def test_odd_names_are_made_safe(function: Any, name: str) -> None:
    assert default_name(function) == name
    assert checked_name(name) == name
    assert name_of(function) == name


def test_a_proxy_without_its_object_is_named_after_its_class() -> None:
    assert name_of(Unbound()) == default_name(Unbound()) == f"{HERE}.Unbound"


def test_the_name_is_that_of_the_module_that_a_script_is() -> None:
    module = types.ModuleType("__main__")
    exec("def f(): ...", vars(module))  # noqa: S102 - as `python script.py` does

    assert default_name(module.f) == "f"


def outer(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap as most decorators do."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Measured:
    @metrics_collector(name="the method")
    def method(self) -> None: ...

    @classmethod
    @metrics_collector(name="the class's")
    def below(cls) -> None: ...

    @metrics_collector(name="the class's, too")
    @classmethod
    def above(cls) -> None: ...

    @metrics_collector(name="the static one")
    @staticmethod
    def static() -> None: ...

    @metrics_collector(name="the call")
    def __call__(self) -> None: ...

    bound_to_one = functools.partialmethod(method)


class Overridden(Measured):
    def method(self) -> None:
        super().method()


@metrics_collector(name="the function")
def measured() -> None: ...


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (measured, "the function"),
        (Measured.method, "the method"),
        (Measured().method, "the method"),
        (Overridden().method, f"{HERE}.Overridden.method"),
        (Measured.below, "the class's"),
        (Overridden().below, "the class's"),
        (Measured.above, "the class's, too"),
        (Measured.__dict__["above"], "the class's, too"),
        (Measured.static, "the static one"),
        (Measured().static, "the static one"),
        (Measured.__dict__["static"], "the static one"),
        (Measured(), "the call"),
        (Overridden().__call__, "the call"),
        (partial(Overridden()), "the call"),
        (partial(partial(measured)), "the function"),
        (Measured().bound_to_one, "the method"),
        (Measured.bound_to_one, "the method"),
        (Measured.__dict__["bound_to_one"], "the method"),
        (outer(measured), "the function"),
        (outer(outer(measured)), "the function"),
        (partial(outer(measured)), "the function"),
        (functools.lru_cache(measured), "the function"),
        (outer(Measured().method), "the method"),
        (outer(partial(measured)), "the function"),
        (metrics_collector(name="above")(measured), "above"),
        (metrics_collector(outer(measured)), f"{HERE}.measured"),
    ],
)
def test_the_name_of_what_is_measured(function: Any, name: str) -> None:
    assert name_of(function) == name


@pytest.mark.parametrize("mistake", [7, None])
def test_what_has_no_name_is_said(mistake: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"not {type(mistake)}"):
        name_of(mistake)


def test_a_circle_of_wrappers_ends() -> None:
    def function() -> None: ...

    function.__wrapped__ = function  # type: ignore[attr-defined]  # the circle

    assert name_of(function).endswith("function")
    assert str(place_of(function)) == "no Python source"


def test_places() -> None:
    line = sys._getframe().f_lineno

    def function() -> None: ...

    place = f"{__file__}:{line + 2}"
    assert str(place_of(function)) == place
    wrappers: tuple[Any, ...] = (
        outer(outer(function)),
        partial(function),
        functools.lru_cache(outer(function)),
        staticmethod(function),
        classmethod(function),  # type: ignore[arg-type]  # it is never called
        types.MethodType(function, 1),
        metrics_collector(function),
    )
    for wrapper in wrappers:
        assert str(place_of(wrapper)) == place
    assert place_of(Base()) == place_of(Base.__call__)
    assert place_of(Measured()) == place_of(Measured.__call__)
    assert str(place_of(len)) == "no Python source"
