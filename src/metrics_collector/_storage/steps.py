"""What a transaction is made of, for a store that writes it once and has it done in several ways.

A generator yields steps and is sent what each of them gives: on a loop with a thread for the database, or without
either where no thread can be started any more, at the exit of the interpreter.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence

T = TypeVar("T")


class Statement(NamedTuple):
    """One statement; its rows are sent back."""

    sql: str
    parameters: Sequence[Any] = ()


class Many(NamedTuple):
    """One statement, once for each row of parameters; no rows are sent back."""

    sql: str
    rows: Iterable[Sequence[Any]]


class Pause(NamedTuple):
    """No statement, but a moment for the others, on the loop or at the database."""

    seconds: float = 0.0


class Compute(NamedTuple):
    """No statement, but work that would hold up the loop; a list of what it returns is sent back."""

    work: Callable[[], Any]


def compute(work: Callable[[], T]) -> Generator[Compute, Sequence[Any], T]:
    """What some `Compute` returns."""
    (found,) = yield Compute(work)
    result: T = found
    return result


async def drive(
    steps: Generator[Any, list[Any], T], execute: Callable[[Any], Awaitable[list[Any]]]
) -> T:
    """Do what the steps say, in order, and give back what they return."""
    try:
        step = next(steps)
        while True:
            step = steps.send(await execute(step))
    except StopIteration as end:
        result: T = end.value
        return result


if TYPE_CHECKING:
    Pauses = Generator[Pause, object, T]
    """Work on a chunk that lets the loop breathe now and then."""


async def with_pauses(work: Pauses[T]) -> T:
    """What some work returns, done on a loop outside any transaction."""
    while True:
        try:
            pause = next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(pause.seconds)
