"""Measured functions for the tests of the decorator, and what is said of their entries."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from metrics_collector import metrics_collector

if TYPE_CHECKING:
    from metrics_collector._recording.recorder import Record

HERE = __name__


def said(entries: list[Record]) -> list[tuple[str, str | None]]:
    """Name and mark of each entry."""
    return [(name, mark) for name, _, _, mark in entries]


async def settle(result: Any) -> Any:
    """The result, awaited if it can be."""
    return await result if inspect.isawaitable(result) else result


class OwnError(Exception):
    """An error that nothing else raises."""


@metrics_collector
def add(a: int, /, b: int = 2, *, c: int = 3) -> int:
    """Add three numbers."""
    return a + b + c


@metrics_collector
async def add_later(a: int, /, b: int = 2, *, c: int = 3) -> int:
    """Add three numbers, some time."""
    await asyncio.sleep(0)
    return a + b + c


class Handler:
    """Handle."""

    timeout: float = 1.0

    def __init__(self, base: int) -> None:
        self.base = base

    def __call__(self, a: int) -> int:
        return self.base + a


class AsyncHandler(Handler):
    async def __call__(self, a: int) -> int:  # type: ignore[override]  # its own kind
        await asyncio.sleep(0)
        return self.base + a
