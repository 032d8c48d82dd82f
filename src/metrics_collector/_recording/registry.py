"""Which functions are measured in this process, and under which names."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import weakref
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

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


class Place(NamedTuple):
    """Where a function is defined, and what tells it from the same function defined anew."""

    file: str
    line: int = 0
    module: str = ""
    qualname: str = ""
    # Each import makes a module, and each reload a spec. The module lives no longer for our sake.
    namespace: weakref.ref[ModuleType] | None = None
    spec: object = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    def succeeds(self, earlier: Place) -> bool:
        """Whether the earlier function is this one: another closure, or what this definition replaces.

        Replaced is what a file defined before it ran anew (a reload, an edited script), and what
        another file defined by the same name in the same namespace, as cells of a notebook do.
        """
        if (self.file, self.line) == (earlier.file, earlier.line):
            return True
        anew = self.namespace != earlier.namespace or self.spec is not earlier.spec
        if self.file == earlier.file:
            return anew and self.module == earlier.module
        return self.namespace is not None and not anew and self.qualname == earlier.qualname


_places: Final[dict[str, Place]] = {}
_contested: Final[dict[str, object]] = {}


def register(name: str, place: Place) -> None:
    """Note that a function, defined at a place, is measured under a name.

    Logs one warning for a name that two functions share, and none for one that is defined anew.
    """
    first = _places.setdefault(name, place)
    if place.succeeds(first):
        _places[name] = place  # so one place is kept, however often a cell is edited
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


def place_of(function: Callable[..., Any]) -> Place:
    """The place of the code that a call runs, underneath all wrappers that say what they wrap."""
    inner: Any = without_wrapping(function)
    candidates: tuple[Any, ...] = (inner, type(inner).__call__)
    for candidate in candidates:
        try:
            found = inspect.unwrap(candidate)
        except ValueError:  # a circle of wrappers
            continue
        code = _attribute(found, "__code__")
        if isinstance(code, CodeType):
            return _place(found, code)
    return Place(_NO_PLACE)


def _place(function: Callable[..., Any], code: CodeType) -> Place:
    module_name = str(_attribute(function, "__module__"))
    place = Place(code.co_filename, code.co_firstlineno, module_name, code.co_qualname)
    module = sys.modules.get(module_name)
    variables = _attribute(function, "__globals__")
    if not isinstance(module, ModuleType) or _attribute(module, "__dict__") is not variables:
        return place  # the code has variables of its own, as `exec` gives them
    return place._replace(namespace=weakref.ref(module), spec=_attribute(module, "__spec__"))


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
