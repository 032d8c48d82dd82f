"""The flush: claim what waits in Redis, save it, remove it there.

A worker may die or hang at any line here, and two may work on the same claim. The ledger, written in the same
transaction, saves each entry once, and entries are removed from a claim only if it has the length that was read; so
any worker can repeat any step. While a chunk is saved, the next one is read (`claim_reader`).
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from metrics_collector._core.pipeline_types import Numbered
from metrics_collector._core.totals import Totals
from metrics_collector._errors import StoreUnavailableError
from metrics_collector._saving.claim_reader import ClaimReader
from metrics_collector._saving.losses import Losses
from metrics_collector._storage.reopening import ClosedByForkError, reopening
from metrics_collector._support.groups import in_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from metrics_collector._core.pipeline_types import Saved
    from metrics_collector._redis.clocks import Clocks
    from metrics_collector._redis.worker_commands import WorkerCommands
    from metrics_collector._storage.base import Store, StoreWriter
    from metrics_collector._support.rate_limited_log import RateLimitedLog

CHUNK: Final = 40_000  # entries in one transaction, or fewer where they are of very many functions
FUNCTIONS: Final = 500  # reconciled in one call
DAY: Final = 86400.0


class Flush:
    """Saves what waits in Redis, and reconciles its totals with SQL.

    Args:
        source: Redis, as a worker uses it.
        store: opened for each drain.
        ledger_days: days that the ledger keeps a producer that sends no more.
        wall: UTC epoch seconds.
    """

    def __init__(
        self,
        source: WorkerCommands,
        store: Store,
        *,
        ledger_days: float,
        log: RateLimitedLog,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._store = store
        self._ledger_seconds = ledger_days * DAY
        self._log = log
        self._wall = wall
        # The random id that Redis had at the last claim: with another one it has lost its data meanwhile.
        self.life: str | None = None
        self.db: str | None = None  # the id of the database when it was last asked for it
        self._chunk = CHUNK  # entries that one request acknowledges
        self._losses = Losses(source, log)

    async def drain(self, *, ignore_leases: bool = False, once: bool = False) -> int:
        """Save what waits in Redis, until nothing does; the number of entries newly saved.

        Args:
            ignore_leases: take over other workers' claims too; each entry is saved once all the same.
            once: end with those that are in `metrics_list` at the call, however many follow.

        Raises:
            StoreUnavailableError: Redis or the database cannot be used; the entries stay in Redis.
            IncompatibleStoreError: the database is too new, or not ours; the entries stay in Redis.
        """
        saved = 0
        while True:
            claim = await self._source.claim(ignore_leases=ignore_leases)
            self.life = claim.life
            if not claim.token:
                return saved
            try:
                saved += await self._save_claim(claim.token)
            except BaseException:
                # So that the next try need not wait until the lease expires.
                with suppress(StoreUnavailableError):
                    await self._source.release(claim.token)
                raise
            if once and claim.fresh:
                return saved

    async def _save_claim(self, token: str) -> int:
        """Save a whole claim; the number of entries newly saved."""
        now = (await self.clocks()).later
        reader = ClaimReader(self._source, token)
        try:
            return await self._save_all(token, reader, now)
        finally:
            await reader.aclose()

    async def _save_all(self, token: str, reader: ClaimReader, now: float) -> int:
        saved = 0
        while True:
            # If a fork has closed the database, it is opened again.
            with suppress(ClosedByForkError):
                async with self._store.writing() as writer:
                    while True:
                        # Not read again after a fork: with frequent forks no chunk would ever be saved.
                        chunk = await reader.head(self._chunk)
                        length, count = chunk.length, len(chunk.elements)
                        if not count:
                            # Another worker saved it, too, or Redis lost it. This removes its lease.
                            await self._acknowledge(token, length, 0, None, writer)
                            return saved
                        done = await writer.save(chunk, now)
                        if done is None:
                            break  # the file was replaced: save into the one that is there now
                        saved += done.saved
                        self._log_rejected(done.rejected)
                        await reader.settle()
                        taken = await self._acknowledge(token, length, count, done, writer)
                        if taken and length == count:
                            return saved
                        await reader.go_on(taken=taken)

    def _log_rejected(self, count: int) -> None:
        if count:
            self._log.trouble(
                "rejected",
                "%d malformed entries were not saved as metrics; see the table rejected_entries",
                count,
            )

    async def _acknowledge(
        self, token: str, length: int, count: int, done: Saved | None, writer: StoreWriter
    ) -> bool:
        """Remove the first elements of a claim; whether it was as long as it was when they were read."""
        db, no = (done.db, done.no) if done else await writer.state()
        self.db = db
        taken, ahead, share = await self._source.acknowledge(
            token,
            length,
            count,
            db=db,
            no=no,
            functions=done.functions if done else {},
            producers=done.producers if done else {},
        )
        if share > 1:
            # They are read again, fewer at a time: the ledger knows that SQL has them.
            self._chunk = max(1, int(count / share))
        elif (
            count == self._chunk and share < 1 / 2
        ):  # twice as many have at most twice as many functions
            self._chunk = min(2 * self._chunk, CHUNK)
        await self._renew_id_if_restored(db, ahead, writer)
        return taken

    async def _renew_id_if_restored(
        self, db: str, ahead: Mapping[str, int], writer: StoreWriter
    ) -> bool:
        """Give the database a new id if it is an older copy of itself; whether it was one.

        Then Redis has totals of a later commit than SQL has, and would ignore earlier ones under the same id. That is
        also so where another worker was faster than this one; so SQL is asked again.
        """
        if not ahead:
            return False
        _, no = await writer.state()
        known = await writer.totals_of(ahead)
        if all(seen <= (known[name].no if name in known else no) for name, seen in ahead.items()):
            return False
        self.db = await writer.draw_new_db(db)
        return True

    @reopening
    async def reconcile(self) -> None:
        """Make the live totals what SQL and the entries in Redis say, and delete expired rows of the ledger.

        What the store warns of is logged. Claims that no worker would find are there for the next drain.

        Raises:
            StoreUnavailableError: Redis or the database cannot be used.
            IncompatibleStoreError: the database is too new, or not ours.
        """
        await self._source.adopt_claims()
        if await self._all_empty():
            return
        async with self._store.writing() as writer:
            clocks = await self.clocks()
            if (doubt := clocks.doubt) is None:
                await writer.forget_old_ledger(clocks.earlier - self._ledger_seconds)
            else:
                self._log.trouble("clocks", "nothing is deleted by its age: %s", doubt)
            while await self._reconcile_all(writer):
                pass
        warning = await self._store.warning()
        if warning is None:
            self._log.recovered("store", "what the database had warned of is over")
        else:
            self._log.trouble("store", "%s", warning)

    async def report_lost(self) -> None:
        """Count and log what Redis has lost and no process sends again."""
        await self._losses.look()

    async def clocks(self) -> Clocks:
        """The clock of this process, and that of Redis.

        Raises:
            StoreUnavailableError: Redis cannot be used.
        """
        return await self._source.clocks(self._wall)

    async def _all_empty(self) -> bool:
        """Whether neither SQL nor Redis has any function: then no file is made."""
        async with self._store.reading() as reader:
            if reader is not None:
                return False
        return not await self._source.function_names()

    async def _reconcile_all(self, writer: StoreWriter) -> bool:
        """Give Redis what SQL has of every function; whether to do that again, as the database has a new id."""
        db, no = await writer.state()
        self.db = db
        names = {*await writer.function_names()} | await self._source.function_names()
        ahead: dict[str, int] = {}
        # In groups: there may be any number of functions, each with hundreds of buckets.
        for some in in_groups(sorted(names), FUNCTIONS):
            known = await writer.totals_of(some)
            totals = {name: known.get(name) or Numbered(Totals(), no) for name in some}
            ahead |= await self._source.reconcile(db, no, totals)
        return await self._renew_id_if_restored(db, ahead, writer)
