"""The outcome of the last send, and whether another one is worth its time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from metrics_collector._sending.outbox import Outbox
    from metrics_collector._support.rate_limited_log import RateLimitedLog

RECENT: Final = 10.0  # seconds after a failed last send in which another one would fail, too


class LastSend:
    """The sends at the end of a run and of the process.

    The exit of a process often follows the end of a run at once. If Redis did not answer then, the exit does not wait
    for it a second time.

    Args:
        limit: the name of what limits their time.
    """

    def __init__(
        self,
        outbox: Outbox,
        log: RateLimitedLog,
        *,
        limit: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._log = log
        self._limit = limit
        self._clock = clock
        self._failed: tuple[int, float] | None = None  # how much had been sent then, and when

    def just_failed(self) -> bool:
        """Whether the last one has just failed, and nothing was sent since."""
        if self._failed is None:
            return False
        sent, at = self._failed
        return sent == self._sent() and self._clock() - at < RECENT

    def ended(self, *, complete: bool, embedded: bool = False) -> None:
        """Note how a last send ended, and log what is lost.

        Args:
            complete: all entries are where they outlive the process.
            embedded: Redis ends with the process, so that what was sent and not saved is lost, too.
        """
        self._failed = None
        if not complete:
            self._failed = self._sent(), self._clock()
            if volatile := self._outbox.count_volatile(embedded=embedded):
                what = "saved" if embedded else "sent"
                text = "%d entries could not be %s within %s"
                self._log.trouble("send", text, volatile, what, self._limit)

    def _sent(self) -> int:
        counts = self._outbox.counts()
        return counts.sent + counts.saved
