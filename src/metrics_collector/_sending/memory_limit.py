"""The memory limit: what a process can neither send nor hold goes to the spool, or is dropped and counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from metrics_collector._sending.outbox import BATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from metrics_collector._sending.batch import Batch, HasPayload
    from metrics_collector._sending.outbox import Outbox
    from metrics_collector._sending.spool import Spool
    from metrics_collector._support.rate_limited_log import RateLimitedLog


class MemoryLimit:
    """Keeps the outbox at `most` entries: what is too much goes to the spool, in batches, or else is dropped.

    What goes wrong is logged and given to `failed`, for `statistics()`; `remedy` ends the log's line of a drop.
    """

    def __init__(
        self,
        outbox: Outbox,
        most: int,
        *,
        log: RateLimitedLog,
        failed: Callable[[str], None],
        remedy: str = "",
        spool: Spool | None = None,
        batch: int = BATCH,
    ) -> None:
        self._outbox = outbox
        self._most = most
        self._log = log
        self._failed = failed
        self._remedy = remedy
        self._spool = spool
        self._batch = batch
        self._writing = asyncio.Lock()

    async def enforce(self) -> None:
        """Move what is too much to the spool, or drop it; what stays takes little memory."""
        await self._enforce()
        while await self._outbox.compact():
            await self._enforce()

    async def _enforce(self) -> None:
        # From half of the limit on: so there is room for what is recorded while the disk writes.
        if self._spool and self._outbox.count_volatile(embedded=False) > self._most // 2:
            await self.move_to_spool(keep=self._most // 4)
        if dropped := self._outbox.enforce(self._most):
            self._failed(f"dropped {dropped} entries: more than {self._most} were waiting")
            self._log.trouble(
                "drop",
                "dropped the oldest %d entries, since more than the memory limit of %d were waiting%s",
                dropped,
                self._most,
                self._remedy,
            )

    async def move_to_spool(self, *, keep: int = 0, sent: bool = False) -> None:
        """Write entries that are in memory alone to the spool, if there is one, but for the oldest `keep`.

        With `sent` also those that Redis has acknowledged.
        """
        outbox, spool = self._outbox, self._spool
        if spool is None:
            return
        async with self._writing:
            until = outbox.recorded
            # Batch by batch: entries in a batch cannot be dropped any more, and the disk may be full.
            while await self._write(spool, outbox.only_in_memory(keep, sent=sent)):
                if not outbox.holds_before(until):
                    return
                await outbox.make_batch(until, self._batch)

    async def _write(self, spool: Spool, batches: Sequence[tuple[Batch, HasPayload]]) -> bool:
        """Write batches; whether that worked."""
        try:
            await spool.write(batches, self._outbox.spooled)
        except OSError as error:
            what = f"cannot write to the spool folder {spool.folder}: {error}"
            self._failed(what)
            self._log.trouble("spool", "%s; entries wait in this process", what)
            return False
        self._log.recovered("spool", "the spool folder takes entries again")
        return True
