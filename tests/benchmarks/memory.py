"""Bytes: of an entry in each place that it passes, of a function in Redis, and of a worker with much to do."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from metrics_collector import Settings
from metrics_collector._redis.reader_commands import ReaderCommands
from metrics_collector._runtime import assembly
from tests.benchmarks import load, programs, saving
from tests.benchmarks.harness import Line, Run, Target, interleaved, line, surroundings
from tests.helpers.pipeline import KEYS, content_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.redis_server import RedisServer


def lines(run: Run) -> Iterator[Line]:
    """All of them."""
    with surroundings() as (redis, place):

        def buffered(*, bare: bool) -> float:
            count = run.pick(500_000, 50_000)
            return float(programs.run("buffered", place, entries=count, bare=bare)["bytes"])

        subjects = {"ours": lambda: buffered(bare=False), "bare": lambda: buffered(bare=True)}
        samples = interleaved(run.pick(5, 1), subjects, warm_up=False)
        ours, bare = samples["ours"], samples["bare"]
        yield line("an entry in the buffer", ours, "a tuple of three floats", bare, "B")
        yield from _waiting(run, redis, place)
        yield from asyncio.run(_stored(run, redis, place))
    yield from _peak(run)


def _waiting(run: Run, redis: RedisServer, place: Path) -> Iterator[Line]:
    """Of a producer that nobody takes entries from."""
    entries = run.pick(100_000, 20_000)
    element = len(content_in(load.batches(1)[1][0]).payload)

    def held(url: str) -> list[float]:
        found = [programs.run("waiting", place, redis=url, entries=entries) for _ in range(rounds)]
        return [float(one["bytes"]) for one in found]

    rounds = run.pick(3, 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        unsent = held(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
    unsaved = held(redis.url)
    # Three quarters of what such an entry took when this was first measured.
    aims = Target("value", 117), Target("value", 134)
    names = "Redis does not answer", "no worker saves"
    for name, values, aim in zip(names, (unsent, unsaved), aims, strict=True):
        what = f"one of {entries:,} entries waiting in a producer, {name}"
        yield line(what, values, "its JSON", rounds * [element], "B", target=aim)


async def _stored(run: Run, redis: RedisServer, place: Path) -> list[Line]:
    count = run.pick(100_000, 10_000)
    text = load.batches(count)[1]
    element = sum(len(content_in(batch).payload) for batch in text) / count
    settings = Settings(redis_url=redis.url, max_backlog=10**9, max_items=10**9)
    async with assembly.redis_for_a_while(settings) as connection:
        commands = assembly.producer_commands(settings, connection)
        for batch in text:
            await commands.push("0" * 16, batch, 0)

        async def size(key: str) -> int:
            return int(await connection.execute("MEMORY USAGE", key, "SAMPLES", 0) or 0)

        listed = await size(KEYS.metrics_list)
        await saving.save(redis, place, count)
        names = await ReaderCommands(connection).function_names()
        live = [await size(KEYS.totals(name)) for name in names]
        part = [await size(KEYS.saved(name)) for name in names]
        fields = [await connection.execute("HLEN", KEYS.totals(name)) for name in names]
    row = await asyncio.to_thread(lambda: (place / "ours.db").stat().st_size / count)
    json = "its JSON"
    buckets = sum(fields) / len(fields)
    function = (sum(live) + sum(part)) / len(names)
    plain = f"8 B for each of its {buckets:.0f} fields"
    return [
        line("an entry in metrics_list", [listed / count], json, [element], "B"),
        line("an entry in SQLite, with index and rollups", [row], json, [element], "B"),
        line("a function in Redis", [function], plain, [8 * buckets], "B"),
    ]


def _peak(run: Run) -> Iterator[Line]:
    backlog = run.pick(1_000_000, 20_000)
    peaks: dict[str, list[float]] = {"idle": [], "busy": []}
    for _ in range(run.pick(3, 1)):
        with surroundings() as (redis, place):
            for name, entries in (("idle", 0), ("busy", backlog)):
                work = {"redis": redis.url, "entries": entries}
                if entries:
                    programs.run("producer", place, **work)
                told = programs.run("worker", place, **work, database=str(place / name))
                peaks[name].append(told["peak"])
    name, aim = f"peak of a worker, {backlog:,} entries waiting", Target("value", 150e6)
    yield line(name, peaks["busy"], "with none", peaks["idle"], "B", target=aim)
