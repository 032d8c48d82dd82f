"""A master that Sentinels name: which one it is, and what happens once it is another one."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import ssl
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from redis import Redis

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._redis import connection, sentinel
from metrics_collector._redis.connection import RedisConnection, connect
from metrics_collector._redis.sentinel import connection_options
from metrics_collector._support.settings import mask_url
from tests.helpers.fake_sentinel import FakeSentinel, view, watched_by
from tests.helpers.sentinel import SentinelGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.helpers.redis_server import RedisServer

pytestmark = pytest.mark.integration

GUIDE = Path(__file__).parents[2] / ".github" / "docs" / "operations.md"
LONG = 3600.0  # seconds: who waits for that never ends
NOBODY = 1  # a port where no server is
HANGS = FakeSentinel(NOBODY)
HANGS.answer = None
DOWN = "s_down,master,disconnected"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisConnection]:
    redis = RedisConnection(connect(url), label=mask_url(url))
    try:
        yield redis
    finally:
        await redis.aclose()


async def failure(url: str) -> str:
    async with opened(url) as redis:
        with pytest.raises(StoreUnavailableError) as caught:
            await redis.execute("PING")
    start = f"Redis at {mask_url(url)} cannot be used: "
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


@pytest.mark.parametrize(
    "views",
    [
        [(True, 1, "master")],
        [(True, 3, "master"), (False, 2, "master"), (False, 2, "master")],
        [(False, 2, "master"), (True, 10, "master"), (True, 10, DOWN)],  # the last sees it as down
        [(True, 1, "master,disconnected"), (True, 1, "master,s_downed")],
        [(True, 1, "master"), (True, 1, "master"), None, None],  # half of them, and no more
    ],
)
async def test_the_newest_view_counts(
    views: list[tuple[bool, int, str] | None],
    shared_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sentinel, "PATIENCE", 0.2)
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", LONG)
    told = [
        FakeSentinel(shared_server.port if one[0] else NOBODY, epoch=one[1], flags=one[2])
        if one
        else HANGS
        for one in views
    ]
    async with watched_by(*told) as url, opened(f"{url}?socket_timeout={LONG}") as redis:
        assert await redis.execute("PING")


async def test_the_first_answer_is_not_enough(shared_server: RedisServer) -> None:
    behind = FakeSentinel(NOBODY)
    told = [FakeSentinel(shared_server.port, epoch=2) for _ in range(2)]
    for one in told:
        one.after = behind
    async with watched_by(behind, *told) as url, opened(url) as redis:
        assert await redis.execute("PING")


async def test_one_that_hangs_or_is_away_keeps_nobody_waiting(
    shared_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((sentinel, "PATIENCE"), (connection, "CONNECT_TIMEOUT")):
        monkeypatch.setattr(module, name, LONG)
    told = [FakeSentinel(shared_server.port) for _ in range(3)]
    async with watched_by(HANGS, *told) as url:
        away = url.replace("/127", f"/127.0.0.1:{NOBODY},127", 1)
        async with opened(f"{away}?socket_timeout={LONG}") as redis:
            assert await redis.execute("PING")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([None, None], "none of its Sentinels answers: no answer in time"),
        (
            [view(NOBODY, flags=DOWN), view(NOBODY, flags="o_down,s_down,master"), None],
            (
                "its Sentinels see the master mymaster as down and have chosen no other one yet; if that lasts, see "
                "whether a replica and more than half of the Sentinels are left"
            ),
        ),
        (
            [None, b"-ERR No such master with that name\r\n"],
            (
                "its Sentinels know no master of the name mymaster; the one that they have been given stands behind "
                "'sentinel monitor' in their configuration"
            ),
        ),
        (
            [b"-NOAUTH Authentication required.\r\n", None],
            (
                "its Sentinels do not name the master: Authentication required.; user and password for them are the "
                "URL's parameters sentinel_username and sentinel_password"
            ),
        ),
        (
            [b"-ERR unknown command 'SENTINEL'\r\n"],  # a Redis
            (
                "its Sentinels do not name the master: unknown command 'SENTINEL'; user and password for them are the "
                "URL's parameters sentinel_username and sentinel_password"
            ),
        ),
    ],
)
async def test_no_master_is_known(
    answers: list[bytes | None], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentinel, "PATIENCE", 0)
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 0.2)
    told = [FakeSentinel(NOBODY) for _ in answers]
    for one, answer in zip(told, answers, strict=True):
        one.answer = answer
    async with watched_by(*told) as url:
        # What is answered says more than that the first one is away.
        first = f"/127.0.0.1:{NOBODY},127" if any(answers) else "/127"
        assert await failure(url.replace("/127", first, 1)) == expected


async def test_no_sentinel_is_there() -> None:
    said = await failure(f"redis+sentinel://:pw@127.0.0.1:{NOBODY},127.0.0.1:{NOBODY}/mymaster")
    assert said.startswith("none of its Sentinels answers: Error 111 connecting to 127.0.0.1:1. ")


def test_a_command_may_hang_for_less_time() -> None:
    url = "redis+sentinel://:pw@host/name"
    (limit, chosen) = (connection_options(f"{url}{more}") for more in ("", "?socket_timeout=9"))
    assert limit["socket_timeout"] < connection.COMMAND_TIMEOUT
    assert chosen["socket_timeout"] == 9


async def test_a_sentinel_does_not_get_the_password_of_redis() -> None:
    one = FakeSentinel(NOBODY)
    async with watched_by(one, credentials="me:pw@") as url:
        await failure(url)
    assert not [words for words in one.commands if words[0] == b"AUTH"]


async def test_each_gets_its_own_credentials_and_options(redis_url: str) -> None:
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    one = FakeSentinel(port)
    with Redis.from_url(redis_url) as admin:
        admin.acl_setuser("me", enabled=True, passwords=["+p%w"], keys="*", commands=["+@all"])
    query = f"?sentinel_username=you&sentinel_password={quote('s+%41ä', safe='+')}&socket_timeout=9"
    async with watched_by(one, credentials="me:p%25w@") as url, opened(f"{url}/3{query}") as redis:
        client: Any = redis._client
        assert await redis.execute("ACL", "WHOAMI") == b"me"
        await client.set("here", 1)
        # Whoever logs a client shows neither password.
        assert "%" not in repr(client).replace("REDACTED", "")
        assert client.connection_pool.connection_kwargs["socket_timeout"] == 9
    with Redis.from_url(f"{redis_url.removesuffix('0')}3") as admin:
        assert admin.exists("here")
    assert one.commands[0] == [b"AUTH", b"you", "s+%41ä".encode()]
    assert one.commands[-1] == [b"SENTINEL", b"MASTER", b"mymaster"]
    assert b"SELECT" not in {words[0] for words in one.commands}


async def test_tls_is_for_both(
    start_redis: Callable[..., RedisServer], certificate: tuple[Path, Path], unused_tcp_port: int
) -> None:
    cert, key = certificate
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)
    files = {"tls_cert_file": str(cert), "tls_key_file": str(key)}
    start_redis(tls_port=str(unused_tcp_port), tls_auth_clients="no", **files)
    async with watched_by(FakeSentinel(unused_tcp_port), tls=tls) as url:
        async with opened(f"{url}?ssl_ca_certs={cert}") as redis:
            assert await redis.execute("PING")
        assert "certificate verify failed" in await failure(url)


@pytest.mark.parametrize("trouble", ["replica", "without replicas", "hangs"])
async def test_a_master_that_is_none_any_more_is_left(
    trouble: str, shared_server: RedisServer, start_redis: Callable[..., RedisServer]
) -> None:
    old = start_redis()
    told = FakeSentinel(old.port)
    async with watched_by(told) as url, opened(f"{url}/7?socket_timeout=0.5") as redis:
        commands = [("SET", "a", 1), ("EVAL", "redis.call('SET', 'b', 1)", 0)]
        for command in commands:
            await asyncio.gather(*(redis.execute(*command) for _ in range(3)))  # three connections
            with Redis.from_url(old.url) as admin:
                if trouble == "replica":
                    admin.replicaof("127.0.0.1", str(NOBODY))
                elif trouble == "without replicas":
                    admin.config_set("min-replicas-to-write", 1)
                else:
                    os.kill(old.pid, signal.SIGSTOP)
            with pytest.raises(StoreUnavailableError):
                await redis.execute(*command)
            told.answer = view(shared_server.port, epoch=2)
            await asyncio.gather(*(redis.execute(*command) for _ in range(3)))
            told.answer = view(old.port, epoch=3)
            await redis._client.connection_pool.disconnect()
            os.kill(old.pid, signal.SIGCONT)
            with Redis.from_url(old.url) as admin:
                admin.replicaof("NO", "ONE")
                admin.config_set("min-replicas-to-write", 0)


async def test_a_cancelled_connect_ends_at_once_and_leaves_no_connection_to_a_sentinel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", LONG)
    hangs = FakeSentinel(NOBODY)
    hangs.answer = None
    async with watched_by(hangs) as url, opened(f"{url}?socket_timeout={LONG}") as redis:
        asking = asyncio.create_task(redis.execute("PING"))
        while not hangs.commands:
            await asyncio.sleep(0)
        assert hangs.connected == 1
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        while hangs.connected:
            await asyncio.sleep(0)


async def test_real_ones_fail_over() -> None:
    (rules,) = re.findall(r"^user (metrics-sentinel .*)", GUIDE.read_text(), re.MULTILINE)
    with SentinelGroup(requirepass="S3CR3T", sentinels={"requirepass": "another"}) as group:
        for one in group.sentinels:
            with Redis.from_url(one.url) as admin:
                admin.execute_command("ACL SETUSER", *rules.replace("PASSWORD", "s3nt1n3l").split())
        base = group.url.replace("://", "://:S3CR3T@")
        url = f"{base}?sentinel_username=metrics-sentinel&sentinel_password=s3nt1n3l"
        async with opened(url) as redis:
            await redis.execute("SET", "a", 1)
            await redis.execute("WAIT", 1, 0)  # until the replica has it
            await asyncio.to_thread(group.fail_over, signal.SIGKILL)
            assert await redis.execute("GET", "a") == b"1"
        assert "know no master of the name other" in await failure(url.replace("mymaster", "other"))
        assert "do not name the master: Authentication required" in await failure(base)
        assert "invalid username-password pair" in await failure(f"{url}x")
