"""The entry points of Taskiq's processes, in this process."""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import TYPE_CHECKING

import pytest
from taskiq.api import run_scheduler_task

from metrics_collector import Settings
from metrics_collector._reading import asking
from metrics_collector._runtime.collector import collector

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def own_settings(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the objects be built anew, with settings that name the test's own Redis."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("MAX_WAITING_TIME", "1")
    monkeypatch.delitem(sys.modules, "metrics_collector.tasks", raising=False)
    collector.reset()
    yield
    collector.reset()


@pytest.mark.usefixtures("own_settings")
async def test_the_scheduler_beats_on_the_redis_of_the_settings(redis_url: str) -> None:
    tasks = importlib.import_module("metrics_collector.tasks")
    settings = Settings(redis_url=redis_url)
    assert await asking.heartbeats(settings, "scheduler") == {}
    running = asyncio.create_task(run_scheduler_task(tasks.scheduler, run_startup=True))
    try:
        async with asyncio.timeout(60):
            while not await asking.heartbeats(settings, "scheduler"):
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.wait({running})
        await tasks.scheduler.shutdown()


def test_there_is_nothing_else() -> None:
    tasks = importlib.import_module("metrics_collector.tasks")
    with pytest.raises(AttributeError, match="no attribute 'schedule'"):
        _ = tasks.schedule
