"""Workers of one Redis that save to different databases, and those that only seem to."""

from __future__ import annotations

import asyncio
import shutil
import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from metrics_collector import MetricsCollector, Settings, flush, measure
from metrics_collector._reading import asking
from metrics_collector._reading.reports import remedies
from metrics_collector._runtime import assembly
from metrics_collector._runtime.collector import collector
from metrics_collector._saving import worker as worker_module
from metrics_collector._saving.split import Place, databases, split
from metrics_collector._support import rate_limited_log
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.helpers.pipeline import DB, KEYS, OTHER_DB, foreign
from tests.helpers.rows import rows
from tests.helpers.well_running import DATABASE, PIPELINE, SCHEDULER, WORKER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from metrics_collector._reading.reports import DatabaseState, ProcessState
    from tests.helpers.redis_server import RedisServer

HERE = Place("box", "/data/metrics.db", DB)
THERE = Place("other", "/data/metrics.db", OTHER_DB)
ELSEWHERE = replace(WORKER, process="3", db=OTHER_DB, path="/other.db")
NOWHERE = replace(WORKER, db=None, path="/new.db")


@pytest.mark.parametrize(
    "places",
    [
        [],
        [HERE],
        [HERE, HERE._replace(host="container")],
        [HERE, HERE._replace(path="/link.db")],
        [HERE, HERE._replace(db=OTHER_DB)],  # the same file, from before it had this id
        [HERE, Place("box", None, None)],  # of an earlier release
        [HERE, Place("box", "/new.db", None)],  # without a database yet
    ],
)
def test_what_is_one_database(places: list[Place]) -> None:
    assert split(databases(places)) is None


def test_what_is_more_than_one() -> None:
    line = split(databases([THERE, HERE, HERE._replace(path="/link.db")]))
    assert line is not None
    assert "/data/metrics.db on box and /data/metrics.db on other; " in line
    assert "DATABASE_NAME" in line


@pytest.mark.parametrize(
    ("processes", "database", "problems"),
    [
        ((WORKER, SCHEDULER, NOWHERE), DATABASE, []),
        ((WORKER, SCHEDULER, ELSEWHERE), DATABASE, [(True, "/data/metrics.db on box and /other")]),
        ((ELSEWHERE, SCHEDULER), DATABASE, [(False, "save to (/other.db on box), so windows")]),
        ((WORKER, SCHEDULER), replace(DATABASE, exists=False, db=None), [(False, "is not the")]),
        ((NOWHERE, SCHEDULER), replace(DATABASE, exists=False, db=None), []),
        ((WORKER, SCHEDULER), replace(DATABASE, exists=None, db=None), []),
    ],
)
def test_what_a_reader_hears_of_it(
    processes: tuple[ProcessState, ...],
    database: DatabaseState,
    problems: list[tuple[bool, str]],
) -> None:
    report = replace(PIPELINE, processes=processes, database=database)
    found = list(remedies.problems(report))
    assert [(one.part, one.grave) for one in found] == [
        ("database", grave) for grave, _ in problems
    ]
    assert all(text in one.line for one, (_, text) in zip(found, problems, strict=True))


# With a real Redis


def ids_in(path: Path) -> set[str]:
    """The id of a database; the other worker may have been faster, so that there is none yet."""
    tables = "SELECT 1 FROM sqlite_master WHERE name = 'meta'"
    if not path.exists() or not rows(path, tables):
        return set()
    return {db for (db,) in rows(path, "SELECT db FROM meta")}


@asynccontextmanager
async def running(url: str, path: Path, host: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A worker of a host; gives what has it save an entry, and waits until its heartbeat has the database's id then."""
    settings = Settings(redis_url=url, database_name=str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: host)
        worker = assembly.worker(settings, RateLimitedLog())

    async def save() -> None:
        async with assembly.redis_for_a_while(settings) as redis:
            await redis.execute("RPUSH", KEYS.metrics_list, foreign())
        await worker.flush()
        said: set[str | None] = set()
        while said.isdisjoint(await asyncio.to_thread(ids_in, path)):
            await asyncio.sleep(0.01)
            beats = await asking.heartbeats(settings, "worker")
            said = {state["db"] for process, state in beats.items() if process.startswith(host)}

    await worker.start()
    yield save
    await worker.aclose()


@pytest.mark.parametrize(
    ("make", "divided"),
    [
        (lambda path, link: link.symlink_to(path), False),
        (None, True),
        (shutil.copy, True),
    ],
    ids=["a link", "another file", "a copy"],
)
async def test_two_workers(
    redis_server: RedisServer,
    path: Path,
    make: Callable[[Path, Path], object] | None,
    divided: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_module, "RECONCILE_EVERY", 0.05)
    monkeypatch.setattr(worker_module, "BEAT_EVERY", 0.01)
    monkeypatch.setattr(rate_limited_log, "QUIET_TIME", 0.0)
    other = path.with_name("other.db")
    async with running(redis_server.url, path, "one") as one_saves:
        await one_saves()
        if make is not None:
            await asyncio.to_thread(make, path, other)
        async with running(redis_server.url, other, "two") as other_saves:
            rounds = 0
            while rounds < 10 or (divided and "different databases" not in caplog.text):
                await one_saves()
                await other_saves()
                rounds += 1
    lines = [line for line in caplog.messages if "save to different databases" in line]
    assert bool(lines) == divided, lines
    assert all(f"{path} on one" in line and f"{other} on two" in line for line in lines)


@pytest.mark.parametrize("divided", [False, True])
async def test_a_service_that_saves_by_itself(
    redis_server: RedisServer, path: Path, divided: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(redis_server.url, path, "one") as worker_saves:
        await worker_saves()
        own = path.with_name("own.db") if divided else path
        async with MetricsCollector(Settings(redis_url=redis_server.url, database_name=str(own))):
            for _ in range(2):
                with measure("app.f"):
                    pass
                await flush()
    collector.reset()
    lines = [line for line in caplog.messages if "save to different databases" in line]
    assert len(lines) == int(divided), lines
