"""Reading many hashes: the next ones are asked for before the answers of these are read."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
from redis.asyncio.connection import Connection

from metrics_collector._core.totals import CALLS
from metrics_collector._errors import StoreUnavailableError
from metrics_collector._redis import connection
from metrics_collector._redis.connection import RedisConnection, connect
from tests.helpers.pipeline import KEYS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tests.helpers.pipeline import Commands

ANSWER: Final = b"*2\r\n$1\r\nf\r\n$1\r\n1\r\n"
REFUSED: Final = b"-NOPERM this user has no permissions to access a key\r\n"


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_HASHES", 2)


@asynccontextmanager
async def served_by(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[RedisConnection]:
    """A connection to a server of our own, which gets nothing but what is asked."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    redis = RedisConnection(
        connect(f"redis://127.0.0.1:{port}?max_connections=1"), label="here", known_server=True
    )
    async with server, asyncio.timeout(20):
        try:
            yield redis
        finally:
            await redis.aclose()


async def commands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
    """Read so many commands, beside those that say who the client is."""
    while count:
        length = 2 * int((await reader.readline())[1:])
        command = [await reader.readline() for _ in range(length)]  # each part after its length
        if command[1] == b"CLIENT\r\n":
            writer.write(b"+OK\r\n")
        else:
            count -= 1


def value(fields: Sequence[bytes]) -> bytes:
    return fields[1]


@pytest.mark.parametrize("count", range(6))
async def test_each_hash_is_the_one_of_its_key(redis: Commands, client: Any, count: int) -> None:
    """Whatever lies between them, and however many there are."""
    names = [f"app.{number}" for number in range(count)]
    for number in range(0, count, 2):
        await client.hset(KEYS.totals(names[number]), mapping={CALLS: number, "as_of": 1})
    for name in names[3:4]:
        await client.set(KEYS.totals(name), "of another type")
    live = await redis.reader.live(names)
    assert {name: one.totals.counts for name, one in live.items()} == {
        names[number]: {CALLS: number} for number in range(0, count, 2)
    }
    assert await redis.connection.hashes([*map(KEYS.totals, names)], value) == [
        None if number % 2 else b"%d" % number for number in range(count)
    ]


async def test_the_next_ones_are_asked_for_before_the_answers_come() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await commands(reader, writer, 4)
        writer.write(ANSWER)
        writer.write(ANSWER)
        await commands(reader, writer, 1)
        writer.write(3 * ANSWER)
        await reader.read()

    async with served_by(serve) as redis:
        assert await redis.hashes("abcde", value) == [b"1"] * 5


@pytest.mark.parametrize("answered", range(4))
async def test_what_fails_on_the_way_is_said(answered: int) -> None:
    """Also of those that were asked for ahead; and whoever asks next gets no answer that was left."""
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not left.is_set():
            await commands(reader, writer, 4)
            writer.write(answered * ANSWER + REFUSED)
            assert await reader.read() == b""  # it is closed
            left.set()
        else:
            await commands(reader, writer, 1)
            writer.write(b":7\r\n")
            await reader.read()

    async with served_by(serve) as redis:
        with pytest.raises(StoreUnavailableError, match="no permission to use a key"):
            await redis.hashes("abcd", value)
        await left.wait()
        assert await redis.execute("LLEN", "x") == 7


@pytest.mark.parametrize("cancelled", [True, False])
async def test_whoever_gives_up_leaves_nothing(
    cancelled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No task, and no connection of which answers are still to come."""
    monkeypatch.setattr(connection, "COMMAND_TIMEOUT", 60.0 if cancelled else 0.05)
    asked, left = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await commands(reader, writer, 4)
        writer.write(ANSWER)
        asked.set()
        await reader.read()
        left.set()

    async with served_by(serve) as redis:
        asking = asyncio.create_task(redis.hashes("abcd", value))
        await asked.wait()
        if cancelled:
            asking.cancel()
        with pytest.raises(asyncio.CancelledError if cancelled else StoreUnavailableError):
            await asking
        await left.wait()
        ours = {task for task in asyncio.all_tasks() if "redis" in repr(task.get_coro())}
        assert not ours


@pytest.mark.integration
async def test_a_mistake_of_ours_mixes_up_no_answers(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_yet(_: Connection) -> bool:
        return False

    # As if nothing that is left were there yet when the next one asks.
    monkeypatch.setattr(Connection, "can_read", not_yet)
    client: Any = connect(redis_url)
    redis = RedisConnection(client, label="here")
    await client.hset("a", "f", "1")

    def mistake(_: Sequence[bytes]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await redis.hashes("aaa", mistake)
    assert await redis.execute("HLEN", "a") == 1
    await redis.aclose()
