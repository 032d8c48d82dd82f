"""What Redis has lost before SQL had it, and no process sends again."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from metrics_collector._errors import StoreUnavailableError

if TYPE_CHECKING:
    from metrics_collector._redis.worker_commands import WorkerCommands
    from metrics_collector._support.rate_limited_log import RateLimitedLog

PATIENCE: Final = 90.0  # seconds; a process that lives sends them again within a minute at most


class Losses:
    """Counts such entries with those that their producers have dropped, and logs them."""

    def __init__(self, source: WorkerCommands, log: RateLimitedLog) -> None:
        self._source = source
        self._log = log
        # By producer: how many were lost, and since when (the loop's time).
        self._since: dict[str, tuple[int, float]] = {}

    async def look(self) -> None:
        """Look for them. Where Redis cannot be used, or is full, the next look will do."""
        now = asyncio.get_running_loop().time()
        before, self._since = self._since, {}
        new = 0
        with suppress(StoreUnavailableError):
            for producer, (lost, noted) in (await self._source.lost()).items():
                count, since = before.get(producer, (None, now))
                if count != lost:
                    since = now
                self._since[producer] = lost, since
                if lost != noted and now - since >= PATIENCE:
                    await self._source.store_lost(producer, lost)
                    new += max(0, lost - noted)
        if new:
            self._log.trouble(
                "lost",
                "Redis has lost %d entries before they were saved, and no process sends them again; those that "
                "recorded them have ended",
                new,
            )
