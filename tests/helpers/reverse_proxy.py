"""A reverse proxy that shows a server under a path of its own, as nginx and Traefik do."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOT_HERE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def reverse_proxy(
    server: str, path: str, *, strips: bool, headers: str = ""
) -> AsyncIterator[str]:
    """Show `server`, a host with its port, under a path and nowhere else; gives the proxy's address with that path.

    Args:
        strips: whether what is passed on is without the path.
        headers: lines that each request gets.
    """
    taking: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        taking.add(task)
        task.add_done_callback(taking.discard)
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, asked, rest = head.split(" ", 2)
            below = asked.removeprefix(path)
            if below == asked or below[:1] not in {"", "/", "?"}:
                writer.write(NOT_HERE)
                return
            passed = f"/{below.removeprefix('/')}" if strips else asked
            version, *lines = rest.rstrip().split("\r\n")
            lines = [line for line in lines if not line.lower().startswith("connection:")]
            request = [f"{method} {passed} {version}", *lines, *headers.split("\n")]
            there, back = await asyncio.open_connection(*server.split(":"))
            with closing(back):
                back.write(
                    "\r\n".join([*filter(None, request), "Connection: close\r\n\r\n"]).encode()
                )
                while chunk := await there.read(65_536):
                    writer.write(chunk)
                    await writer.drain()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as proxy:
        yield f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}{path}"
        left = [*taking]  # connections that the browser keeps open
        for one in left:
            one.cancel()
        await asyncio.gather(*left, return_exceptions=True)
