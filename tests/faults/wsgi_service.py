"""As `service`, for servers that call no coroutines."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from metrics_collector import metrics_collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@metrics_collector(name="service.load")
def load() -> None:
    """In the process that forks, or in each worker."""


@metrics_collector(name="service.ask")
def app(_environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Tells who answers."""
    start("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


load()
