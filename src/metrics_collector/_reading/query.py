"""Reading: live totals from Redis with SQL behind them; windows and history from SQL and what is pending."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import lru_cache, partial
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from metrics_collector._core.decoding import decode
from metrics_collector._core.entries import Entry, RejectedEntryError
from metrics_collector._core.models import FunctionMetrics, HistoryPoint, figures
from metrics_collector._core.pipeline_types import unnumbered
from metrics_collector._core.rollup_ranges import SECONDS, ceil, cover, floor, joined
from metrics_collector._core.totals import CALLS, Totals
from metrics_collector._errors import (
    ConfigurationError,
    IncompatibleStoreError,
    MetricsCollectorError,
    StoreUnavailableError,
    UnknownFunctionError,
)
from metrics_collector._reading.missing import Missing
from metrics_collector._reading.names import resolve
from metrics_collector._recording.registry import storable
from metrics_collector._support import process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

    from metrics_collector._core.pipeline_types import Live, Numbered, Rollup, Waiting
    from metrics_collector._core.rollup_ranges import RollupRange
    from metrics_collector._storage.base import Store, StoreReader

T = TypeVar("T")

PATIENCE: Final = 3.0  # seconds that Redis may take for an answer that can be done without

_KNOWN: Final = 20_000  # entries that are not decoded again while they wait, as pages ask for all of them each time
_LONGEST_KNOWN: Final = 1000  # bytes, so that those take some 20 MB, and never more than 60

_Pending = dict[tuple[str, int], Entry]  # by what the ledger knows it under


class LiveTotals(Protocol):
    """Redis, as a reader needs it."""

    label: str  # its address without secrets, for messages

    async def live(self, func_names: Iterable[str]) -> dict[str, Live]: ...
    async def function_names(self) -> set[str]: ...
    async def saved_function_names(self) -> set[str]: ...
    def pending(self) -> AsyncIterator[Waiting]: ...
    async def waiting(self) -> int: ...


def unanswered(label: str) -> StoreUnavailableError:
    """What is wrong with the Redis at an address that has used up `PATIENCE`."""
    return StoreUnavailableError(f"Redis at {label} did not answer within {PATIENCE:g} s")


class Query:
    """Answers questions about functions.

    The store may be missing here, when the worker runs on another machine. Where Redis cannot be used, windows are what
    the store has; live totals need it.

    Args:
        measured: the names of this process.
        failed: why Redis cannot be used, if that has turned out already.
        full: why it takes no more, so that some of this process's entries are neither there nor in the store.
    """

    def __init__(
        self,
        redis: LiveTotals,
        store: Store,
        measured: frozenset[str],
        failed: MetricsCollectorError | None = None,
        full: MetricsCollectorError | None = None,
    ) -> None:
        self._redis = redis
        self.store = store
        self._measured = measured
        self._failed = failed
        self._full = full

    async def resolve(self, asked: str) -> str:
        """As `names.resolve`, over the names of all processes.

        Raises:
            StoreUnavailableError: the store does not know it, and Redis, which may, cannot be used.
        """
        if asked in self._measured:
            return asked
        if storable(asked) and asked in (await self._ask(partial(self._redis.live, [asked])) or ()):
            return asked
        live = await self._ask(self._redis.function_names, bounded=False) or set()
        names = self._measured | live | await self._saved_names()
        try:
            return await process.in_thread(partial(resolve, asked, names))
        except UnknownFunctionError as error:
            if self._failed is None:
                raise
            raise StoreUnavailableError(f"{self._failed}; in the database {error}") from error

    async def function(
        self, func_name: str, since: datetime | None, until: datetime | None
    ) -> FunctionMetrics:
        """The figures of one function; zeros if it has none. Times as in `get_metrics`."""
        if since is None and until is None:
            found = await self._live([func_name])
        else:
            found = await self._window(since, until, func_name)
        totals = found.get(func_name, Totals())
        return FunctionMetrics(**figures(func_name, totals), partial=self.missing().partial)

    async def functions(
        self, since: datetime | None, until: datetime | None
    ) -> list[FunctionMetrics]:
        """The figures of all functions that were called, by name."""
        if since is None and until is None:
            names = await self._redis.function_names() | await self._saved_names()
            found = await self._live(names)
        else:
            found = await self._window(since, until, None)
        partial = self.missing().partial
        # Each taken out: the garbage collector would look at thousands that are no longer needed.
        return [
            FunctionMetrics(**figures(name, totals), partial=partial)
            for name in sorted(found)
            if (totals := found.pop(name)).counts.get(CALLS, 0) > 0
        ]

    async def history(
        self, func_name: str | None, since: datetime, until: datetime | None, resolution: str
    ) -> list[HistoryPoint]:
        """The figures by minute, hour or day, of one function or all, in order of time."""
        if resolution not in SECONDS:
            raise ConfigurationError(
                f"resolution is {resolution!r}; it may be 'minute', 'hour' or 'day'"
            )
        start, end = since.timestamp(), None if until is None else until.timestamp()
        async with self.snapshot(func_name) as (reader, purged, pending, missing):
            ranges = joined(resolution, start, end, purged)
            rollups = [] if reader is None else await reader.rollups(ranges, func_name)
        return await process.in_thread(partial(_points, rollups, ranges, pending, missing))

    async def _live(self, names: Iterable[str]) -> dict[str, Totals]:
        self.need_redis()
        wanted = list(names)
        live = await self._redis.live(wanted)
        behind = [name for name in wanted if name not in live or not live[name].whole]
        saved: dict[str, Numbered] = {}
        if behind:  # SQL's part is not in Redis
            async with self.store.reading() as reader:
                if reader is not None:
                    saved = await reader.totals_of(behind)
            # Again, and after SQL: what was saved and acknowledged in between would count twice.
            live |= await self._redis.live(behind)
        found = {name: one.totals for name, one in live.items()}
        for name, part in saved.items():
            if name not in live or not live[name].whole:
                found.setdefault(name, Totals()).merge(part.totals)
        return found

    async def _saved_names(self) -> set[str]:
        async with self.store.reading() as reader:
            return set(await reader.function_names()) if reader is not None else set()

    async def _window(
        self, since: datetime | None, until: datetime | None, func_name: str | None
    ) -> dict[str, Totals]:
        """The totals between two moments, as `counted` says."""
        async with self.snapshot(func_name) as (reader, purged, pending, _):
            ranges = _ranges(since, until, purged)
            found = {} if reader is None else await reader.sums(ranges, func_name)
            for entry in pending:
                if any(rollup_range.covers(entry.created_at) for rollup_range in ranges):
                    count(found.setdefault(entry.func_name, Totals()), entry)
        return found

    async def counted(
        self, since: datetime | None, until: datetime | None
    ) -> tuple[datetime, datetime | None]:
        """The time that is counted between two moments; `None` as end: no limit.

        It is of whole minutes, the first and the last in full, or of hours or days where only those are kept.
        """
        async with self.saved() as reader:
            purged = {} if reader is None else await reader.purged()
        ranges = _ranges(since, until, purged)
        end = ranges[-1].end
        return _moment(ranges[0].start), None if end is None else _moment(end)

    @asynccontextmanager
    async def snapshot(
        self, func_name: str | None, *, most: int | None = None
    ) -> AsyncIterator[Snapshot]:
        """The database, or `None` where there is none yet, and the entries of a function, or of all, that it lacks.

        They are left out if Redis holds more than `most`, or cannot be used.

        Raises:
            StoreUnavailableError: as `saved`.
        """
        # Pending entries first: one that is saved meanwhile is then in the ledger, and counts once.
        pending, left_out = await self._pending(func_name, most)
        async with self.saved() as reader:
            if reader is not None:
                pending = await _unsaved(pending, reader)
            purged = {} if reader is None else await reader.purged()
            missing = self.missing(left_out)
            yield Snapshot(reader, purged, list(pending.values()), missing)

    @asynccontextmanager
    async def saved(self) -> AsyncIterator[StoreReader | None]:
        """The database, or `None` where there is none yet.

        Raises:
            StoreUnavailableError: there is one elsewhere; or there may be, and Redis, which would know, cannot be used.
        """
        async with self.store.reading() as reader:
            if reader is None:
                self.need_redis()
            # Else windows and history would silently lack all that was saved.
            if reader is None and await self._redis.saved_function_names():
                raise StoreUnavailableError(
                    f"windows and history are read from the database that the worker writes, and there is none at "
                    f"{self.store.label}: read them with the settings of the worker, on a machine that has it"
                )
            yield reader

    def missing(self, left_out: int = 0) -> Missing:
        """What figures lack that were read so far, beside so many entries."""
        error = self._failed or self._full
        if error is None:
            return Missing(left_out=left_out, redis_error=None)
        return Missing(left_out=None, redis_error=str(error))

    def need_redis(self) -> None:
        """Raise what has kept Redis from being used, if anything has."""
        if self._failed is not None:
            raise self._failed

    async def _ask(self, question: Callable[[], Awaitable[T]], *, bounded: bool = True) -> T | None:
        """What Redis answers; `None` if it cannot be used, and from then on, so that whoever waits does so once.

        Args:
            bounded: the answer is short, so that there is a limit beside that of each command.
        """
        if self._failed is None:
            try:
                async with asyncio.timeout(PATIENCE if bounded else None):
                    return await question()
            except TimeoutError:
                self._failed = unanswered(self._redis.label)
            except (StoreUnavailableError, IncompatibleStoreError) as error:
                self._failed = error
        return None

    async def _pending(self, func_name: str | None, most: int | None) -> tuple[_Pending, int]:
        """The entries in Redis, or none, and how many there are if that is more than `most`."""
        # Also without `most`: a Redis that hangs is found out by this. To read the entries takes this process's time,
        # too, and longer where many ask at once.
        waiting = await self._ask(self._redis.waiting) or 0
        if most is not None and waiting > most:
            return {}, waiting
        entries = partial(self._entries, func_name)
        return await self._ask(entries, bounded=False) or {}, 0

    async def _entries(self, func_name: str | None) -> _Pending:
        """The entries in Redis, each once; what is no entry is the flush's business."""
        entries: _Pending = {}
        async for raw, token, distance in self._redis.pending():
            try:
                entry = _decoded(raw) if len(raw) <= _LONGEST_KNOWN else decode(raw)
            except RejectedEntryError:
                continue
            if func_name is None or entry.func_name == func_name:
                if entry.producer is not None:
                    entries[entry.producer, entry.number] = entry
                else:
                    entries[unnumbered(token), distance] = entry
        return entries


class Snapshot(NamedTuple):
    """One state of SQL and what it lacks."""

    reader: StoreReader | None  # of the store, or `None` where there is nothing yet
    purged: Mapping[str, int]  # as the reader has it; empty where there is nothing yet
    pending: list[Entry]  # the entries that Redis holds and SQL does not have
    missing: Missing


def count(totals: Totals, entry: Entry) -> None:
    """Add a pending entry to totals."""
    totals.add(entry.execution_time, entry.created_at, entry.mark)


def _points(
    rollups: Iterable[Rollup],
    ranges: Iterable[RollupRange],
    pending: Iterable[Entry],
    missing: Missing,
) -> list[HistoryPoint]:
    """The points that rollups and pending entries make, each of its range's resolution."""
    points = {(rollup.start, rollup.func_name): rollup.totals for rollup in rollups}
    for entry in pending:
        for rollup_range in ranges:
            if rollup_range.covers(entry.created_at):
                key = floor(entry.created_at, rollup_range.resolution), entry.func_name
                count(points.setdefault(key, Totals()), entry)
    starts = {
        at: (_moment(at), rollup_range.resolution)
        for at in {at for at, _ in points}
        for rollup_range in ranges
        if rollup_range.covers(at)
    }
    return [
        HistoryPoint(
            start=starts[at][0],
            resolution=starts[at][1],
            **figures(name, totals),
            partial=missing.partial,
        )
        for (at, name), totals in sorted(points.items(), key=itemgetter(0))
    ]


def _ranges(
    since: datetime | None, until: datetime | None, purged: Mapping[str, int]
) -> list[RollupRange]:
    start = 0 if since is None else floor(since.timestamp(), "minute")
    return cover(start, None if until is None else ceil(until.timestamp(), "minute"), purged)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


_decoded: Final = lru_cache(_KNOWN)(decode)


async def _unsaved(pending: _Pending, reader: StoreReader) -> _Pending:
    ledger = await reader.ledger({producer for producer, _ in pending})
    return {
        (producer, number): entry
        for (producer, number), entry in pending.items()
        if producer not in ledger or number not in ledger[producer]
    }
