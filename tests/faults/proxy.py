"""A TCP proxy before a server, which breaks connections in all the ways that networks do."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 65_536  # bytes


class _Losses:
    """Which replies get lost: those to every `every`-th request with these bytes in it, until `times` were."""

    def __init__(self, to: bytes, times: int, every: int, then: Literal["close", "hang"]) -> None:
        self._to = to
        self._every = every
        self.left = times
        self.then = then
        self._requests = 0

    def meet(self, request: bytes) -> bool:
        if not self.left or self._to not in request:
            return False
        self._requests += 1
        if self._requests % self._every:
            return False
        self.left -= 1
        return True


class _Connection:
    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.writers = [client]  # and that to the server, once it is there
        self.mute = False  # bytes of it were lost, so nothing passes any more
        self.loses_reply = False

    def close(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """A proxy on a free loopback port, in a thread of its own; everything may be switched while it runs."""

    def __init__(self, target: int) -> None:
        self.target = target  # the server's port, for connections that are made from now on
        self.delay = 0.0  # seconds that each piece of an answer is held back
        self._swallows = False
        self._losses = _Losses(b"", 0, 1, "close")
        self._connections: set[_Connection] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._ended: asyncio.Event
        self.port = 0

    @property
    def url(self) -> str:
        """The `redis://` address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self) -> None:
        """Break all connections that there are."""
        self._do(self._close_all)

    @contextmanager
    def half_open(self) -> Iterator[None]:
        """Within this, connections stay, and new ones are taken, but nothing passes in either direction.

        What was open then stays so for good, as where a firewall has forgotten it.
        """
        self._swallows = True
        self._do(self._mute_all)
        try:
            yield
        finally:
            self._swallows = False

    def lose_replies(
        self, *, to: bytes, times: int, every: int, then: Literal["close", "hang"]
    ) -> None:
        """Lose the reply to every so-manieth request with these bytes in it; what becomes of the connection then."""
        self._losses = _Losses(to, times, every, then)

    @property
    def replies_left(self) -> int:
        """How many replies are still to be lost."""
        return self._losses.left

    def _close_all(self) -> None:
        for connection in list(self._connections):
            connection.close()

    def _mute_all(self) -> None:
        for connection in self._connections:
            connection.mute = True

    def _do(self, action: Callable[[], object]) -> None:
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(act)
        done.wait()

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()
        self._close_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(writer)
        self._connections.add(connection)
        connection.mute = self._swallows
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            connection.writers.append(back)
            await asyncio.wait(
                [
                    asyncio.create_task(self._requests(connection, reader, back)),
                    asyncio.create_task(self._replies(connection, there, writer)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        except OSError:
            pass  # the server is not there: the client learns that by the end of its connection
        finally:
            connection.close()
            self._connections.discard(connection)

    async def _requests(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                if not connection.mute:
                    if self._losses.meet(chunk):
                        connection.loses_reply = True
                    writer.write(chunk)
                    await writer.drain()

    async def _replies(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if connection.loses_reply:
                    if self._losses.then == "close":
                        return
                    connection.mute = True
                if not connection.mute:
                    writer.write(chunk)
                    await writer.drain()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
