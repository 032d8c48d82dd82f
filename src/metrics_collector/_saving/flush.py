"""The flush: claim what waits in Redis, save it, forget it there.

A worker may die, hang or be doubled at any line here. Saving is once by the ledger, in the transaction; taking off the
claim is guarded by its length; so every step can be done again by anybody.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from metrics_collector._core.pipeline_types import Numbered
from metrics_collector._core.totals import Totals
from metrics_collector._errors import StoreUnavailableError
from metrics_collector._storage.reopening import ClosedByForkError, reopening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from metrics_collector._core.pipeline_types import Acknowledged, Claim, FunctionState, Saved
    from metrics_collector._storage.base import Store, StoreWriter
    from metrics_collector._support.rate_limited_log import RateLimitedLog

CHUNK: Final = 40_000  # entries in one transaction
FUNCTIONS: Final = 500  # of which a true-up tells at a time
DAY: Final = 86400.0


class Source(Protocol):
    """Redis, as a flush needs it."""

    async def claim(self, *, ignore_leases: bool = False) -> Claim: ...
    async def release(self, token: str) -> None: ...
    async def read(self, token: str, count: int) -> tuple[int, list[bytes]]: ...
    async def acknowledge(
        self,
        token: str,
        length: int,
        count: int,
        *,
        db: str,
        no: int,
        functions: Mapping[str, FunctionState],
        producers: Mapping[str, str],
    ) -> Acknowledged: ...
    async def true_up(self, db: str, no: int, totals: Mapping[str, Numbered]) -> dict[str, int]: ...
    async def function_names(self) -> set[str]: ...
    async def saved_function_names(self) -> set[str]: ...


class Flush:
    """Saves what waits in Redis.

    Args:
        source: Redis.
        store: opened for each drain.
        ledger_days: how long SQL remembers what it has of a producer that is gone.
        log: where trouble is logged.
        wall: UTC epoch seconds.
    """

    def __init__(
        self,
        source: Source,
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
        # Redis's, as of the last claim: another one means that it lost its data.
        self.life: str | None = None

    async def drain(self, *, ignore_leases: bool = False, once: bool = False) -> int:
        """Save until nothing waits, or (`once`) all that waits now.

        Args:
            ignore_leases: take over other workers' claims too; each entry is saved once all the same.
            once: end with the entries that are in `metrics_list` at the call, however many follow.

        Returns:
            The number of entries newly saved.

        Raises:
            StoreUnavailableError, IncompatibleStoreError: Redis or the database cannot be used; the entries stay in
                Redis.
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
                await self._let_go(claim.token)
                raise
            if once and claim.fresh:
                return saved

    async def _save_claim(self, token: str) -> int:
        """Save a claim to its end, in whatever file is there; the number of entries newly saved."""
        saved = 0
        head: tuple[int, list[bytes]] | None = None
        while True:
            # A fork may close the database: then once more.
            with suppress(ClosedByForkError):
                async with self._store.writing() as writer:
                    while True:
                        # Still there if it was closed, so that whoever opens it can save at once: forks may come often.
                        length, elements = head = head or await self._source.read(token, CHUNK)
                        if not elements:
                            # Gone: another worker had it too, or Redis lost it. Its lease goes with it.
                            await self._forget(token, length, 0, None, writer)
                            return saved
                        done = await writer.save(token, length, elements, self._wall())
                        if done is None:
                            break  # the file was replaced: once more, into the one that is there now
                        saved += done.saved
                        self._tell_rejected(done.rejected)
                        taken = await self._forget(token, length, len(elements), done, writer)
                        if taken and length == len(elements):
                            return saved
                        head = None

    def _tell_rejected(self, count: int) -> None:
        if count:
            self._log.trouble(
                "rejected",
                "%d elements of metrics_list are no entries; see the table rejected_entries",
                count,
            )

    async def _forget(
        self, token: str, length: int, count: int, done: Saved | None, writer: StoreWriter
    ) -> bool:
        db, no = (done.db, done.no) if done else await writer.state()
        taken, ahead = await self._source.acknowledge(
            token,
            length,
            count,
            db=db,
            no=no,
            functions=done.functions if done else {},
            producers=done.producers if done else {},
        )
        await self._renew_if_restored(db, ahead, writer)
        return taken

    async def _renew_if_restored(
        self, db: str, ahead: Mapping[str, int], writer: StoreWriter
    ) -> bool:
        """Give an older copy of the database a new id, under which Redis counts anew; whether it was one.

        Redis has seen a later commit of some function then. Another worker may also have been faster than this one, so
        SQL is asked again.
        """
        if not ahead:
            return False
        _, no = await writer.state()
        known = await writer.totals_of(ahead)
        if all(seen <= (known[name].no if name in known else no) for name, seen in ahead.items()):
            return False
        await writer.draw_new_db(db)
        return True

    async def _let_go(self, token: str) -> None:
        """End the lease, so that the next try need not wait for it; without it the lease ends by itself."""
        try:
            await self._source.release(token)
        except StoreUnavailableError:
            return

    @reopening
    async def true_up(self) -> None:
        """Make Redis's part of every total what SQL has, and forget what the ledger no longer needs.

        Raises:
            StoreUnavailableError, IncompatibleStoreError: as `drain`.
        """
        if await self._nothing_yet():
            return
        async with self._store.writing() as writer:
            await writer.forget_old_ledger(self._wall() - self._ledger_seconds)
            while await self._tell_all(writer):
                pass

    async def _nothing_yet(self) -> bool:
        """Whether neither SQL nor Redis knows anything: no reason to make a file, as for somebody who only looks."""
        async with self._store.reading() as reader:
            if reader is not None:
                return False
        source = self._source
        return not (await source.function_names() or await source.saved_function_names())

    async def _tell_all(self, writer: StoreWriter) -> bool:
        """Tell Redis what SQL has of every function; whether that is to be done again, under a new id."""
        db, no = await writer.state()
        source = self._source
        names = {*await writer.function_names()}
        names |= await source.function_names() | await source.saved_function_names()
        ahead: dict[str, int] = {}
        # Some at a time: there may be any number of functions, each with hundreds of buckets.
        for some in _in_groups(sorted(names), FUNCTIONS):
            known = await writer.totals_of(some)
            totals = {name: known.get(name) or Numbered(Totals(), no) for name in some}
            ahead |= await source.true_up(db, no, totals)
        return await self._renew_if_restored(db, ahead, writer)


def _in_groups(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The names in groups of at most `size`."""
    for start in range(0, len(names), size):
        yield names[start : start + size]
