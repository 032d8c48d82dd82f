"""Cancels a coroutine at one of its awaits, so that a test can try them all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator

T = TypeVar("T")


class CancelledAt(Generic[T]):
    """Awaits what it is given, and cancels the task as that waits for the `number`-th time.

    `waits` counts the times that it has waited.
    """

    def __init__(self, awaitable: Awaitable[T], number: int) -> None:
        self._awaitable = awaitable
        self._number = number
        self.waits = 0

    def __await__(self) -> Generator[Any, None, T]:
        inner = self._awaitable.__await__()
        error: BaseException | None = None
        while True:
            try:
                future = inner.send(None) if error is None else inner.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result
            self.waits += 1
            if self.waits == self._number:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            error = None
            try:
                yield future
            except BaseException as caught:  # noqa: BLE001 - handed on to where it belongs
                error = caught


async def at_each_await(make: Callable[[], Awaitable[object]]) -> AsyncIterator[int]:
    """Cancel what `make` makes at its first await, its second... until one run ends by itself; after each, yield.

    What a cancelled run has left running is waited for.
    """
    number = 0
    while True:
        number += 1
        run = CancelledAt(make(), number)

        async def awaited(run: CancelledAt[object] = run) -> None:
            await run

        task = asyncio.create_task(awaited())
        await asyncio.wait([task])
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        if not task.cancelled():
            task.result()
        yield number
        if run.waits < number:
            return
