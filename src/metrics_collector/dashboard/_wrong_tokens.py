"""Wrong tokens: whoever shows one waits for the answer, and the log says that there are some."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from metrics_collector._support.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    from starlette.types import Scope

DELAY: Final = 1.0  # seconds
RETRY_AFTER: Final = "1"  # seconds, as a header
MOST_DELAYED: Final = 20  # of one that is delayed, task and connection stay


class WrongTokens:
    """Those that were shown to one dashboard. The right one is not delayed, however many wrong ones there are."""

    def __init__(self) -> None:
        self._log = RateLimitedLog()
        self._count = 0
        self._delayed = 0

    async def delay(self, scope: Scope) -> bool:
        """Log one that a request has shown, and wait; whether there was room to, as not too many wait already."""
        self._count += 1
        client = scope.get("client")
        self._log.trouble(
            "wrong token",
            "the dashboard has refused a wrong token from %.100r, and %d since it was started",
            client[0] if client else "an unknown address",
            self._count,
        )
        if self._delayed >= MOST_DELAYED:
            return False
        self._delayed += 1
        try:
            await asyncio.sleep(DELAY)
        finally:
            self._delayed -= 1
        return True
