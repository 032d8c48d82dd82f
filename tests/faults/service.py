"""A web service for the tests of its end: each request is one measured call, and so is its being loaded."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from metrics_collector import MetricsCollector, metrics_collector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


@metrics_collector(name="service.load")
def load() -> None:
    """With `--preload`, in the process that forks."""


@metrics_collector(name="service.ask")
async def ask(_request: Request) -> PlainTextResponse:
    """Tells who answers."""
    return PlainTextResponse(str(os.getpid()))


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    async with MetricsCollector():
        yield


load()
app = Starlette(routes=[Route("/", ask)], lifespan=lifespan)
