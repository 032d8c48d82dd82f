"""Entries a second: into Redis, from there into SQLite, and the whole way."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter as clock
from typing import TYPE_CHECKING

from metrics_collector import Settings
from metrics_collector._core.entries import decode
from metrics_collector._runtime import assembly
from metrics_collector._sending.memory_limit import MemoryLimit
from metrics_collector._sending.outbox import BATCH
from metrics_collector._sending.sender import Sender
from metrics_collector._storage.sqlite import schema
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.benchmarks import load, programs
from tests.benchmarks.harness import Target, interleaved, line
from tests.helpers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.harness import Line, Run

GROUP = "saving"
PLENTY = 10**12
BARE = "executemany, same table and indexes"
RPUSH = f"redis-benchmark RPUSH of {BATCH:,}"


def lines(run: Run) -> Iterator[Line]:
    """All of them."""
    with RedisServer() as redis, TemporaryDirectory() as folder:
        count = run.pick(100_000, 10_000)
        samples = interleaved(
            run.pick(9, 1),
            {
                "send": lambda: count / asyncio.run(_send(redis, count)),
                RPUSH: lambda: _rpush(redis, count),
                "save": lambda: count / asyncio.run(save(redis, Path(folder), count)),
                BARE: lambda: count / _executemany(Path(folder), count),
            },
            warm_up=not run.quick,
        )
    firm = Target("value", 250_000, at_least=True)
    yield line(
        GROUP, "one process into Redis", samples["send"], RPUSH, samples[RPUSH], "/s", target=firm
    )
    ratio = Target("ratio", 0.35, at_least=True)
    yield line(
        GROUP, "one worker into SQLite", samples["save"], BARE, samples[BARE], "/s", target=ratio
    )
    yield line(GROUP, "one worker into SQLite", samples["save"], RPUSH, samples[RPUSH], "/s")
    yield from _end_to_end(run)


def _end_to_end(run: Run) -> Iterator[Line]:
    count = run.pick(200_000, 10_000)
    producers = (1, 2, 4)
    samples = interleaved(
        run.pick(5, 1),
        {str(many): lambda many=many: count / _whole_way(count, many) for many in producers},  # type: ignore[misc]  # mypy infers no type of a lambda with a default
        warm_up=False,
    )
    for many in producers:
        name = f"end to end, {many} producer{'s' * (many > 1)}"
        yield line(GROUP, name, samples[str(many)], "one producer", samples["1"], "/s")


def _whole_way(count: int, many: int) -> float:
    """Seconds from the first entry that waits in Redis to the last one saved."""
    with RedisServer() as redis, TemporaryDirectory() as folder:
        place = Path(folder)
        senders = [
            programs.start(
                "producer", output=place / f"producer{i}", redis=redis.url, entries=count // many
            )
            for i in range(many)
        ]
        try:
            told = programs.run(
                "worker",
                output=place / "worker",
                redis=redis.url,
                database=str(place / "db"),
                entries=count,
            )
        finally:
            for sender in senders:
                sender.close()
        return float(told["seconds"])


async def _send(redis: RedisServer, count: int) -> float:
    """Seconds for encoding and sending so many entries."""
    settings = Settings(redis_url=redis.url, max_backlog=PLENTY, max_items=PLENTY)
    outbox = load.filled(count)
    async with assembly.redis_for_a_while(settings) as connection:
        await connection.execute("FLUSHALL")
        commands = assembly.producer_commands(settings, connection)
        await commands.look(outbox.producer)
        log = RateLimitedLog()
        sender = Sender(
            outbox,
            commands,
            interval=0.1,
            memory_limit=MemoryLimit(outbox, PLENTY, log=log, failed=_ignore),
            request_flush=_no_request,
            log=log,
            failed=_ignore,
        )
        start = clock()
        await sender.send(60.0)
        return clock() - start


async def _no_request() -> None: ...


def _ignore(_what: str) -> None: ...


def _rpush(redis: RedisServer, count: int) -> float:
    """Entries a second of Redis's own benchmark, at the same batch size."""
    element = "x" * len(
        load.content(load.batches(1)[1][0]).payload
    )  # no comma, which the CSV would not bear
    command = [
        "redis-benchmark",
        "-p",
        str(redis.port),
        "-n",
        str(max(count // BATCH, 1)),
        "-c",
        "1",
        "--csv",
    ]
    done = subprocess.run(
        [*command, "RPUSH", "bench", *[element] * BATCH], check=True, capture_output=True, text=True
    )
    subprocess.run(
        ["redis-cli", "-p", str(redis.port), "DEL", "bench"], check=True, capture_output=True
    )
    return float(done.stdout.splitlines()[-1].split(",")[1].strip('"')) * BATCH


async def save(
    redis: RedisServer,
    folder: Path,
    count: int,
    *,
    functions: int = load.FUNCTIONS,
    size: int = BATCH,
) -> float:
    """Seconds for saving so many entries that wait in Redis, into a new database."""
    database = _fresh(folder / "ours.db")
    settings = Settings(
        redis_url=redis.url, database_name=str(database), max_backlog=PLENTY, max_items=PLENTY
    )
    async with assembly.redis_for_a_while(settings) as connection:
        await connection.execute("FLUSHALL")
        producer, some = load.batches(count, functions, size)
        commands = assembly.producer_commands(settings, connection)
        for batch in some:
            await commands.push(producer, batch, 0)
        flush = assembly.flush(settings, connection, RateLimitedLog())
        start = clock()
        saved = await flush.drain()
        seconds = clock() - start
    if saved != count:
        raise AssertionError(f"{saved} of {count} were saved")
    return seconds


def _fresh(database: Path) -> Path:
    """The path, with no database there, nor what SQLite keeps beside one."""
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()
    return database


def _executemany(folder: Path, count: int) -> float:
    """Seconds for the rows of as many entries, in one statement and one transaction."""
    database = _fresh(folder / "bare.db")
    _, some = load.batches(count)
    rows = [
        (
            e.func_name,
            e.execution_time,
            e.error_occurred,
            e.created_at,
            e.outcome,
            e.error_type,
            e.entry_id,
        )
        for batch in some
        for e in map(decode, load.content(batch).payload.split(b"\n"))
    ]
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        schema.prepare(connection, "bare.db")
        start = clock()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", rows)
        connection.execute("COMMIT")
        return clock() - start
