"""Beginning again where a fork has closed the database."""

from __future__ import annotations

from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from metrics_collector._errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

P = ParamSpec("P")
T = TypeVar("T")

_TRIES: Final = 10


class ClosedByForkError(StoreUnavailableError):
    """The process forked, and the database was closed for that; it can be opened again at once."""


def reopening(work: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[None, None, T]]:
    """Do the work again, from its beginning, when a fork has closed the database under it; ten times at most.

    For work that opens the database by itself, and may be done twice. The result is that of the last time.
    """

    @wraps(work)
    async def again(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(_TRIES - 1):
            with suppress(ClosedByForkError):
                return await work(*args, **kwargs)
        return await work(*args, **kwargs)

    return again
