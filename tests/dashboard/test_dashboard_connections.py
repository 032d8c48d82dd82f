"""Connections on which nobody asks, or not to the end."""

from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import uvicorn
from uvicorn.server import ServerState

from metrics_collector.dashboard import _connections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from starlette.types import Receive, Scope, Send

LONG = b"." * 20_000_000  # more than the system buffers
HALF = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"


class Client:
    """A connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes = HALF + b"\r\n") -> bytes:
        """The first line of the answer."""
        self._writer.write(request)
        line, *_ = (await self._reader.readuntil(b"done")).splitlines()
        return line

    def begin(self) -> None:
        """Send a part of a request."""
        self._writer.write(HALF)

    def end(self) -> None:
        """Send the rest of it."""
        self._writer.write(b"\r\n")

    async def receive(self, size: int) -> bytes:
        """So many bytes; none are read before."""
        return await self._reader.readexactly(size)

    def another(self) -> AbstractAsyncContextManager[Client]:
        """A further connection to the same server."""
        return connected(self._writer.get_extra_info("peername")[1])

    async def closed(self) -> bool:
        """Wait until the server has closed it."""
        try:
            return not await self._reader.read()
        except ConnectionResetError:
            return True


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """A client of the server at a port."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Client(reader, writer)
    writer.close()


@asynccontextmanager
async def server(
    most: int,
    answering: asyncio.Event,
    body: bytes = b"done",
    answered: asyncio.Event | None = None,
) -> AsyncIterator[list[Client]]:
    """Some clients of a server of which so many may wait; `/` is answered once `answering` is set."""
    length = (b"content-length", str(len(body)).encode())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answering.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})
        if answered is not None:
            answered.set()

    config = uvicorn.Config(app, http=_connections.limited(most), lifespan="off")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()

    def protocol() -> asyncio.Protocol:
        return config.http_protocol_class(config, state, {})  # type: ignore[call-arg]  # as uvicorn itself

    listening = await loop.create_server(protocol, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connected(port)) for _ in range(most + 1)]
    listening.close()


async def test_past_the_limit_the_one_that_waits_longest_is_closed() -> None:
    answering = asyncio.Event()
    answering.set()
    async with server(2, answering) as (first, second, third):
        assert await first.closed()
        for _ in range(2):  # and is kept
            assert await third.ask() == b"HTTP/1.1 200 OK"
        assert await second.ask() == b"HTTP/1.1 200 OK"


async def test_one_that_is_being_answered_does_not_wait() -> None:
    answering = asyncio.Event()
    async with server(3, answering) as (first, second, third, fourth):
        assert await first.closed()
        asking = asyncio.create_task(second.ask())
        third.begin()
        fourth.begin()
        await asyncio.sleep(0)
        answering.set()
        assert await asking == b"HTTP/1.1 200 OK"
        assert await fourth.ask(b"\r\n") == b"HTTP/1.1 200 OK"


async def test_one_that_has_not_all_of_its_answer_is_not_closed_while_another_one_can_be() -> None:
    answering, answered = asyncio.Event(), asyncio.Event()
    answering.set()
    async with server(1, answering, LONG, answered) as (_, slow):
        slow.begin()
        slow.end()
        await answered.wait()
        async with slow.another() as further:
            assert await further.closed()
        assert (await slow.receive(len(LONG))).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("limit", "waiting"), [(256, 64), (100_000, 256), (resource.RLIM_INFINITY, 256)]
)
def test_a_quarter_of_the_descriptors_may_wait(
    monkeypatch: pytest.MonkeyPatch, limit: int, waiting: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert _connections.most() == waiting
