"""The connection: a Redis that is full, away, too old or refuses, and every way to reach one."""

from __future__ import annotations

import asyncio
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._core.pipeline_types import Numbered
from metrics_collector._core.totals import Totals
from metrics_collector._errors import IncompatibleStoreError, StoreFullError, StoreUnavailableError
from metrics_collector._redis import connection
from metrics_collector._redis.connection import connect
from metrics_collector._redis.heartbeat import Heartbeat
from metrics_collector._support.settings import mask_url
from tests.helpers.pipeline import (
    DB,
    KEYS,
    PRODUCER,
    Call,
    batch_of,
    commands_on,
    everything,
    lines_of,
    push,
    saved_state,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.helpers.pipeline import Commands
    from tests.helpers.redis_server import RedisServer

PASSWORD = "s3cret:/?#@ä"
QUOTED = "s3cret%3A%2F%3F%23%40%C3%A4"


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Commands]:
    """The commands on a real server, under the label that they would have."""
    redis = commands_on(connect(url), label=mask_url(url), **options)
    try:
        yield redis
    finally:
        await redis.connection.aclose()


@pytest.mark.integration
async def test_a_full_redis_takes_no_batch_but_can_be_drained(redis_url: str) -> None:
    async with opened(redis_url, max_items=1) as redis:
        client = redis.connection._client
        batch = await push(redis, Call(), Call("app.g"), Call("app.new"))
        await client.delete(KEYS.totals("app.new"), KEYS.flush_requested)
        await client.config_set("maxmemory", 1)
        before = await everything(client)
        with pytest.raises(StoreFullError, match="maxmemory"):
            await redis.producer.push(PRODUCER, batch_of(Call(), first=4), 3)
        assert await everything(client) == before
        assert (await redis.producer.push(PRODUCER, batch, 0))[:5] == ("skip", 3, "", True, 0)
        assert (await redis.producer.look(PRODUCER)).kind == "look"
        token = (await redis.worker.claim()).token
        for n, name in enumerate(["app.f", "app.g", "app.new"], start=1):
            functions = saved_state(batch_of(Call(name), first=n), no=n)
            done = await redis.worker.acknowledge(
                token, 4 - n, 1, db=DB, no=n, functions=functions, producers={PRODUCER: f"1-{n}"}
            )
            assert done.taken
        assert await redis.reader.waiting() == 0
        assert (await redis.producer.look(PRODUCER)).saved == "1-3"
        assert (await redis.reader.live(["app.new"]))["app.new"].totals.counts["call_count"] == 1
        await client.config_set("maxmemory", 0)
        await push(redis, Call(), first=4)


@pytest.mark.integration
async def test_connections_to_what_became_a_replica_are_made_anew(redis_url: str) -> None:
    async with opened(redis_url) as redis:
        client = redis.connection._client
        await push(redis, Call())
        await client.replicaof("127.0.0.1", "1")
        before = await client.client_id()
        with pytest.raises(StoreUnavailableError, match="read only replica"):
            await redis.producer.push(PRODUCER, batch_of(Call(), first=2), 1)
        assert await client.client_id() != before
        await client.replicaof("NO", "ONE")
        await push(redis, Call(), first=2)


async def test_scripts_that_redis_forgot_are_loaded_again(redis: Commands, client: Any) -> None:
    await redis.producer.push(PRODUCER, batch_of(Call()), 0)
    await client.script_flush()
    await push(redis, Call(), first=2)
    await client.script_flush()
    token = (await redis.worker.claim()).token
    await client.script_flush()
    assert (await redis.worker.read(token, 5))[0] == 2


@pytest.mark.integration
@pytest.mark.parametrize("steps", range(5))
async def test_a_cancelled_push_may_be_repeated(redis_url: str, steps: int) -> None:
    async with opened(redis_url) as redis:
        await redis.producer.look(PRODUCER)
        batch = batch_of(Call(), Call())
        push = asyncio.create_task(redis.producer.push(PRODUCER, batch, 0))
        for _ in range(steps):
            await asyncio.sleep(0)
        finished = push.done()
        push.cancel()
        await asyncio.wait([push])
        assert push.cancelled() is not finished  # no cancel is lost, which would hang who waits
        assert (await redis.producer.push(PRODUCER, batch, 0)).kind in {"ok", "skip"}
        assert await redis.reader.waiting() == 2


@asynccontextmanager
async def server_saying(
    info: bytes, *, hello: bytes = b"-ERR unknown command 'HELLO'\r\n"
) -> AsyncIterator[str]:
    """A server that knows no commands but HELLO and INFO; gives its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                length = int((await reader.readline())[1:])
                words.append((await reader.readexactly(length + 2))[:-2].upper())
            if words[0] == b"HELLO":
                writer.write(hello)
            elif words[0] == b"INFO":
                writer.write(b"$%d\r\n%s\r\n" % (len(info), info) if info[:1] != b"-" else info)
            elif words[0] in {b"CLIENT", b"SELECT"}:
                writer.write(b"+OK\r\n")
            else:
                writer.write(b"-ERR unknown command\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


def hello_saying(**fields: str) -> bytes:
    words = [word.encode() for field in fields.items() for word in field]
    texts = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    return b"*%d\r\n%s" % (len(words), texts)


@pytest.mark.parametrize("info", [None, b"-ERR unknown command 'INFO'\r\n", b""])
@pytest.mark.parametrize("version", ["2.8.24", "5.0.14", "6.0.20", "6.1.240"])
async def test_an_old_server_is_refused(version: str, info: bytes | None) -> None:
    if info is None:
        info = b"redis_version:%s\r\n" % version.encode()
    async with (
        server_saying(info, hello=hello_saying(server="redis", version=version)) as url,
        opened(url) as redis,
    ):
        message = f"Redis at {url} is version {version}; metrics-collector needs 6.2 or newer"
        for _ in range(2):
            with pytest.raises(IncompatibleStoreError, match=message):
                await redis.producer.push(PRODUCER, batch_of(Call()), 0)
        with pytest.raises(IncompatibleStoreError):
            await redis.worker.claim()


@pytest.mark.parametrize(
    "info",
    [
        *(b"redis_version:%s\r\n" % version for version in (b"6.2.0", b"8", b"255.255.255")),
        b"redis_version:unstable\r\n",
        b"redis_mode:standalone\r\n",
        b"redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n",
        b"-NOPERM this user has no permissions to run the 'info' command\r\n",
        b"-ERR unknown command 'INFO', with args beginning with: 'server'\r\n",
    ],
)
async def test_a_newer_server_and_one_that_does_not_tell_is_fine(info: bytes) -> None:
    async with server_saying(info) as url, opened(url) as redis:
        await redis.connection.check_server()
        with pytest.raises(StoreUnavailableError, match="unknown command"):
            await redis.producer.look(PRODUCER)


@pytest.mark.integration
@pytest.mark.parametrize("refused", [(), ("INFO", "HELLO")])
async def test_a_cluster_is_refused(
    refused: tuple[str, ...],
    start_redis: Callable[..., RedisServer],
    unused_tcp_port: int,
    tmp_path: Path,
) -> None:
    renamed = tmp_path / "renamed.conf"
    renamed.write_text("".join(f'rename-command {name} ""\n' for name in refused))
    server = start_redis(
        cluster_enabled="yes", cluster_port=str(unused_tcp_port), include=str(renamed)
    )
    async with opened(server.url) as redis:
        client: Any = redis.connection._client
        with pytest.raises(IncompatibleStoreError, match="is a Redis Cluster"):  # without slots
            await redis.reader.waiting()
        await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        with pytest.raises(IncompatibleStoreError, match="is a Redis Cluster"):
            await redis.producer.push(PRODUCER, batch_of(Call()), 0)
        assert await client.dbsize() == 0


def told(error: BaseException) -> str:
    """All that a log could show of an error."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(error)


async def test_no_server(unused_tcp_port: int) -> None:
    url = f"redis://worker:{QUOTED}@127.0.0.1:{unused_tcp_port}/0"
    async with opened(url) as redis:
        heartbeat = Heartbeat(redis.connection, "worker", "host:1")
        producer, worker, reader = redis.producer, redis.worker, redis.reader
        for command in (
            producer.push(PRODUCER, batch_of(Call()), 0),
            producer.look(PRODUCER),
            worker.claim(),
            worker.release("0"),
            worker.read("0", 1),
            worker.reconcile(DB, 1, {"app.f": Numbered(Totals(), 1)}),
            reader.live(["app.f"]),
            reader.function_names(),
            anext(reader.pending()),
            reader.waiting(),
            reader.heartbeats("worker"),
            heartbeat.beat({}, 1.0),
            heartbeat.stop(),
            redis.connection.check_server(),
        ):
            with pytest.raises(StoreUnavailableError) as caught:
                await command
            label = f"redis://worker:***@127.0.0.1:{unused_tcp_port}/0"
            assert str(caught.value).startswith(f"Redis at {label} cannot be used: ")
            assert str(caught.value).endswith(f"127.0.0.1:{unused_tcp_port}. Connection refused.")
            assert "s3cret" not in told(caught.value)


async def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "COMMAND_TIMEOUT", 0.05)

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    async with server, opened(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}") as redis:
        with pytest.raises(StoreUnavailableError, match=r"[Tt]imeout"):
            await redis.producer.look(PRODUCER)


def test_a_connection_that_uvloop_finds_closed() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def write_after_the_end() -> None:
        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(host, port)
            await reader.read()
            writer.transport.abort()
            await asyncio.sleep(0)
            writer.write(b"PING\r\n")

    async def ask() -> None:
        async with opened("redis://elsewhere:1/0") as redis:
            with pytest.raises(StoreUnavailableError, match=r"elsewhere:1.*closed"):
                await redis.connection._answer(write_after_the_end())

    uvloop = pytest.importorskip("uvloop", reason="there is no uvloop on Windows")
    uvloop.run(ask())


async def test_a_mistake_of_ours_is_not_taken_for_trouble_with_redis(redis: Commands) -> None:
    async def mistake() -> None:
        raise TypeError

    with pytest.raises(TypeError):
        await redis.connection._answer(mistake())


# Real servers with passwords, sockets and certificates


@pytest.mark.integration
async def test_options_in_the_url_do_not_break_the_reading(redis_url: str) -> None:
    async with opened(f"{redis_url}?decode_responses=yes&protocol=3&socket_timeout=9") as redis:
        await push(redis, Call())
        token = (await redis.worker.claim()).token
        assert await redis.worker.read(token, 1) == (1, lines_of(batch_of(Call())))
        assert (await redis.reader.live(["app.f"]))["app.f"].totals.counts["call_count"] == 1
        assert redis.connection._client.connection_pool.connection_kwargs["socket_timeout"] == 9


@pytest.mark.integration
async def test_users_and_passwords(redis_server: RedisServer) -> None:
    where = f"127.0.0.1:{redis_server.port}/0"
    rules = ["on", f">{PASSWORD}", "~*", "&*", "+@all", "-info", "-hgetall"]
    async with opened(redis_server.url) as redis:
        client: Any = redis.connection._client
        await client.execute_command("ACL", "SETUSER", "worker", *rules)
    async with opened(f"redis://worker:{QUOTED}@{where}") as redis:
        await push(redis, Call())
        with pytest.raises(StoreUnavailableError, match=r"run HGETALL; allow .*\+hgetall"):
            await redis.reader.live(["app.f"])
    async with opened(f"redis://worker:wrong-{QUOTED}@{where}") as redis:
        with pytest.raises(StoreUnavailableError, match=r"worker:\*\*\*@.*invalid") as caught:
            await redis.producer.push(PRODUCER, batch_of(Call()), 0)
        assert "s3cret" not in told(caught.value)


@pytest.mark.integration
async def test_a_unix_socket(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis(requirepass=PASSWORD, port="0")
    async with opened(server.unix_url) as redis:
        await push(redis, Call())
    server.stop()
    async with opened(server.unix_url) as redis:
        with pytest.raises(StoreUnavailableError) as caught:
            await redis.producer.look(PRODUCER)
        assert "s3cret" not in told(caught.value)


@pytest.mark.integration
async def test_tls(
    start_redis: Callable[..., RedisServer], certificate: tuple[Path, Path], unused_tcp_port: int
) -> None:
    cert, key = certificate
    start_redis(
        requirepass=PASSWORD,
        tls_port=str(unused_tcp_port),
        tls_cert_file=str(cert),
        tls_key_file=str(key),
        tls_auth_clients="no",
    )
    url = f"rediss://:{QUOTED}@127.0.0.1:{unused_tcp_port}/0"
    async with opened(f"{url}?ssl_ca_certs={cert}") as redis:
        await push(redis, Call())
    async with opened(url) as redis:  # signed by nobody that is known here
        with pytest.raises(StoreUnavailableError, match=r"(?i)certificate") as caught:
            await redis.producer.look(PRODUCER)
        assert "s3cret" not in told(caught.value)
