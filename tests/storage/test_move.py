"""Moving a SQLite file into PostgreSQL: all of it, once, wherever it is broken off, and while a worker saves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from metrics_collector._errors import IncompatibleStoreError, StoreUnavailableError
from metrics_collector._storage import move as move_module
from metrics_collector._storage.move import Moved, move
from metrics_collector._storage.postgres import PostgresStore
from metrics_collector._storage.sqlite import SQLiteStore
from tests.helpers.cancelling import at_each_await
from tests.helpers.pipeline import (
    NOON,
    OTHER_PRODUCER,
    PRODUCER,
    Call,
    all_same,
    batch_of,
    foreign,
    lines_of,
)
from tests.helpers.rows import rows
from tests.storage.test_contract import DAY, Kept, kept, purge, save

if TYPE_CHECKING:
    from pathlib import Path

    from metrics_collector._storage.base import Store

TOKENS = ("a" * 16, "b" * 16)
CALLS = [Call("app.fgh"[: 5 + n % 3], n / 7, (None, "", "KeyError", "é")[n % 4]) for n in range(30)]


def silent(_done: int, _of: int) -> None: ...


async def fill(path: Path) -> SQLiteStore:
    store = SQLiteStore(str(path))
    for day in range(3):
        first = 1 + 40 * day  # with gaps between
        await save(store, lines_of(batch_of(*CALLS, first=first, at=NOON + day * DAY)))
    elements = [foreign(at=0.5), foreign("app.é", at=4e9), b"rubbish", b"\xff", b"a\0b"]
    await save(store, elements, token=TOKENS[0])
    await save(store, lines_of(batch_of(*CALLS, producer=OTHER_PRODUCER)), token=TOKENS[1])
    return store


def same(ours: Kept, theirs: Kept) -> bool:
    """Whether the two keep the same, each in its own order."""
    entries = [sorted(map(repr, one.entries)) for one in (ours, theirs)]
    others = [(one.ledger, one.state) for one in (ours, theirs)]
    return (
        all_same(ours.totals, theirs.totals) and entries[0] == entries[1] and others[0] == others[1]
    )


async def test_all_is_moved(path: Path, postgres_url: str) -> None:
    source, target = await fill(path), PostgresStore(postgres_url)
    await purge(source, entry=0.2)
    before, described = await kept(source, *TOKENS), await source.describe()
    seen: list[tuple[int, int]] = []
    moved = await move(str(path), postgres_url, lambda *done: seen.append(done))
    assert moved == Moved(len(before.entries), 4)
    assert seen[0] == (0, 122)
    assert seen[-1] == (122, 122)
    after = await kept(target, *TOKENS)
    assert same(before, after)
    assert (await target.describe()).rejected == described.rejected == 3
    for use in (kept(source), save(source, [foreign()])):
        with pytest.raises(
            IncompatibleStoreError, match="set METRICS_DATABASE_URL to that database"
        ):
            await use
    # What a producer sends again is known there, too.
    resent = lines_of(batch_of(*CALLS[:9], first=41, at=NOON + DAY))
    again = await save(target, [*resent, b"more rubbish"])
    assert (again.saved, again.rejected, again.db) == (0, 1, before.state.db)
    assert again.producers == {PRODUCER: "1-30,41-70,81-110"}
    with pytest.raises(IncompatibleStoreError, match="were moved to PostgreSQL"):
        await move(str(path), postgres_url, silent)


async def test_it_goes_on_wherever_it_was_broken_off(
    path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move_module, "_ROWS", 50)
    source, target = await fill(path), PostgresStore(postgres_url)
    before = await kept(source, *TOKENS)

    async def work() -> None:
        await move(str(path), postgres_url, silent)

    cancels = at_each_await(work)
    begun = over = False
    refused = [False, False]
    while not over:
        try:
            over = await anext(cancels, None) is None
        except IncompatibleStoreError:  # since all was done, though that was broken off
            over = True
        refused = [await refuses(store) for store in (source, target)]
        begun = begun or any(refused)
        assert any(refused) == begun  # the two never take entries at the same time
    assert refused == [True, False]
    assert same(before, await kept(target, *TOKENS))


async def refuses(store: Store) -> bool:
    try:
        async with store.writing():
            return False
    except IncompatibleStoreError:
        return True


async def test_a_worker_saves_meanwhile(
    path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move_module, "_ROWS", 5)
    source, target = await fill(path), PostgresStore(postgres_url)
    saved = 0

    async def go_on() -> None:
        nonlocal saved
        while True:
            try:
                done = await save(source, [foreign()] * 10, token=f"{saved:016x}")
            except IncompatibleStoreError:
                return
            except StoreUnavailableError:  # the file is locked for longer than a save waits
                continue
            saved += done.saved

    worker = asyncio.create_task(go_on())
    moved = await move(str(path), postgres_url, silent)
    await worker
    assert saved
    assert moved.entries == 122 + saved
    assert len((await kept(target)).entries) == 122 + saved


async def test_two_at_once(path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move_module, "_ROWS", 5)
    source = await fill(path)
    before = await kept(source, *TOKENS)
    moves = [move(str(path), postgres_url, silent) for _ in range(2)]
    done = await asyncio.gather(*moves, return_exceptions=True)
    assert [one for one in done if isinstance(one, Moved)]
    assert same(before, await kept(PostgresStore(postgres_url), *TOKENS))


async def test_a_database_with_entries_takes_none(path: Path, postgres_url: str) -> None:
    source, target = await fill(path), PostgresStore(postgres_url)
    await save(target, [foreign("app.own")])
    with pytest.raises(StoreUnavailableError, match="has entries of its own"):
        await move(str(path), postgres_url, silent)
    assert (await kept(target)).totals.keys() == {"app.own"}
    await kept(source, *TOKENS)


async def test_a_file_that_is_not_there(path: Path, postgres_url: str) -> None:
    with pytest.raises(StoreUnavailableError, match="there is no database at"):
        await move(str(path), postgres_url, silent)
    assert list(path.parent.iterdir()) == []


async def test_a_copy_that_is_not_the_same_is_not_used(
    path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await fill(path)
    before = await kept(source, *TOKENS)
    compare = move_module._compare

    async def tampered(*args: object) -> None:
        rows(path)  # nothing is locked for readers
        await args[1].run(move_module._ask("DELETE FROM ledger WHERE first = 1"))  # type: ignore[attr-defined]  # a session
        await compare(*args)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(move_module, "_compare", tampered)
    with pytest.raises(StoreUnavailableError, match="of the table ledger is not what"):
        await move(str(path), postgres_url, silent)
    assert same(before, await kept(source, *TOKENS))
    with pytest.raises(IncompatibleStoreError, match="is being moved into the database"):
        await kept(PostgresStore(postgres_url))
