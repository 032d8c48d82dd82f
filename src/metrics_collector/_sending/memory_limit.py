"""The bound on memory: what a process can neither send nor hold goes to the spool, or is dropped and counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from metrics_collector._sending.outbox import BATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from metrics_collector._sending.batch import Batch, Content, Place
    from metrics_collector._sending.outbox import Outbox
    from metrics_collector._support.rate_limited_log import RateLimitedLog


class Shelf(Protocol):
    """Where batches go that memory has no room for: the spool."""

    async def write(
        self, batches: Sequence[tuple[Batch, Content]], done: Callable[[Batch, Place], None], /
    ) -> None:
        """Put batches on disk, and call `done` for each that is there; raises OSError."""


class Bound:
    """Keeps the outbox small enough.

    Args:
        outbox: whose bound it is.
        most: entries held in memory.
        log: where trouble is logged.
        failed: told what went wrong, for `statistics()`.
        shelf: the spool, if there is one.
        batch: entries written in one go.
    """

    def __init__(
        self,
        outbox: Outbox,
        most: int,
        *,
        log: RateLimitedLog,
        failed: Callable[[str], None],
        shelf: Shelf | None = None,
        batch: int = BATCH,
    ) -> None:
        self._outbox = outbox
        self._most = most
        self._log = log
        self._failed = failed
        self._shelf = shelf
        self._batch = batch
        self._writing = asyncio.Lock()

    async def keep(self) -> None:
        """Hold no more entries than allowed; the rest goes to the spool, or is dropped, which is said."""
        # From half of it on: there is room for what is recorded while the disk writes.
        if self._shelf and self._outbox.exposed(embedded=False) > self._most // 2:
            await self.put_aside(keep=self._most // 4)
        if dropped := self._outbox.enforce(self._most):
            self._failed(f"dropped {dropped} entries: more than {self._most} were waiting")
            self._log.trouble(
                "drop",
                "dropped the oldest %d entries, since more than METRICS_MAX_BUFFERED=%d were waiting",
                dropped,
                self._most,
            )

    async def put_aside(self, *, keep: int = 0, sent: bool = False) -> None:
        """Have the spool, if there is one, take what is in memory alone, without the oldest `keep` entries.

        Args:
            keep: entries.
            sent: also what Redis has acknowledged.
        """
        outbox, shelf = self._outbox, self._shelf
        if shelf is None:
            return
        async with self._writing:
            mark = outbox.mark
            # Batch by batch: what has a number cannot be dropped any more, and the disk may take no more.
            while await self._write(shelf, outbox.loose(keep, sent=sent)):
                if not outbox.has_before(mark):
                    return
                await outbox.make_batch(mark, self._batch)

    async def _write(self, shelf: Shelf, batches: Sequence[tuple[Batch, Content]]) -> bool:
        try:
            await shelf.write(batches, self._outbox.shelved)
        except OSError as error:
            what = f"cannot write to METRICS_SPOOL_DIR: {error}"
            self._failed(what)
            self._log.trouble("spool", "%s; entries wait in this process", what)
            return False
        self._log.recovered("spool", "METRICS_SPOOL_DIR takes entries again")
        return True
