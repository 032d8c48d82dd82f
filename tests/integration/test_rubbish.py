"""Rubbish among good entries, through a real worker."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import redis

from metrics_collector import MetricsCollector, Settings, history, list_metrics
from metrics_collector._core.decoding import decode
from metrics_collector._core.entries import MAX_ENTRY_BYTES
from tests.helpers import busy_service, outside, processes
from tests.helpers.pipeline import KEYS, contents

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.redis_server import RedisServer

TIMES = 20


def test_every_good_entry_is_saved_and_each_bad_one_put_aside(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    database = tmp_path / "metrics.db"
    environment = {
        "REDIS_URL": redis_server.url,
        "DATABASE_NAME": str(database),
        "MAX_WAITING_TIME": "1",
    }
    client = redis.Redis.from_url(redis_server.url)
    worker = processes.worker(tmp_path, environment)
    producer = processes.busy_service(tmp_path, environment)
    elements = TIMES * [*outside.BAD, *outside.GOOD]
    random.Random(1).shuffle(elements)
    with worker, producer, client:
        for raw in elements:
            client.rpush("metrics_list", raw)
        assert producer.wait() == 0, producer.output
        assert json.loads(producer.output) == {"recorded": busy_service.CALLS, "dropped": 0}
        worker.until(lambda: not client.exists("metrics_list", KEYS.claims))
        assert client.get(KEYS.claimed) in {None, b"0"}
        asyncio.run(check(Settings(redis_url=redis_server.url, database_name=str(database))))
        assert "Traceback" not in worker.output
        assert worker.terminate() == 0
    assert not (tmp_path / "evaluated").exists()


async def check(settings: Settings) -> None:
    """All of both kinds is in its table, and what people read agrees."""
    found = await asyncio.to_thread(contents, settings.database_name)
    assert set(found.ids.values()) == {1}
    assert len(found.ids) == busy_service.CALLS
    assert found.foreign == TIMES * len(outside.GOOD)
    kept = Counter(raw if isinstance(raw, bytes) else raw.encode() for raw, _ in found.rejected)
    assert kept == Counter(raw[: MAX_ENTRY_BYTES + 1] for raw in TIMES * outside.BAD)
    assert all(reason for _, reason in found.rejected)
    calls = Counter(entry.func_name for entry in found.entries)
    foreign = Counter(entry.func_name for entry in map(decode, outside.GOOD))
    assert all(calls[name] == TIMES * count for name, count in foreign.items())
    async with MetricsCollector(settings):
        assert {m.func_name: m.call_count for m in await list_metrics()} == calls
        points = await history(None, since=datetime(1970, 1, 1, tzinfo=UTC), resolution="day")
        assert sum(point.call_count for point in points) == calls.total()
