"""Which functions are measured in this process, and under which names."""

from __future__ import annotations

import functools
import inspect
import logging
from types import CodeType
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_NAME: Final = 1_000  # characters
NAME_ATTRIBUTE: Final = "__metrics_name__"
"""Where a wrapper has its name; `functools.wraps` hands it on to wrappers above ours."""

# The names of a script's module: where it is run, and where `multiprocessing` imports it again.
_MAIN_MODULES: Final = frozenset({"__main__", "__mp_main__"})
_NO_PLACE: Final = "no Python source"

_logger = logging.getLogger("metrics_collector")
_places: Final[dict[str, str]] = {}
_contested: Final[dict[str, object]] = {}


def register(name: str, place: str) -> None:
    """Note that a function, defined at a place (`file:line`), is measured under a name.

    Logs one warning for a name that functions of different places share. The closures of one
    factory are of the same place.
    """
    first = _places.setdefault(name, place)
    if first == place:
        return
    token = object()
    # `setdefault` is atomic: of several threads, one finds its own token.
    if _contested.setdefault(name, token) is token:
        _logger.warning(
            "two functions are measured as %r, and their figures added up: %s and %s; "
            'give one of them a name of its own: @metrics_collector(name="...")',
            name,
            first,
            place,
        )


def names() -> frozenset[str]:
    """The names of all functions that were decorated in this process, called or not."""
    return frozenset(_places)


def checked_name(name: object) -> str:
    """The name as given.

    Raises:
        ConfigurationError: it cannot be a name.
    """
    if type(name) is str and name.isascii() and "\0" not in name and 0 < len(name) <= MAX_NAME:
        return name
    if isinstance(name, str):
        text = str.__str__(name)  # an enum's member may write itself differently
        if 0 < len(text) <= MAX_NAME and storable(text):
            return text
        given = f"{text[:40]!r}, of {len(text):,}"
    else:
        given = f"{type(name)}"
    raise ConfigurationError(
        f"a name is a str of 1 to {MAX_NAME:,} characters that UTF-8 can encode, without NUL, not {given}"
    )


def name_of(function: Callable[..., Any]) -> str:
    """The name that calls of `function` are recorded under; its default name if it is undecorated.

    Finds it through bound methods, class and static methods, partials, objects with a measured
    `__call__`, and wrappers made with `functools.wraps`.

    Raises:
        ConfigurationError: it cannot be called.
    """
    seen: list[object] = []
    found: Any = function
    while found is not None and not any(found is one for one in seen):
        for holder in (found, getattr(type(found), "__call__", None)):  # noqa: B004 - not a test
            name = _attribute(holder, NAME_ATTRIBUTE)
            if isinstance(name, str):
                return name
        seen.append(found)
        found = _inside(found)
    if not seen or not callable(seen[-1]):
        raise ConfigurationError(f"give a function or the name of one, not {type(function)}")
    return default_name(function)


def default_name(function: Callable[..., Any]) -> str:
    """`module.qualname`, in `__main__` the qualname alone; of a partial, that of its function.

    An object with `__call__` has the name of its class. Characters that UTF-8 cannot encode, and
    NUL, are written as escapes, and what is longer than 1,000 characters is cut off.
    """
    inner: Any = without_wrapping(function)
    qualname = _attribute(inner, "__qualname__")
    if not isinstance(qualname, str):
        qualname = _attribute(inner, "__name__")
    if not isinstance(qualname, str):
        qualname = type(inner).__qualname__
    module = _attribute(inner, "__module__")
    known = isinstance(module, str) and module and module not in _MAIN_MODULES
    name = f"{module}.{qualname}" if known else qualname
    name = name.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return name[:MAX_NAME] or "unnamed"


def place_of(function: Callable[..., Any]) -> str:
    """`file:line` of the code that a call runs, underneath all wrappers that say what they wrap."""
    inner: Any = without_wrapping(function)
    candidates: tuple[Any, ...] = (inner, type(inner).__call__)
    for candidate in candidates:
        try:
            code = _attribute(inspect.unwrap(candidate), "__code__")
        except ValueError:  # a circle of wrappers
            continue
        if isinstance(code, CodeType):
            return f"{code.co_filename}:{code.co_firstlineno}"
    return _NO_PLACE


def without_wrapping(function: Any) -> Any:
    """The function in a partial, a class method or a static method."""
    while isinstance(
        function, (functools.partial, functools.partialmethod, staticmethod, classmethod)
    ):
        function = _inside(function)
    return function


def _inside(function: Any) -> Any:
    if isinstance(function, (functools.partial, functools.partialmethod)):
        return function.func
    for attribute in ("__func__", "__partialmethod__", "_partialmethod", "__wrapped__"):
        inside = _attribute(function, attribute)
        if inside is not None:
            return inside
    return None


def _attribute(holder: object, attribute: str) -> object:
    # A proxy may raise whatever it likes.
    try:
        return getattr(holder, attribute, None)
    except Exception:  # noqa: BLE001 - see above
        return None


def storable(name: str) -> bool:
    """Whether a text can be a name: UTF-8 can encode it, and it holds no NUL."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name  # where SQLite's texts end
