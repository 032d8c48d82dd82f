"""An open store whose operations are steps that a session has done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

P = ParamSpec("P")
T = TypeVar("T")


class Session(Protocol):
    """What does steps."""

    async def run(self, steps: Generator[Any, list[Any], T]) -> T:
        """Do what the steps say, in order, and give back what they return."""


class OnSession:
    """What is open as long as a session is."""

    def __init__(self, session: Session) -> None:
        self._session = session


def asks(
    steps: Callable[P, Generator[Any, list[Any], T]],
) -> Callable[Concatenate[OnSession, P], Coroutine[Any, Any, T]]:
    """A method that has these steps done."""

    async def ask(self: OnSession, /, *args: P.args, **options: P.kwargs) -> T:
        return await self._session.run(steps(*args, **options))

    return ask
