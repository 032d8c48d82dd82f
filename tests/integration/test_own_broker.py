"""`register_tasks`: the flush on the user's own broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.helpers.processes import Process, taskiq
from tests.helpers.redis_server import patient_client
from tests.helpers.rows import rows, saved

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.redis_server import RedisServer


MAX_ITEMS = 10


def _rows(database: Path) -> dict[str, int]:
    if not saved(database):
        return {}
    return dict(rows(database, "SELECT func_name, count(*) FROM metrics GROUP BY 1"))


def test_it_is_the_one_that_is_asked_for_flushes(redis_server: RedisServer, tmp_path: Path) -> None:
    environment = {
        "REDIS_URL": redis_server.url,
        "DATABASE_NAME": str(tmp_path / "own.db"),
        "MAX_ITEMS": str(MAX_ITEMS),
        # Neither a scheduler's request nor the worker's own timer comes within the test.
        "MAX_WAITING_TIME": "3600",
    }
    with taskiq(
        "worker",
        "tests.helpers.own_broker_app:broker",
        "--workers",
        "1",
        output=tmp_path / "worker.log",
        environment=environment,
    ) as worker:
        redis = patient_client(redis_server.url)
        worker.until(lambda: bool(redis.exists("own") and redis.xinfo_groups("own")))
        with Process(
            ["-m", "tests.helpers.own_broker_app"],
            output=tmp_path / "app.log",
            environment=environment,
        ) as service:
            assert service.wait() == 0, service.output
        # Those that are sent within a second of a request may wait for the next one.
        worker.until(lambda: _rows(tmp_path / "own.db").get("own.ask", 0) >= MAX_ITEMS)
        assert worker.terminate() == 0
        assert "Traceback" not in worker.output
