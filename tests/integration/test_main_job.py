"""The main job, end to end: processes that record, a worker and a scheduler that save, and what can be read then."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import redis

from metrics_collector import MetricsCollector, Settings, history, list_metrics
from tests.helpers import busy_service
from tests.helpers.pipeline import KEYS
from tests.helpers.processes import Process, taskiq

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
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (rows, ids) = connection.execute(
            "SELECT count(*), count(DISTINCT id) FROM metrics"
        ).fetchone()
        assert rows == ids
        return {
            name: (calls, errors)
            for name, calls, errors in connection.execute(
                "SELECT func_name, count(*), sum(error_occurred) FROM metrics GROUP BY func_name"
            )
        }


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

        def start(*command: str, name: str) -> Process:
            return running.enter_context(
                taskiq(*command, output=tmp_path / name, environment=environment)
            )

        worker = start("worker", "metrics_collector.tasks:broker", name="worker.log")
        scheduler = start("scheduler", "metrics_collector.tasks:scheduler", name="scheduler.log")
        producers = [
            running.enter_context(
                Process(
                    ["-m", "tests.helpers.busy_service"],
                    output=tmp_path / f"producer-{number}.log",
                    environment=environment,
                )
            )
            for number in range(PROCESSES)
        ]
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
        with Process(
            ["-m", "tests.helpers.busy_service"],
            output=tmp_path / f"run-{runs}.log",
            environment=environment,
        ) as service:
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
        with closing(sqlite3.connect(database)) as connection:
            return [number for (number,) in connection.execute(what)]

    with ExitStack() as running, redis.Redis.from_url(redis_server.url) as client:
        for days in (0, 2, 4):
            call = {
                "func_name": "app.f",
                "execution_time": 0.5,
                "error_occurred": 0,
                "created_at": now - days * 86400,
            }
            client.rpush("metrics_list", json.dumps(call))
        worker = running.enter_context(
            taskiq(
                "worker",
                "metrics_collector.tasks:broker",
                output=tmp_path / "worker.log",
                environment=environment,
            )
        )
        worker.until(database.exists)
        worker.until(lambda: not client.exists("metrics_list"))
        worker.until(lambda: not client.zcard(KEYS.claims))
        assert ask("SELECT count(*) FROM metrics") == [3]
        running.enter_context(
            taskiq(
                "scheduler",
                "metrics_collector.tasks:scheduler",
                output=tmp_path / "scheduler.log",
                environment=environment,
            )
        )
        worker.until(lambda: ask("SELECT count(*) FROM metrics") == [1])
        counts = "SELECT sum(call_count) FROM rollups WHERE resolution = "
        worker.until(lambda: ask(f"{counts} 'minute'") == [2])
        assert ask(f"{counts} 'hour'") == ask(f"{counts} 'day'") == [3]
        assert ask("SELECT call_count FROM totals") == [3]


def test_an_app_without_the_database_reads_live_figures(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    environment = {"REDIS_URL": redis_server.url, "MAX_WAITING_TIME": "1"}
    with (
        Process(
            ["-m", "tests.helpers.busy_service"],
            output=tmp_path / "producer.log",
            environment=environment | {"DATABASE_NAME": str(tmp_path / "unused.db")},
        ) as producer,
        taskiq(
            "worker",
            "metrics_collector.tasks:broker",
            output=tmp_path / "worker.log",
            environment=environment | {"DATABASE_NAME": str(tmp_path / "worker.db")},
        ) as worker,
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
    with Process(
        ["-m", "tests.helpers.busy_service"],
        output=tmp_path / "producer.log",
        environment={"REDIS_URL": redis_server.url, "MAX_ITEMS": "1000000"},
    ) as producer:
        await asyncio.to_thread(producer.wait)
    async with MetricsCollector(settings) as _:
        points = await history(None, since="1h", resolution="minute")
        assert sum(point.call_count for point in points) == busy_service.CALLS
