"""Windows, histories and the overview over many functions, beside reading the same rollups and nothing else."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter as clock
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from metrics_collector import MetricsCollector, Settings, flush, history, list_metrics, measure
from metrics_collector._core.rollup_ranges import SECONDS
from metrics_collector._core.totals import Totals
from metrics_collector._reading.reports import overview, overview_report
from metrics_collector._reading.reports.closed_windows import Closed
from metrics_collector._storage.rows import as_row
from tests.benchmarks import load
from tests.benchmarks.harness import Line, Run, Target, line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

MANY = 1000
FEW = 100
BUCKETS = 30
DAY_LIMIT = Target("value", 0.6)
MONTH_LIMIT = Target("value", 0.1)
AGAIN_LIMIT = Target("value", 0.1)


class Database(NamedTuple):
    """One that is filled and read beside our own ways.

    Attributes:
        setting: the one that names it.
        driver: in reference to whose bare reading.
        connect: gives a connection of that driver, with `?` in place of parameters.
    """

    setting: Mapping[str, str]
    driver: str
    connect: Callable[[], AbstractContextManager[Any]]


def lines(run: Run) -> Iterator[Line]:
    """A line for each question."""
    with TemporaryDirectory() as folder:
        path = str(Path(folder, "metrics.db"))
        database = Database(
            {"database_name": path}, "sqlite3", lambda: closing(sqlite3.connect(path))
        )
        yield from asyncio.run(questions(run, database))


async def questions(
    run: Run, database: Database, begin_with: Callable[[], None] = lambda: None
) -> list[Line]:
    """A line for each question to a database with rollups, and what it is to begin with."""
    found: list[Line] = []
    many = run.pick(MANY, FEW)
    settings = Settings(redis_url="memory://", **database.setting)  # type: ignore[arg-type]  # texts
    async with MetricsCollector(settings):
        with measure("benchmark"):
            pass
        await flush()
        await asyncio.to_thread(begin_with)
        await asyncio.to_thread(_fill, database, many)

        async def compare(
            name: str,
            read: tuple[str, float, int],
            target: Target,
            ask: Callable[[], Awaitable[object]],
            begin: Callable[[], None] = lambda: None,
        ) -> None:
            ours, bare = [], []
            for _ in range(run.pick(9, 2)):
                begin()
                start = clock()
                await ask()
                ours.append(clock() - start)
                start = clock()
                await asyncio.to_thread(_read, database, *read)
                bare.append(clock() - start)
            name, aim = f"{name}, {read[-1]:,} functions", None if run.quick else target
            reference = f"the same rollups by {database.driver}, each with json.loads"
            found.append(line(name, ours, reference, bare, target=aim))

        def forget() -> None:
            overview_report._closed = Closed()

        def by(resolution: Literal["hour", "day"], since: str) -> Awaitable[object]:
            return history(None, since=since, resolution=resolution)

        hours = ("hour", time.time() - 24 * 3600, many)
        days = ("day", time.time() - 30 * 86400, FEW)
        name = "list_metrics(since='24h')"
        await compare(name, hours, DAY_LIMIT, lambda: list_metrics(since="24h"))
        name = "history(None, since='24h', resolution='hour')"
        await compare(name, hours, DAY_LIMIT, lambda: by("hour", "24h"))
        name = "overview of 24 h at first"
        await compare(name, hours, DAY_LIMIT, lambda: overview("24h"), forget)
        name = "overview of 24 h from then on"
        await compare(name, hours, AGAIN_LIMIT, lambda: overview("24h"))
        await asyncio.to_thread(_keep, database, FEW)
        name = "history(None, since='30d', resolution='day')"
        await compare(name, days, MONTH_LIMIT, lambda: by("day", "30d"))
    return found


def _fill(database: Database, functions: int) -> None:
    """Two days of minutes and hours, and a month of days, of functions that are called all the time."""
    now = time.time()
    times = load.durations(2000)
    several = [_totals(times[n : n + 400], now) for n in range(0, 1600, 40)]
    with database.connect() as connection:
        for resolution, count in (("minute", 120), ("hour", 49), ("day", 31)):
            seconds = SECONDS[resolution]
            last = int(now) // seconds * seconds
            connection.cursor().executemany(
                "INSERT INTO rollups VALUES (?, ?, ?, '', 0, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (resolution, last - n * seconds, name_of(k), *several[k % len(several)])
                    for n in range(count)
                    for k in range(functions)
                ),
            )
            connection.commit()
        connection.execute("ANALYZE")


def _totals(times: list[float], now: float) -> tuple[Any, ...]:
    totals = Totals()
    for seconds in times:
        totals.add(seconds, now, None)
        if len(totals.counts) > BUCKETS:
            break
    return as_row(totals)


def _keep(database: Database, functions: int) -> None:
    with database.connect() as connection:
        connection.execute("DELETE FROM rollups WHERE func_name >= ?", (name_of(functions),))
        connection.commit()


def name_of(number: int) -> str:
    """The name of a function."""
    return f"shop.function_{number:04}"


def _read(database: Database, resolution: str, since: float, functions: int) -> None:
    with database.connect() as connection:
        rows = connection.execute(
            "SELECT * FROM rollups WHERE resolution = ? AND start >= ? AND func_name < ?",
            (resolution, since, name_of(functions)),
        )
        for row in rows.fetchall():
            json.loads(row[-1])
