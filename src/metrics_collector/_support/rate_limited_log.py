"""Log lines about trouble, at most one a minute for each kind of it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

logger: Final = logging.getLogger("metrics_collector")

QUIET_TIME: Final = 60.0  # seconds


class Notice:
    """Says what is wrong, once a minute at most.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}  # when each kind was logged last
        self._open: set[str] = set()  # kinds of trouble whose end is still to be told

    def warn(self, kind: str, message: str, *arguments: object) -> None:
        """Log a warning, unless one of this kind was logged within the last minute."""
        now = self._clock()
        said = self._said.get(kind)
        if said is None or now - said >= QUIET_TIME:
            self._said[kind] = now
            self._open.add(kind)
            logger.warning(message, *arguments)

    def over(self, kind: str, message: str, *arguments: object) -> None:
        """Log that the trouble of this kind is over, if it was logged.

        That it comes back within the minute is not: what comes and goes would fill the log.
        """
        if kind in self._open:
            self._open.remove(kind)
            logger.info(message, *arguments)
