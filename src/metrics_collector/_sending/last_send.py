"""How long a last send may take, and when another one would be in vain."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from metrics_collector._sending.outbox import Outbox
    from metrics_collector._support.rate_limited_log import RateLimitedLog

HOPELESS: Final = 10.0  # seconds after a failed last send in which another one would fail too


class LastSend:
    """The sends at the end of a run and of the process.

    The exit of a process often follows that of a run at once. If Redis did not answer there, nobody is to wait for it
    a second time.

    Args:
        outbox: what is sent.
        log: where trouble is logged.
        clock: monotonic seconds.
    """

    def __init__(
        self, outbox: Outbox, log: RateLimitedLog, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._outbox = outbox
        self._log = log
        self._clock = clock
        self._failed: tuple[int, float] | None = None  # how much had been sent then, and when

    def hopeless(self) -> bool:
        """Whether the last one has just failed, and nothing was sent since."""
        if self._failed is None:
            return False
        sent, at = self._failed
        return sent == self._sent() and self._clock() - at < HOPELESS

    def ended(self, *, well: bool, embedded: bool = False) -> None:
        """Note how one went.

        Args:
            well: all that was left is where it outlives the process.
            embedded: Redis ends with the process, so what was sent and not saved is lost with it, too.
        """
        self._failed = None
        if not well:
            self._failed = self._sent(), self._clock()
            if exposed := self._outbox.exposed(embedded=embedded):
                text = "%d entries could not be %s within METRICS_EXIT_TIMEOUT"
                self._log.trouble("send", text, exposed, "saved" if embedded else "sent")

    def _sent(self) -> int:
        counts = self._outbox.counts()
        return counts.sent + counts.saved
