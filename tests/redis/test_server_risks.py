"""What a worker says of a Redis that may lose entries."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest

from metrics_collector._redis.connection import RedisConnection, connect
from metrics_collector._redis.server_risks import Risks, risks, server
from tests.helpers.sentinel import PROMPT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.helpers.redis_server import RedisServer

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"appendonly": "yes"}, []),
        ({"save": "60 1"}, []),
        ({"appendonly": "yes", "maxmemory": "100mb"}, []),
        ({"appendonly": "yes", "maxmemory_policy": "allkeys-lru"}, []),  # without a limit
        (
            {"appendonly": "yes", "maxmemory": "100mb", "maxmemory_policy": "volatile-lru"},
            [],  # entries do not expire
        ),
        ({}, ["keeps nothing on disk"]),
        (
            {"maxmemory": "100mb", "maxmemory_policy": "allkeys-lru"},
            ["is allkeys-lru; set it to noeviction", "keeps nothing on disk"],
        ),
    ],
)
async def test_each_danger_is_named_with_its_remedy(
    options: dict[str, str], expected: list[str], start_redis: Callable[..., RedisServer]
) -> None:
    connection = RedisConnection(connect(start_redis(**options).url), label="redis://here")
    found, known = await risks(connection)
    await connection.aclose()
    assert known
    assert len(found) == len(expected)
    for line, part in zip(found, expected, strict=True):
        assert line.startswith("Redis at redis://here ")
        assert part in line


@pytest.mark.parametrize(
    ("replicas", "options", "expected"),
    [
        (0, {}, "has no replica that could take over if it dies; start one"),
        (1, {}, None),
        (2, {}, "is cut off from its replicas"),
        (2, {"min_replicas_to_write": "1"}, None),
    ],
)
async def test_what_sentinels_cannot_prevent(
    replicas: int,
    options: dict[str, str],
    expected: str | None,
    start_redis: Callable[..., RedisServer],
) -> None:
    master = start_redis(appendonly="yes", **PROMPT, **options)
    for _ in range(replicas):
        start_redis(replicaof=f"127.0.0.1 {master.port}")
    label = "redis+sentinel://me:***@one,two/name/0"
    connection = RedisConnection(connect(master.url), label=label)
    while (await connection.ask("INFO", "replication"))["connected_slaves"] != str(replicas):
        await asyncio.sleep(0.01)
    found, known = await risks(connection)
    assert known
    assert len(found) == (expected is not None)
    for line in found:
        assert line.startswith(f"Redis at {label} ")
        assert expected is None or expected in line
    await connection.aclose()
    elsewhere = RedisConnection(connect(master.url), label="redis://here")
    assert (await risks(elsewhere)).dangers == []
    await elsewhere.aclose()


async def test_a_disk_that_fails_is_named(
    start_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    folder = await asyncio.to_thread(tempfile.mkdtemp, dir=tmp_path)
    server = await asyncio.to_thread(start_redis, save="3600 1", dir=folder)
    connection = RedisConnection(connect(server.url), label="here")
    assert await risks(connection) == Risks([], known=True)
    await asyncio.to_thread(Path(folder).rmdir)
    await connection.execute("BGSAVE")
    while not (found := (await risks(connection)).dangers):
        await asyncio.sleep(0.01)
    assert (
        "Redis at here fails to write its data to its disk (rdb_last_bgsave_status: err)"
        in found[0]
    )
    await connection.aclose()


async def test_a_server_that_does_not_say_is_no_danger(redis_server: RedisServer) -> None:
    client = connect(redis_server.url)
    await client.acl_setuser("default", commands=["-info", "-config"], keys=["*"], enabled=True)
    connection = RedisConnection(client, label="here")
    assert await risks(connection) == Risks([], known=False)
    said = await server(connection)
    assert said.version
    assert said.used_memory is said.maxmemory is None
    await client.aclose()


@pytest.mark.parametrize(
    ("answers", "known"),
    [
        ([{"maxmemory": 0}, {"aof_enabled": 0}, {"save": ""}], True),
        ([{"maxmemory": 0}, {"aof_enabled": 0}, {}], False),
        ([{"maxmemory": ""}, {"aof_enabled": 1}], False),
        ([7, [["aof_enabled"], 1], b"no"], False),
        ([AttributeError(), None, []], False),
    ],
)
async def test_an_answer_of_another_shape_says_nothing(answers: list[Any], known: bool) -> None:
    class Client:
        async def execute_command(self, *_: str) -> Any:
            answer = answers.pop(0)
            if isinstance(answer, Exception):  # redis-py's, as it reads INFO
                raise answer
            return answer

    client: Any = Client()
    client.register_script = str
    found = await risks(RedisConnection(client, label="here"))
    assert (found.known, len(found.dangers)) == (known, int(known))


async def test_nor_is_one_that_is_away() -> None:
    server = fakeredis.FakeServer()
    server.connected = False
    client: Any = fakeredis.FakeAsyncRedis(server=server)
    assert await risks(RedisConnection(client, label="here")) == Risks([], known=False)
    await client.aclose()
