"""Bytes: of an entry in each place that it passes, of a function in Redis, and of a worker with much to do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from metrics_collector import Settings
from metrics_collector._redis.reader import ReaderCommands
from metrics_collector._runtime import assembly
from tests.benchmarks import load, programs, saving
from tests.benchmarks.harness import Target, interleaved, line
from tests.helpers.pipeline import KEYS
from tests.helpers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.harness import Line, Run

GROUP = "memory"


def lines(run: Run) -> Iterator[Line]:
    """All of them."""
    with TemporaryDirectory() as folder, RedisServer() as redis:
        place = Path(folder)

        def buffered(*, bare: bool) -> float:
            told = programs.run(
                "buffered", output=place / "b", entries=run.pick(500_000, 50_000), bare=bare
            )
            return float(told["bytes"])

        samples = interleaved(
            run.pick(5, 1),
            {"ours": lambda: buffered(bare=False), "bare": lambda: buffered(bare=True)},
            warm_up=False,
        )
        yield line(
            GROUP,
            "an entry in the buffer",
            samples["ours"],
            "a tuple of three floats",
            samples["bare"],
            "B",
        )
        yield from asyncio.run(_stored(run, redis, place))
    yield from _peak(run)


async def _stored(run: Run, redis: RedisServer, place: Path) -> list[Line]:
    count = run.pick(100_000, 10_000)
    text = load.batches(count)[1]
    element = sum(len(load.content(batch).payload) for batch in text) / count
    settings = Settings(
        redis_url=redis.url,
        database_name=str(place / "ours.db"),
        max_backlog=10**9,
        max_items=10**9,
    )
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
    row = _size(settings.database_name) / count
    json = "its JSON"
    buckets = sum(fields) / len(fields)
    functions = [sum(both) for both in zip(live, part, strict=True)]
    plain = f"8 B for each of its {buckets:.0f} fields"
    return [
        line(GROUP, "an entry in metrics_list", [listed / count], json, [element], "B"),
        line(GROUP, "an entry in SQLite, with index and rollups", [row], json, [element], "B"),
        line(
            GROUP,
            "a function in Redis",
            [sum(functions) / len(functions)],
            plain,
            [8 * buckets],
            "B",
        ),
    ]


def _size(path: str) -> int:
    return Path(path).stat().st_size


def _peak(run: Run) -> Iterator[Line]:
    backlog = run.pick(1_000_000, 20_000)
    peaks: dict[str, list[float]] = {"idle": [], "busy": []}
    for _ in range(run.pick(3, 1)):
        with TemporaryDirectory() as folder, RedisServer() as redis:
            place = Path(folder)
            for name, entries in (("idle", 0), ("busy", backlog)):
                if entries:
                    programs.run("producer", output=place / "p", redis=redis.url, entries=entries)
                told = programs.run(
                    "worker",
                    output=place / "w",
                    redis=redis.url,
                    database=str(place / name),
                    entries=entries,
                )
                peaks[name].append(told["peak"])
    name = f"peak of a worker, {backlog:,} entries waiting"
    yield line(
        GROUP, name, peaks["busy"], "with none", peaks["idle"], "B", target=Target("value", 150e6)
    )
