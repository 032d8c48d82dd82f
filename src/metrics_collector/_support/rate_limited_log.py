"""Log lines about trouble, at most one a minute for each kind of it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

logger: Final = logging.getLogger("metrics_collector")

QUIET_TIME: Final = 60.0  # seconds


class RateLimitedLog:
    """Logs warnings, each kind of them once a minute at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged_at: dict[str, float] = {}  # of each kind, the last time
        self._open: set[str] = set()  # kinds of trouble whose end has not been logged

    def trouble(self, kind: str, message: str, *arguments: object) -> None:
        """Log a warning, unless one of this kind was logged within the last minute."""
        now = self._clock()
        logged_at = self._logged_at.get(kind)
        if logged_at is None or now - logged_at >= QUIET_TIME:
            self._logged_at[kind] = now
            self._open.add(kind)
            logger.warning(message, *arguments)

    def recovered(self, kind: str, message: str) -> None:
        """Log that what went wrong works again, if that it did not was logged.

        Trouble that comes back within the minute is not logged again: what comes and goes would fill the log.
        """
        if kind in self._open:
            self._open.remove(kind)
            logger.info(message)
