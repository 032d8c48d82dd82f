"""The main job with PostgreSQL: producers, worker and scheduler as processes, and everyone who reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis

from tests.helpers import busy_service, processes
from tests.helpers.pipeline import KEYS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.redis_server import RedisServer

PRODUCERS = 2


@pytest.fixture
def environment(redis_server: RedisServer, postgres_url: str) -> dict[str, str]:
    return {
        "REDIS_URL": redis_server.url,
        "METRICS_DATABASE_URL": postgres_url,
        "MAX_WAITING_TIME": "1",
    }


def test_all_is_counted_saved_and_shown(
    redis_server: RedisServer, postgres_url: str, environment: dict[str, str], tmp_path: Path
) -> None:
    def shown(*command: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "metrics_collector", *command],
            env={**os.environ, **environment},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    with ExitStack() as running, redis.Redis.from_url(redis_server.url) as client:
        start = running.enter_context
        workers = [start(processes.worker(tmp_path, environment)) for _ in range(2)]
        scheduler = start(processes.scheduler(tmp_path, environment))
        names = [f"producer-{number}" for number in range(PRODUCERS)]
        for producer in [start(processes.busy_service(tmp_path, environment, n)) for n in names]:
            assert producer.wait() == 0, producer.output
            assert json.loads(producer.output) == {"recorded": busy_service.CALLS, "dropped": 0}
        workers[0].until(
            lambda: not client.exists("metrics_list") and not client.zcard(KEYS.claims)
        )
        with psycopg.connect(postgres_url) as connection:
            counts = connection.execute(
                "SELECT count(*), count(DISTINCT id), sum(error_occurred) FROM metrics_collector.metrics"
            ).fetchone()
        calls = PRODUCERS * busy_service.CALLS
        assert counts is not None
        assert counts[:2] == (calls, calls)

        found = json.loads(shown("stats", "--since", "1h", "--json"))
        assert sum(one["call_count"] for one in found) == calls
        assert sum(one["error_count"] for one in found) == counts[2]
        assert len(shown("export").splitlines()) == calls + 1
        doctor = shown("doctor")
        assert "FAIL" not in doctor
        assert "different databases" not in doctor
        for process in (*workers, scheduler):
            assert process.terminate() == 0, process.output
    assert not [*tmp_path.glob("*.db")]


def test_doctor_says_what_is_wrong(environment: dict[str, str]) -> None:
    environment["METRICS_DATABASE_URL"] += "_that_nobody_made"
    done = subprocess.run(
        [sys.executable, "-m", "metrics_collector", "doctor"],
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    (line,) = [one for one in done.stdout.splitlines() if "FAIL database" in one.replace("  ", " ")]
    assert "make it with CREATE DATABASE" in line
    assert line.count("METRICS_DATABASE_URL") == 1


def test_the_demo_names_the_database_of_the_workers(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "metrics_collector", "demo", "--seconds", "0.1"],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    shown = done.stdout.partition("Workers save to what METRICS_DATABASE_URL names")[2]
    assert environment["METRICS_DATABASE_URL"] in shown
    assert 'psql "$METRICS_DATABASE_URL"' in shown
