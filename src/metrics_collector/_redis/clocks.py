"""The clocks of this process and of Redis, of which one may be wrong."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from metrics_collector._redis.refusals import not_allowed

if TYPE_CHECKING:
    from collections.abc import Callable

    from metrics_collector._redis.connection import RedisConnection

TOLERATED: Final = 60.0  # seconds that clocks may differ by


class Clocks(NamedTuple):
    """What both say; UTC epoch seconds. `redis` is `None` if it does not tell."""

    own: float
    redis: float | None

    @property
    def ahead(self) -> float | None:
        """Seconds that this process's clock is ahead of that of Redis; negative if it is behind."""
        return None if self.redis is None else self.own - self.redis

    @property
    def later(self) -> float:
        """For the age of what is kept for some time: where a clock is behind, it is not deleted too early."""
        return self.own if self.redis is None else max(self.own, self.redis)

    @property
    def earlier(self) -> float:
        """For what is deleted by its age: where a clock is ahead, nothing is too early."""
        return self.own if self.redis is None else min(self.own, self.redis)

    @property
    def doubt(self) -> str | None:
        """Why the time of day is not sure, with the remedy; `None` if both clocks agree."""
        if self.ahead is None:
            return f"Redis does not tell its time: {not_allowed(['time'])}"
        if agree(self.ahead):
            return None
        return (
            f"the clock of this machine is {difference(self.ahead)}; set right whichever is wrong"
        )


def agree(ahead: float) -> bool:
    """Whether two clocks agree of which one is so many seconds ahead."""
    return abs(ahead) <= TOLERATED


def difference(ahead: float) -> str:
    """By how much a clock is ahead of that of Redis, or behind it: `2:00:00 ahead of that of Redis`."""
    by = timedelta(seconds=round(abs(ahead)))
    return f"{by} {'ahead of' if ahead > 0 else 'behind'} that of Redis"


async def look(redis: RedisConnection, wall: Callable[[], float] = time.time) -> Clocks:
    """Both clocks now.

    Raises:
        StoreUnavailableError: Redis cannot be reached.
    """
    before = wall()
    said = await redis.time()
    return Clocks((before + wall()) / 2, said)
