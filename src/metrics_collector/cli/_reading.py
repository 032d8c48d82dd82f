"""How commands ask for figures."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, TypeVar

from metrics_collector.cli._text import printable

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from metrics_collector._reading.reports import Missing

T = TypeVar("T")


def quiet() -> None:
    """Keep the package's log off the terminal: the command reports what goes wrong, in one line."""
    logging.getLogger("metrics_collector").addHandler(logging.NullHandler())


def run(reading: Coroutine[None, None, T]) -> T:
    """What a coroutine returns, run on a loop of its own."""
    quiet()
    return asyncio.run(reading)


def warn(missing: Missing) -> None:
    """Say on standard error what the figures lack, if anything."""
    if missing.partial:
        sys.stderr.write(f"metrics-collector: {printable(missing.line)}\n")


def none_found(what: str, missing: Missing) -> None:
    """Say on standard error that nothing was found in a window, as far as is known."""
    sys.stderr.write(f"{what} in this time{' are saved' if missing.partial else ''}\n")
