"""`metrics_collector`: one decorator for whatever can be called.

The wrapper is chosen once, at decoration. In the call it reads the clock twice and hands one tuple
to the recorder; it takes no lock and asks no question that decoration could have answered. Each
wrapper is of its function's own kind (`async def` for `async def`, and so on), because that is what
`inspect` and the frameworks go by.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import types
from time import perf_counter as clock
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from metrics_collector._errors import ConfigurationError
from metrics_collector._recording import recorder, registry
from metrics_collector._recording.recorder import CANCELLED, mark_of
from metrics_collector._support.environment import metrics_enabled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    _AnyFunction = Callable[..., Any]

    _Measurable = (
        Callable[..., Any]
        | classmethod[Any, ..., Any]
        | staticmethod[..., Any]
        | functools.partialmethod[Any]
    )

F = TypeVar("F", bound="_Measurable")

_ABSENT: Final = object()


@overload
def metrics_collector(function: F, /) -> F: ...
@overload
def metrics_collector(*, name: str | None = None) -> Callable[[F], F]: ...
def metrics_collector(function: Any = _ABSENT, /, *, name: str | None = None) -> Any:
    """Measure each call of a function: how long it took, and how it ended.

    ```python
    @metrics_collector
    async def fetch(url: str) -> bytes: ...

    @metrics_collector(name="checkout")
    def pay() -> None: ...
    ```

    Takes functions, coroutine functions, generators, async generators, methods of each sort (above
    or below `@staticmethod` and `@classmethod`), objects with `__call__`, `functools.partial` and
    `partialmethod`. The result is called, awaited, iterated and inspected like the function itself;
    wrong arguments of a coroutine function or generator show at its first step, not at the call.

    An entry is recorded when the call ends. Its outcome is ok, error (an exception, with the name
    of its type; KeyboardInterrupt and SystemExit too) or cancelled (CancelledError, or a coroutine
    that was closed). What is raised reaches the caller unchanged. A generator is measured from its
    first step to its end, and one that is closed early is ok. What never started makes no entry. A
    plain function that returns an awaitable, an iterator or a context manager is measured until it
    returns that. Each decorator makes entries of its own.

    Args:
        function: what is measured.
        name: what the calls are recorded under, at most 1,000 characters; `module.qualname` by
            default, and in `__main__` the qualname alone.

    Returns:
        A wrapper; with METRICS_ENABLED=false the function itself. Without a function, a decorator.

    Raises:
        ConfigurationError: at decoration, for a wrong name, and for what cannot be measured:
            classes, properties, and what cannot be called.
    """
    if name is not None:
        name = registry.checked_name(name)
    if function is _ABSENT:
        return functools.partial(_decorate, name=name)
    return _decorate(function, name)


def _decorate(function: Any, name: str | None) -> Any:
    if isinstance(function, (staticmethod, classmethod)):
        inner = function.__func__
        measured = _decorate(inner, name)
        return function if measured is inner else type(function)(measured)
    if isinstance(function, functools.partialmethod):
        measured = _decorate(function.func, name)
        if measured is function.func:
            return function
        return type(function)(measured, *function.args, **function.keywords)
    _require_measurable(function)
    full_name = name or registry.default_name(function)
    registry.register(full_name, registry.place_of(function))
    if metrics_enabled():
        return _measured(function, full_name)
    if name is not None:
        _keep_name(function, name)
    return function


def _require_measurable(function: object) -> None:
    if isinstance(function, type):
        remedy = f"is a class: decorate its methods, {function.__name__}.__init__ for its creation"
    elif isinstance(function, str):
        remedy = 'is not a function: a name is given as @metrics_collector(name="...")'
    elif isinstance(function, (property, functools.cached_property)):
        remedy = f"is a {type(function).__name__}: put @metrics_collector below it, on its function"
    elif not callable(function):
        remedy = f"is a {type(function).__name__}, which cannot be called: decorate a function"
    else:
        return
    raise ConfigurationError(f"{function!r:.100} {remedy}")


def _keep_name(function: Any, name: str) -> None:
    # A built-in function and an object with `__slots__` have no room for it.
    with contextlib.suppress(AttributeError, TypeError):
        setattr(function, registry.NAME_ATTRIBUTE, name)


def _measured(function: _AnyFunction, name: str) -> _AnyFunction:
    inner = registry.without_wrapping(function)
    if _is(inspect.iscoroutinefunction, inner):
        wrapper: _AnyFunction = _coroutine_function(function, name)
    elif _is(inspect.isasyncgenfunction, inner):
        wrapper = _async_generator(function, name)
    elif _is(_is_generator_based_coroutine, inner):
        wrapper = types.coroutine(_generator(function, name, closed=CANCELLED))
    elif _is(inspect.isgeneratorfunction, inner):
        wrapper = _generator(function, name, closed=None)
    else:
        wrapper = _function(function, name)
    _dress(wrapper, function, inner)
    setattr(wrapper, registry.NAME_ATTRIBUTE, name)
    return wrapper


def _is(kind: Callable[[Any], bool], inner: Any) -> bool:
    return kind(inner) or kind(type(inner).__call__)


def _is_generator_based_coroutine(function: Any) -> bool:
    """Whether `types.coroutine` has made the generator function one whose calls can be awaited."""
    code = getattr(function, "__code__", None)
    return inspect.isgeneratorfunction(function) and bool(
        code and code.co_flags & inspect.CO_ITERABLE_COROUTINE
    )


def _dress(wrapper: Any, function: _AnyFunction, inner: Any) -> None:
    """Give the wrapper the function's name, docstring, attributes and signature."""
    wrapper.__annotations__ = {}  # ours are not those of a function that has none
    if isinstance(getattr(inner, "__qualname__", None), str):
        updated = () if isinstance(inner, type) else functools.WRAPPER_UPDATES
        functools.update_wrapper(wrapper, inner, updated=updated)
    else:  # an object with `__call__`, whose annotations are those of its class's attributes
        functools.update_wrapper(wrapper, inner, assigned=("__module__", "__doc__"))
        wrapper.__name__ = type(inner).__name__
        wrapper.__qualname__ = type(inner).__qualname__
    wrapper.__wrapped__ = function  # a partial's signature lacks the arguments that it has
    for method in ("cache_info", "cache_clear"):  # of `functools.lru_cache`, not in its `__dict__`
        if hasattr(inner, method):
            setattr(wrapper, method, getattr(inner, method))


def _function(function: _AnyFunction, name: str) -> _AnyFunction:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = clock()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            recorder.record((name, start, clock(), mark_of(error)))
            raise
        recorder.record((name, start, clock(), None))
        return result

    return wrapper


def _coroutine_function(function: Callable[..., Awaitable[Any]], name: str) -> _AnyFunction:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = clock()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            recorder.record((name, start, clock(), mark_of(error)))
            raise
        recorder.record((name, start, clock(), None))
        return result

    return wrapper


def _generator(
    function: Callable[..., Generator[Any, Any, Any]], name: str, closed: str | None
) -> _AnyFunction:
    # `yield from` passes all steps on in C. Two things it does not: a `throw` of GeneratorExit
    # becomes `close`, and what `close` returns since Python 3.13 is `None`.
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        start = clock()
        try:
            result = yield from function(*args, **kwargs)
        except GeneratorExit:
            recorder.record((name, start, clock(), closed))
            raise
        except BaseException as error:
            recorder.record((name, start, clock(), mark_of(error)))
            raise
        recorder.record((name, start, clock(), None))
        return result

    return wrapper


def _async_generator(
    function: Callable[..., AsyncGenerator[Any, Any]], name: str
) -> Callable[..., AsyncGenerator[Any, Any]]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        start = clock()
        step: Awaitable[Any] | None = None
        try:
            generator = function(*args, **kwargs)
            step = _first_step(generator)
            while True:
                value = await step
                try:
                    step = generator.asend((yield value))
                except BaseException as error:  # noqa: BLE001 - the generator's to handle
                    # GeneratorExit too: thus `aclose` is what the generator makes of it. It is
                    # awaited outside of this block, or `error` would become the `__context__` of
                    # all that the generator raises from now on.
                    step = generator.athrow(error)
        except StopAsyncIteration:
            recorder.record((name, start, clock(), None))
        except GeneratorExit:
            recorder.record((name, start, clock(), None))
            raise
        except BaseException as error:
            step = None  # it may hold `error`, whose traceback holds this frame
            recorder.record((name, start, clock(), mark_of(error)))
            raise

    return wrapper


def _first_step(generator: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """Start the generator out of sight of the event loop, which is to know the wrapper alone.

    The loop closes each generator that it was shown: at its own shutdown, and when one is garbage.
    If it were shown both, it would close them at the same time, and the later of the two would
    fail because the generator is running already.
    """
    hooks = sys.get_asyncgen_hooks()
    if hooks.finalizer is None and hooks.firstiter is None:
        return generator.__anext__()
    # Both are of this thread, and nothing else runs in it until they are back.
    sys.set_asyncgen_hooks(None, _leave_to_the_wrapper)
    try:
        return generator.__anext__()
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _leave_to_the_wrapper(_generator: AsyncGenerator[Any, Any]) -> None:
    """Do nothing; without a finaliser Python would close it at once, though it may need to await."""
