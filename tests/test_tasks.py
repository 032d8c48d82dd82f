"""The entry points of Taskiq's processes, in this process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from taskiq.api import run_scheduler_task

from metrics_collector import Settings, tasks
from metrics_collector._reading import asking
from metrics_collector._runtime.collector import collector
from metrics_collector._saving.taskiq import scheduler

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def own_settings(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings that name the test's own Redis."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("MAX_WAITING_TIME", "1")
    monkeypatch.setattr(scheduler, "BEAT_EVERY", 0.01)
    monkeypatch.setattr(tasks, "_broker", tasks._broker.__wrapped__)  # not kept
    collector.reset()
    yield collector.settings()
    collector.reset()
    tasks._scheduler.cache_clear()


async def test_the_scheduler_beats_on_the_redis_of_the_settings(own_settings: Settings) -> None:
    assert await asking.heartbeats(own_settings, "scheduler") == {}
    running = asyncio.create_task(run_scheduler_task(tasks.scheduler, run_startup=True))
    try:
        async with asyncio.timeout(60):
            while not (running.done() or await asking.heartbeats(own_settings, "scheduler")):
                await asyncio.sleep(0.01)
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait({running})
        await tasks.scheduler.shutdown()
