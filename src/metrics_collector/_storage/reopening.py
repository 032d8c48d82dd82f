"""Beginning again where a database was closed, or has changed, under whoever used it."""

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


class BeginAgainError(StoreUnavailableError):
    """What was read or written so far counts for nothing; the database can be opened again at once."""


class ClosedByForkError(BeginAgainError):
    """The process forked, and the database was closed for that; it can be opened again at once."""


def reopening(work: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[None, None, T]]:
    """Do the work again, from its beginning, whenever it raises `BeginAgainError`; ten times at most.

    For work that opens the database by itself, and may be done twice. The result is that of the last time.
    """

    @wraps(work)
    async def again(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(_TRIES - 1):
            with suppress(BeginAgainError):
                return await work(*args, **kwargs)
        return await work(*args, **kwargs)

    return again
