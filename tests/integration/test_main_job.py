"""The main job, end to end: processes that record, a worker and a scheduler that save, and what can be read then."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import redis

from metrics_collector import MetricsCollector, Settings, history, list_metrics
from tests.helpers import busy_service, processes
from tests.helpers.pipeline import KEYS, foreign
from tests.helpers.rows import rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.redis_server import RedisServer

PROCESSES = 4
EXPECTED = {  # function: calls and errors of one process
    "busy.add": (busy_service.ROUNDS, 0),
    "busy.ask": (busy_service.ROUNDS, busy_service.FAILURES),
    "busy.parse": (busy_service.ROUNDS, busy_service.FAILURES),
    "busy.wait": (busy_service.ROUNDS, 0),
}


def _rows(database: Path) -> dict[str, tuple[int, int]]:
    assert rows(database, "PRAGMA integrity_check") == [("ok",)]
    assert rows(database, "SELECT count(*) = count(DISTINCT id) FROM metrics") == [(1,)]
    counts = "SELECT func_name, count(*), sum(error_occurred) FROM metrics GROUP BY func_name"
    return {name: (calls, errors) for name, calls, errors in rows(database, counts)}


def _times(factor: int) -> dict[str, tuple[int, int]]:
    return {name: (calls * factor, errors * factor) for name, (calls, errors) in EXPECTED.items()}


async def _live(settings: Settings) -> dict[str, tuple[int, int]]:
    async with MetricsCollector(settings):
        return {m.func_name: (m.call_count, m.error_count) for m in await list_metrics()}


def test_four_processes_are_counted_and_saved_exactly(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    database = tmp_path / "metrics.db"
    environment = {
        "REDIS_URL": redis_server.url,
        "DATABASE_NAME": str(database),
        "MAX_WAITING_TIME": "1",
    }
    with ExitStack() as running, redis.Redis.from_url(redis_server.url) as client:
        start = running.enter_context
        worker = start(processes.worker(tmp_path, environment))
        scheduler = start(processes.scheduler(tmp_path, environment))
        names = [f"producer-{number}" for number in range(PROCESSES)]
        producers = [start(processes.busy_service(tmp_path, environment, name)) for name in names]
        for producer in producers:
            assert producer.wait() == 0, producer.output
            assert json.loads(producer.output) == {"recorded": busy_service.CALLS, "dropped": 0}

        worker.until(lambda: not client.exists("metrics_list") and not client.zcard(KEYS.claims))
        assert _rows(database) == _times(PROCESSES)
        settings = Settings(redis_url=redis_server.url, database_name=str(database))
        assert asyncio.run(_live(settings)) == _times(PROCESSES)
        assert client.hget("app:metrics:busy.ask", "call_count") == b"2500"

        assert worker.terminate() == 0
        assert scheduler.terminate() == 0


def test_embedded_with_nothing_else_running_and_totals_go_on_after_a_restart(
    tmp_path: Path,
) -> None:
    database = tmp_path / "metrics.db"
    environment = {"REDIS_URL": "memory://", "DATABASE_NAME": str(database)}
    for runs in (1, 2):
        with processes.busy_service(tmp_path, environment, f"run-{runs}") as service:
            assert service.wait() == 0, service.output
        assert _rows(database) == _times(runs)
        settings = Settings(redis_url="memory://", database_name=str(database))
        assert asyncio.run(_live(settings)) == _times(runs)


def test_what_is_too_old_goes_when_the_scheduler_says_so(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    database = tmp_path / "metrics.db"
    environment = {
        "REDIS_URL": redis_server.url,
        "DATABASE_NAME": str(database),
        "METRICS_RETENTION": "1",
        "METRICS_RETENTION_MINUTE": "3",
    }
    now = time.time()

    def ask(what: str) -> list[int]:
        return [number for (number,) in rows(database, what)]

    with ExitStack() as running, redis.Redis.from_url(redis_server.url) as client:
        for days in (0, 2, 4):
            client.rpush("metrics_list", foreign(at=now - days * 86400))
        worker = running.enter_context(processes.worker(tmp_path, environment))
        worker.until(database.exists)
        worker.until(lambda: not client.exists("metrics_list"))
        worker.until(lambda: not client.zcard(KEYS.claims))
        assert ask("SELECT count(*) FROM metrics") == [3]
        running.enter_context(processes.scheduler(tmp_path, environment))
        worker.until(lambda: ask("SELECT count(*) FROM metrics") == [1])
        counts = "SELECT sum(call_count) FROM rollups WHERE resolution = "
        worker.until(lambda: ask(f"{counts} 'minute'") == [2])
        assert ask(f"{counts} 'hour'") == ask(f"{counts} 'day'") == [3]
        assert ask("SELECT call_count FROM totals") == [3]


def test_an_app_without_the_database_reads_live_figures(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    environment = {"REDIS_URL": redis_server.url, "MAX_WAITING_TIME": "1"}
    unused, own = ({"DATABASE_NAME": str(tmp_path / name)} for name in ("unused.db", "worker.db"))
    with (
        processes.busy_service(tmp_path, environment | unused) as producer,
        processes.worker(tmp_path, environment | own) as worker,
        redis.Redis.from_url(redis_server.url) as client,
    ):
        assert producer.wait() == 0, producer.output
        worker.until(lambda: client.hget("app:metrics:busy.add", "as_of") is not None)
        elsewhere = Settings(redis_url=redis_server.url, database_name=str(tmp_path / "missing.db"))
        assert asyncio.run(_live(elsewhere)) == EXPECTED
        assert not (tmp_path / "missing.db").exists()


async def test_history_has_every_call_saved_or_not(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    settings = Settings(
        redis_url=redis_server.url, database_name=str(tmp_path / "metrics.db"), max_items=10**9
    )
    environment = {"REDIS_URL": redis_server.url, "MAX_ITEMS": "1000000"}
    with processes.busy_service(tmp_path, environment) as producer:
        await asyncio.to_thread(producer.wait)
    async with MetricsCollector(settings) as _:
        points = await history(None, since="1h", resolution="minute")
        assert sum(point.call_count for point in points) == busy_service.CALLS
