"""How commands ask for figures."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def quiet() -> None:
    """Keep the package's log off the terminal: the command reports what goes wrong, in one line."""
    logging.getLogger("metrics_collector").addHandler(logging.NullHandler())


def run(reading: Coroutine[None, None, T]) -> T:
    """What a coroutine returns, run on a loop of its own."""
    quiet()
    return asyncio.run(reading)
