"""Reading: live totals from Redis with SQL behind them; windows and history from SQL and what is pending."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from metrics_collector._entries import Entry, RejectedEntryError, decode
from metrics_collector._errors import (
    AmbiguousNameError,
    ConfigurationError,
    StoreUnavailableError,
    UnknownFunctionError,
)
from metrics_collector._models import FunctionMetrics, HistoryPoint, figures
from metrics_collector._records import unnumbered
from metrics_collector._registry import storable
from metrics_collector._totals import CALLS, Totals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractAsyncContextManager

    from metrics_collector._intervals import Intervals
    from metrics_collector._records import Live, Numbered, Rollup, Waiting

SECONDS: Final = {"minute": 60, "hour": 3600, "day": 86400}
_SHOWN: Final = 5  # names in a message
_TIERS: Final = ("day", "hour", "minute")

_Pending = dict[tuple[str, int], Entry]  # by what the ledger knows it under


class LiveTotals(Protocol):
    """Redis, as a reader needs it."""

    async def live(self, func_names: Iterable[str]) -> dict[str, Live]: ...
    async def function_names(self) -> set[str]: ...
    async def saved_function_names(self) -> set[str]: ...
    def pending(self) -> AsyncIterator[Waiting]: ...


class OpenDatabase(Protocol):
    """The database, open for reading."""

    async def function_names(self) -> list[str]: ...
    async def totals_of(self, func_names: Iterable[str]) -> dict[str, Numbered]: ...
    async def rollups(
        self, resolution: str, start: int, end: int | None, func_name: str | None
    ) -> list[Rollup]: ...
    async def ledger(self, producers: Iterable[str]) -> dict[str, Intervals]: ...


class ReadDatabase(Protocol):
    """The database, as a reader needs it."""

    path: str

    def reading(self) -> AbstractAsyncContextManager[Any]: ...


def resolve(asked: str, names: AbstractSet[str]) -> str:
    """The one of these full names that is meant: the name itself first, else the one that it is the end of.

    Raises:
        UnknownFunctionError: no name fits; the message lists close matches.
        AmbiguousNameError: several end in it.
    """
    if asked in names:
        return asked
    fits = sorted(name for name in names if name.endswith(f".{asked}"))
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise AmbiguousNameError(f"{asked!r} fits {_listed(fits)}; give more of the name")
    shorts = {name.rpartition(".")[2]: name for name in sorted(names)}
    near = difflib.get_close_matches(asked, [*names, *shorts], n=3)
    hint = f"; close: {_listed(sorted({shorts.get(n, n) for n in near}))}" if near else ""
    raise UnknownFunctionError(f"no measured function is known as {asked!r}{hint}")


class Query:
    """Answers questions about functions.

    Args:
        redis: the live totals and what is pending.
        database: may be missing here, when the worker runs on another machine.
        measured: names of the functions measured in this process.
    """

    def __init__(self, redis: LiveTotals, database: ReadDatabase, measured: frozenset[str]) -> None:
        self._redis = redis
        self._database = database
        self._measured = measured

    async def resolve(self, asked: str) -> str:
        """As the function `resolve`, over the names of all processes."""
        if asked in self._measured or (
            storable(asked) and asked in await self._redis.live([asked])
        ):
            return asked
        names = self._measured | await self._redis.function_names() | await self._saved_names()
        return resolve(asked, names)

    async def function(
        self, func_name: str, since: datetime | None, until: datetime | None
    ) -> FunctionMetrics:
        """The figures of one function; zeros if it has none. Times as in `get_metrics`."""
        if since is None and until is None:
            found = await self._live([func_name])
        else:
            found = await self._window(since, until, func_name)
        return FunctionMetrics(**figures(func_name, found.get(func_name, Totals())))

    async def functions(
        self, since: datetime | None, until: datetime | None
    ) -> list[FunctionMetrics]:
        """The figures of all functions that were called, by name."""
        if since is None and until is None:
            names = await self._redis.function_names() | await self._saved_names()
            found = await self._live(names)
        else:
            found = await self._window(since, until, None)
        return [
            FunctionMetrics(**figures(name, totals))
            for name, totals in sorted(found.items())
            if totals.counts.get(CALLS, 0) > 0
        ]

    async def history(
        self, func_name: str | None, since: datetime, until: datetime | None, resolution: str
    ) -> list[HistoryPoint]:
        """The figures by minute, hour or day, of one function or all, in order of time."""
        if resolution not in SECONDS:
            raise ConfigurationError(
                f"resolution is {resolution!r}; it may be 'minute', 'hour' or 'day'"
            )
        seconds = SECONDS[resolution]
        start = int(since.timestamp()) // seconds * seconds
        end = None if until is None else -(-until.timestamp() // seconds) * seconds
        points: dict[tuple[int, str], Totals] = {}
        pending = await self._pending(func_name)
        async with self._database.reading() as database:
            await self._must_exist(database)
            if database is not None:
                stop = None if end is None else int(end)
                for rollup in await database.rollups(resolution, start, stop, func_name):
                    points[rollup.start, rollup.func_name] = rollup.totals
                pending = await _unsaved(pending, database)
        for entry in pending.values():
            if start <= entry.created_at and (end is None or entry.created_at < end):
                key = (int(entry.created_at) // seconds * seconds, entry.func_name)
                _count(points.setdefault(key, Totals()), entry)
        return [
            HistoryPoint(start=datetime.fromtimestamp(at, UTC), **figures(name, totals))
            for (at, name), totals in sorted(points.items())
        ]

    async def _live(self, names: Iterable[str]) -> dict[str, Totals]:
        wanted = list(names)
        live = await self._redis.live(wanted)
        behind = [name for name in wanted if name not in live or not live[name].whole]
        saved: dict[str, Numbered] = {}
        if behind:  # SQL's part is not in Redis
            async with self._database.reading() as database:
                if database is not None:
                    saved = await database.totals_of(behind)
            # Again, and after SQL: what was saved and acknowledged in between would count twice.
            live |= await self._redis.live(behind)
        found = {name: one.totals for name, one in live.items()}
        for name, part in saved.items():
            if name not in live or not live[name].whole:
                found.setdefault(name, Totals()).merge(part.totals)
        return found

    async def _saved_names(self) -> set[str]:
        async with self._database.reading() as database:
            return set(await database.function_names()) if database is not None else set()

    async def _window(
        self, since: datetime | None, until: datetime | None, func_name: str | None
    ) -> dict[str, Totals]:
        """The totals between two moments, in whole minutes: the minute of `since` and that of `until` count in full."""
        start = 0 if since is None else int(since.timestamp()) // 60 * 60
        end = None if until is None else int(-(-until.timestamp() // 60) * 60)
        found: dict[str, Totals] = {}
        # Pending entries first: one that is saved meanwhile is then in the ledger, and counts once.
        pending = await self._pending(func_name)
        async with self._database.reading() as database:
            await self._must_exist(database)
            if database is not None:
                for tier, first, last in _tiles(start, end):
                    for rollup in await database.rollups(tier, first, last, func_name):
                        found.setdefault(rollup.func_name, Totals()).merge(rollup.totals)
                pending = await _unsaved(pending, database)
        for entry in pending.values():
            if start <= entry.created_at and (end is None or entry.created_at < end):
                _count(found.setdefault(entry.func_name, Totals()), entry)
        return found

    async def _pending(self, func_name: str | None) -> _Pending:
        """The entries in Redis, each once; what is no entry is the flush's business."""
        entries: _Pending = {}
        async for raw, token, distance in self._redis.pending():
            try:
                entry = decode(raw)
            except RejectedEntryError:
                continue
            if func_name is None or entry.func_name == func_name:
                if entry.producer is not None:
                    entries[entry.producer, entry.number] = entry
                else:
                    entries[unnumbered(token), distance] = entry
        return entries

    async def _must_exist(self, database: object | None) -> None:
        """Without a database here, and with one elsewhere, a window would silently lack all that was saved."""
        if database is None and await self._redis.saved_function_names():
            raise StoreUnavailableError(
                f"windows and history are read from the database that the worker writes, and there is none at "
                f"{self._database.path}: let DATABASE_NAME name it, or ask on the worker's machine"
            )


def _count(totals: Totals, entry: Entry) -> None:
    totals.add(entry.execution_time, entry.created_at, entry.mark)


async def _unsaved(pending: _Pending, database: OpenDatabase) -> _Pending:
    ledger = await database.ledger({producer for producer, _ in pending})
    return {
        (producer, number): entry
        for (producer, number), entry in pending.items()
        if producer not in ledger or number not in ledger[producer]
    }


def _tiles(start: int, end: int | None) -> list[tuple[str, int, int | None]]:
    """Cover a time of whole minutes with as few rollups as can be: minutes, hours, days, hours, minutes."""
    tiles: list[tuple[str, int, int | None]] = []

    def cover(tier: int, first: int, last: int | None) -> None:
        name = _TIERS[tier]
        seconds = SECONDS[name]
        inner_first = -(-first // seconds) * seconds
        inner_last = None if last is None else last // seconds * seconds
        if inner_last is not None and inner_first >= inner_last:
            if tier + 1 < len(_TIERS):
                cover(tier + 1, first, last)
            return
        if first < inner_first:
            cover(tier + 1, first, inner_first)
        tiles.append((name, inner_first, inner_last))
        if last is not None and inner_last is not None and inner_last < last:
            cover(tier + 1, inner_last, last)

    if end is None or start < end:
        cover(0, start, end)
    return tiles


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
