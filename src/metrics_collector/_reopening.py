"""Beginning again what a fork has closed the database under."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from metrics_collector._errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

P = ParamSpec("P")
T = TypeVar("T")


class ClosedByForkError(StoreUnavailableError):
    """The process forked, and the database was closed for that; it can be opened again at once."""


def reopening(work: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[None, None, T]]:
    """Do the work again, from its beginning, each time that a fork has closed the database under it.

    For work that opens the database by itself, and may be done twice.
    """

    @wraps(work)
    async def again(*args: P.args, **kwargs: P.kwargs) -> T:
        while True:
            try:
                return await work(*args, **kwargs)
            except ClosedByForkError:
                continue

    return again
