"""What must hold at the end, whatever has happened: SQL has each call once, but for those reported dropped."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from metrics_collector._redis.connection import connect
from metrics_collector._storage.postgres import PostgresStore
from tests.faults.calls import expected
from tests.helpers.pipeline import KEYS, Contents, all_same, contents, held
from tests.storage.test_contract import kept

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.helpers.pipeline import Held


class Calls(NamedTuple):
    """What a producer has made, all of which must be in SQL but for what it reported dropped."""

    made: int | None  # None: it was killed, so that only its first calls are there, however many
    dropped: int = 0


class Verdict(NamedTuple):
    """How many calls were found."""

    rows: dict[str, int]  # in SQL, by producer
    counted: int  # in the live totals
    lost: int  # neither in SQL nor reported
    twice: int  # in SQL more often than they were made
    dropped: int  # as they were reported


def check(database: Path | str, url: str, made: Mapping[str, Calls], *, rejected: int) -> Verdict:
    """Compare SQL and a Redis at rest with what all producers have made, of which so many elements were no entries.

    The database is a file, or one of PostgreSQL by its URL.
    """
    found, state = sound(database, url)
    verdict = judge(found, state, made)
    assert verdict.lost == verdict.twice == 0, verdict
    assert len(found.rejected) == rejected, found.rejected[:3]
    return verdict


def sound(database: Path | str, url: str) -> tuple[Contents, Held]:
    """What SQL and Redis hold, at rest, after a look whether they agree.

    No element waits, no number is in SQL twice, the file's pages are sound, and its totals, its rollups and the live
    totals are what its entries add up to.
    """
    found = asyncio.run(_in_postgres(database)) if isinstance(database, str) else contents(database)
    state = asyncio.run(_held(url))
    # An entry's number is cut once, so a copy in SQL shows here even if it is one of many calls alike.
    assert all(times == 1 for times in found.ids.values())
    assert found.foreign == 0
    assert (state.elements, state.claimed, state.counter) == ([], 0, 0)
    assert all_same(state.live, found.totals, extremes=False)
    assert sum(t.counts.get("call_count", 0) for t in state.live.values()) == len(found.entries)
    return found, state


async def _in_postgres(url: str) -> Contents:
    store = PostgresStore(url)
    found = await kept(store)
    rejected = [("", "")] * ((await store.describe()).rejected or 0)
    return Contents(found.entries, [*rejected], found.ledger, found.totals, *found.state)


def judge(found: Contents, state: Held, made: Mapping[str, Calls]) -> Verdict:
    """Count what is there, what is missing and what is too much."""
    saved: dict[str, Counter[tuple[str, str | None]]] = {name: Counter() for name in made}
    for entry in found.entries:
        name = entry.func_name.rpartition(".")[0]
        saved[name][entry.func_name, entry.error_type] += 1
    lost = twice = 0
    for name, calls in made.items():
        wanted = expected(name, saved[name].total() if calls.made is None else calls.made)
        twice += (saved[name] - wanted).total()
        lost += (wanted - saved[name]).total() - calls.dropped
    return Verdict(
        rows={name: pairs.total() for name, pairs in saved.items()},
        counted=sum(totals.counts.get("call_count", 0) for totals in state.live.values()),
        lost=lost,
        twice=twice,
        dropped=sum(calls.dropped for calls in made.values()),
    )


async def _held(url: str) -> Held:
    client = connect(url)
    try:
        assert not await client.zcard(KEYS.claims)
        return await held(client)
    finally:
        await client.aclose()
