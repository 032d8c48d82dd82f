"""A server that answers as a Sentinel does, with what the test wants it to say."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from ssl import SSLContext

NAME = "mymaster"


class FakeSentinel:
    """What it says of the master can be changed at any time.

    Attributes:
        answer: to `SENTINEL MASTER`, as it is sent; `None`: it never answers.
        port: where it listens, on loopback.
        commands: those that it was sent.
        connected: by how many.
        after: once this one was heard, it answers.
    """

    def __init__(self, port: int, *, epoch: int = 1, flags: str = "master") -> None:
        self.answer: bytes | None = view(port, epoch=epoch, flags=flags)
        self.port = 0
        self.commands: list[list[bytes]] = []
        self.connected = 0
        self.after: FakeSentinel | None = None

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                length = int((await reader.readline())[1:])
                words.append((await reader.readexactly(length + 2))[:-2])
            self.commands.append(words)
            if words[0] != b"SENTINEL":
                writer.write(b"+OK\r\n")
            elif self.answer is not None:
                while self.after and (self.after.connected or not self.after.commands):
                    await asyncio.sleep(0)
                writer.write(self.answer)
        self.connected -= 1
        writer.close()


def view(port: int, *, epoch: int = 1, flags: str = "master") -> bytes:
    """What a Sentinel says of a master at a port on loopback."""
    said = {"ip": "127.0.0.1", "port": port, "flags": flags, "config-epoch": epoch}
    words = [str(word).encode() for pair in said.items() for word in pair]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


@asynccontextmanager
async def watched_by(
    *sentinels: FakeSentinel, credentials: str = "", tls: SSLContext | None = None
) -> AsyncIterator[str]:
    """Runs the Sentinels; gives the URL of their master."""
    servers: list[Any] = []
    try:
        for one in sentinels:
            servers.append(await asyncio.start_server(one, "127.0.0.1", 0, ssl=tls))
            one.port = servers[-1].sockets[0].getsockname()[1]
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in sentinels)
        yield f"{'rediss' if tls else 'redis'}+sentinel://{credentials}{hosts}/{NAME}"
    finally:
        for server in servers:
            server.close()
