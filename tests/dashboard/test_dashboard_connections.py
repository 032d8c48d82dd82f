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

    def send(self, some: bytes) -> None:
        """Send something, a part of a request maybe."""
        self._writer.write(some)

    async def receive(self, size: int) -> bytes:
        """So many bytes; none are read before."""
        return await self._reader.readexactly(size)

    def another(self) -> AbstractAsyncContextManager[Client]:
        """A further connection to the same server."""
        return connected(self._writer.get_extra_info("peername")[1])

    async def closed(self, before: int = 1) -> bool:
        """Wait until the server has closed it; whether that was before it had sent so many bytes."""
        try:
            return len(await self._reader.read()) < before
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
    held: asyncio.Semaphore | None = None,
    pieces: int = 1,
) -> AsyncIterator[list[Client]]:
    """Some clients of a server of which so many may wait; `/` is answered once `answering` is set.

    `held` is released when the server takes no more of an answer before the client has read some.
    """
    length = (b"content-length", str(pieces * len(body)).encode())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answering.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        for left in reversed(range(pieces)):
            await send({"type": "http.response.body", "body": body, "more_body": left > 0})

    config = uvicorn.Config(app, http=_connections.limited(most), lifespan="off")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()

    class Watched(config.http_protocol_class):  # type: ignore[misc,name-defined]  # made by the code under test
        def pause_writing(self) -> None:
            super().pause_writing()
            if held is not None:
                held.release()

    def protocol() -> asyncio.Protocol:
        return Watched(config, state, {})

    listening = await loop.create_server(protocol, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connected(port)) for _ in range(most + 1)]
    listening.close()
    while state.connections:
        await asyncio.sleep(0)


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
        third.send(HALF)
        fourth.send(HALF)
        await asyncio.sleep(0)
        answering.set()
        assert await asking == b"HTTP/1.1 200 OK"
        assert await fourth.ask(b"\r\n") == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("request_", [HALF + b"\r\n", HALF + b"Connection: close\r\n\r\n"])
@pytest.mark.parametrize("pieces", [1, 2])
async def test_of_those_that_do_not_read_the_oldest_is_closed_and_others_are_answered(
    pieces: int, request_: bytes
) -> None:
    answering, held = asyncio.Event(), asyncio.Semaphore(0)
    answering.set()
    async with (
        server(2, answering, LONG, held, pieces) as (_, first, second),
        AsyncExitStack() as stack,
    ):
        for one in (first, second):
            one.send(request_)
            await held.acquire()
        third, reading = [await stack.enter_async_context(first.another()) for _ in range(2)]
        third.send(request_)
        await held.acquire()
        assert await first.closed(pieces * len(LONG))
        # Slow, but not the slowest; and new ones find room, too.
        assert (await second.receive(pieces * len(LONG))).startswith(b"HTTP/1.1 200 OK")
        reading.send(request_)
        assert (await reading.receive(pieces * len(LONG))).startswith(b"HTTP/1.1 200 OK")
        assert (await third.receive(pieces * len(LONG))).startswith(b"HTTP/1.1 200 OK")


class Idle(asyncio.Transport):
    """What a connection writes to: so many bytes of its answer are left, fewer than a server stops at."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.left

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


async def test_a_new_one_is_not_closed_where_all_others_have_not_all_of_their_answer() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None: ...

    limited = _connections.limited(2)
    config = uvicorn.Config(app, http=limited, lifespan="off")
    config.load()
    transports = [Idle(left) for left in (100, 100, 0)]
    for transport in transports:
        limited(config, ServerState(), {}).connection_made(transport)
    assert [transport.aborted for transport in transports] == [True, False, False]


@pytest.mark.parametrize(
    ("limit", "waiting"), [(256, 64), (100_000, 256), (resource.RLIM_INFINITY, 256)]
)
def test_a_quarter_of_the_descriptors_may_wait(
    monkeypatch: pytest.MonkeyPatch, limit: int, waiting: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert _connections.most() == waiting
