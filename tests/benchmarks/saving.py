"""Entries a second: into Redis, from there into SQLite, and the whole way."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from contextlib import ExitStack, closing
from functools import partial
from operator import attrgetter
from time import perf_counter as clock
from typing import TYPE_CHECKING, Any

from metrics_collector import Settings
from metrics_collector._core.decoding import decode
from metrics_collector._runtime import assembly
from metrics_collector._sending.memory_limit import MemoryLimit
from metrics_collector._sending.outbox import BATCH
from metrics_collector._sending.sender import Sender
from metrics_collector._storage.sqlite import schema
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.benchmarks import load, programs
from tests.benchmarks.harness import Line, Run, Target, interleaved, line, surroundings
from tests.helpers.pipeline import content_in, lines_of
from tests.helpers.redis_server import patient_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.helpers.redis_server import RedisServer

PLENTY = 10**12
BARE = "executemany, same table and indexes"
RPUSH = f"redis-benchmark RPUSH of {BATCH:,}"
PLAIN = "RPUSH, LRANGE and LTRIM of the same"


def lines(run: Run) -> Iterator[Line]:
    """All of them."""
    with surroundings() as (redis, place):
        count = run.pick(100_000, 10_000)
        samples = interleaved(
            run.pick(9, 1),
            {
                "send": lambda: count / asyncio.run(_send(redis, count)),
                RPUSH: lambda: _rpush(redis, count),
                "save": lambda: count / asyncio.run(save(redis, place, count)),
                BARE: lambda: count / _executemany(place, count),
            },
            warm_up=not run.quick,
        )
    share, ratio = Target("ratio", 0.10, at_least=True), Target("ratio", 0.5, at_least=True)
    sent, saved, pushed, bare = (samples[name] for name in ("send", "save", RPUSH, BARE))
    yield line("one process into Redis", sent, RPUSH, pushed, "/s", target=share)
    yield line("one worker into SQLite", saved, BARE, bare, "/s", target=ratio)
    yield line("one worker into SQLite", saved, RPUSH, pushed, "/s")
    yield from _in_redis(run)
    yield from _end_to_end(run)
    yield from _two_workers(run)


def _in_redis(run: Run) -> Iterator[Line]:
    """What of its processor's time Redis takes for an entry."""
    with surroundings() as (redis, place):
        count = run.pick(100_000, 10_000)
        subjects: dict[str, Callable[[], object]] = {
            "ours": lambda: asyncio.run(save(redis, place, count)),
            PLAIN: lambda: _plain(redis, count),
        }
        taken = {name: partial(_used, redis, act) for name, act in subjects.items()}
        samples = interleaved(run.pick(9, 1), taken, warm_up=not run.quick)
    ours, plain = ([one / count for one in samples[name]] for name in ("ours", PLAIN))
    yield line("Redis's CPU an entry, push to acknowledgement", ours, PLAIN, plain)


def _used(server: RedisServer, act: Callable[[], object]) -> float:
    """Seconds of a processor that Redis uses for what is done."""

    def used() -> float:
        cpu: Any = client.info("cpu")
        return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"])

    with patient_client(server.url) as client:
        before = used()
        act()
        return used() - before


def _plain(server: RedisServer, count: int) -> None:
    """Put the same entries into a list, read them and take them off again."""
    _, some = load.batches(count)
    with patient_client(server.url) as client:
        for batch in some:
            client.rpush("bench", *lines_of(batch))
        client.lrange("bench", 0, -1)
        client.ltrim("bench", count, -1)


def _end_to_end(run: Run) -> Iterator[Line]:
    count = run.pick(200_000, 10_000)
    producers = (1, 2, 4)
    subjects = {str(many): partial(_whole_way, count, many) for many in producers}
    samples = interleaved(run.pick(5, 1), subjects, warm_up=False)
    for many in producers:
        name = f"end to end, {many} producer{'s' * (many > 1)}"
        yield line(name, samples[str(many)], "one producer", samples["1"], "/s")


def _whole_way(count: int, many: int, *, workers: int = 1) -> float:
    """Entries a second, from the first one that waits in Redis to the last one saved."""
    with surroundings() as (redis, place), ExitStack() as running:
        work = {"redis": redis.url, "database": str(place / "db"), "entries": count}
        saving = [
            running.enter_context(programs.start("worker", place, **work)) for _ in range(workers)
        ]
        for _ in range(many):
            sender = programs.start("producer", place, redis=redis.url, entries=count // many)
            running.enter_context(sender)
        return count / max(float(programs.ended(worker)["seconds"]) for worker in saving)


def _two_workers(run: Run) -> Iterator[Line]:
    count = run.pick(400_000, 10_000)
    subjects = {str(many): partial(_whole_way, count, 1, workers=many) for many in (1, 2)}
    samples = interleaved(run.pick(5, 1), subjects, warm_up=False)
    aim = Target("ratio", 1.0, at_least=True)
    yield line("two workers on one database", samples["2"], "one", samples["1"], "/s", target=aim)


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
    size = len(content_in(load.batches(1)[1][0]).payload)
    elements = ["x" * size] * BATCH  # no comma, which the CSV would not bear
    server, rounds = ["-p", str(redis.port)], str(max(count // BATCH, 1))
    command = ["redis-benchmark", *server, "-n", rounds, "-c", "1", "--csv", "RPUSH", "bench"]
    done = subprocess.run([*command, *elements], check=True, capture_output=True, text=True)
    subprocess.run(["redis-cli", *server, "DEL", "bench"], check=True, capture_output=True)
    return float(done.stdout.splitlines()[-1].split(",")[1].strip('"')) * BATCH


async def save(
    redis: RedisServer, folder: Path, count: int, *, functions: int = load.FUNCTIONS
) -> float:
    """Seconds for saving so many entries that wait in Redis, into a new SQLite file."""
    file = str(_fresh(folder / "ours.db"))
    return await save_into({"database_name": file}, redis, count, functions=functions)


async def save_into(
    database: dict[str, str], redis: RedisServer, count: int, *, functions: int = load.FUNCTIONS
) -> float:
    """Seconds for saving so many entries that wait in Redis, into the database that a setting names."""
    settings = Settings(redis_url=redis.url, max_backlog=PLENTY, max_items=PLENTY, **database)  # type: ignore[arg-type]  # texts
    async with assembly.redis_for_a_while(settings) as connection:
        await connection.execute("FLUSHALL")
        producer, some = load.batches(count, functions)
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
    fields = ("func_name", "execution_time", "error_occurred", "created_at", "outcome")
    columns = attrgetter(*fields, "error_type", "entry_id")
    rows = [columns(decode(element)) for batch in some for element in lines_of(batch)]
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        schema.prepare(connection, "bare.db")
        start = clock()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", rows)
        connection.execute("COMMIT")
        return clock() - start
