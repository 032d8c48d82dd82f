"""Reading ahead in a claim: beside the saving, and for nothing where the claim is not what it was."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._redis import worker_commands
from metrics_collector._saving import flush as flush_module
from metrics_collector._saving.claim_reader import ClaimReader
from metrics_collector._saving.flush import Flush
from metrics_collector._storage.sqlite import SQLiteStore
from metrics_collector._storage.sqlite.store import Writer
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.helpers.pipeline import KEYS, NOON, Call, commands_on, contents, push

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from metrics_collector._core.pipeline_types import Saved
    from metrics_collector._storage.chunks import Chunk
    from tests.helpers.pipeline import Commands

COUNT = 7


async def nothing(*_: object) -> None: ...


class Noted:
    """Redis as a worker uses it, of which each reading is noted, and something comes before each call."""

    def __init__(
        self,
        redis: Commands,
        *,
        reading: Callable[[int], Awaitable[object]] = nothing,
        acknowledging: Callable[[], Awaitable[object]] = nothing,
    ) -> None:
        self._worker = redis.worker
        self._reading = reading
        self._acknowledging = acknowledging
        self.starts: list[int] = []

    async def read(self, token: str, count: int, start: int) -> tuple[int, list[bytes]]:
        self.starts.append(start)
        await self._reading(start)
        return await self._worker.read(token, count, start)

    async def acknowledge(self, *what: Any, **more: Any) -> Any:
        await self._acknowledging()
        return await self._worker.acknowledge(*what, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)


class Saving:
    """A store, before each saving in which something happens."""

    def __init__(self, store: SQLiteStore, saving: Callable[[], Awaitable[object]]) -> None:
        self._store = store
        self._saving = saving

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Any]:
        async with self._store.writing() as writer:
            usual = writer.save

            async def save(chunk: Chunk, now: float) -> Saved | None:
                await self._saving()
                return await usual(chunk, now)

            writer.save = save  # type: ignore[method-assign]  # so that it happens there
            yield writer


@pytest.fixture
async def redis(client: Any, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setattr(flush_module, "CHUNK", 2)
    commands = commands_on(client)
    await push(commands, *(Call(f"app.{n}") for n in range(COUNT)))
    return commands


def flush_of(source: Any, store: Any) -> Flush:
    return Flush(source, store, ledger_days=30.0, log=RateLimitedLog(), wall=lambda: NOON)


async def check_all_saved(redis: Commands, path: Path) -> None:
    """Nothing waits, and each entry is saved once."""
    assert await redis.reader.waiting() == 0
    found = await asyncio.to_thread(contents, path)
    assert [*found.ids.values()] == [1] * COUNT


async def test_the_next_chunk_is_read_while_one_is_saved(redis: Commands, path: Path) -> None:
    ahead = asyncio.Semaphore(0)

    async def reading(start: int) -> None:
        if start:
            ahead.release()

    source = Noted(redis, reading=reading)
    chunks = iter(range(COUNT // 2))  # the last one is alone

    async def saving() -> None:
        if next(chunks, None) is not None:
            await ahead.acquire()

    store = Saving(SQLiteStore(str(path)), saving)
    assert await flush_of(source, store).drain() == COUNT
    assert source.starts == [0, 2, 2, 2]
    await check_all_saved(redis, path)


async def test_nothing_else_is_asked_of_redis_while_it_is_read(
    redis: Commands, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a URL may allow one connection only, with `max_connections`."""
    saved = asyncio.Semaphore(0)
    asked = 0
    usual = Writer.save

    async def save(*chunk: Any) -> Saved | None:
        done = await usual(*chunk)
        saved.release()
        return done

    async def reading(start: int) -> None:
        nonlocal asked
        if start:
            asked += 1
            await saved.acquire()
            for _ in range(50):  # turns of the loop, in which the flush could go on
                await asyncio.sleep(0)
            asked -= 1

    async def acknowledging() -> None:
        assert not asked

    monkeypatch.setattr(Writer, "save", save)
    source = Noted(redis, reading=reading, acknowledging=acknowledging)
    assert await flush_of(source, SQLiteStore(str(path))).drain() == COUNT
    await check_all_saved(redis, path)


async def test_what_was_read_ahead_is_not_used_if_another_worker_has_taken_some(
    redis: Commands, path: Path
) -> None:
    other = flush_of(redis.worker, SQLiteStore(str(path)))
    source = Noted(redis, acknowledging=partial(other.drain, ignore_leases=True))
    assert await flush_of(source, SQLiteStore(str(path))).drain() == 2
    assert source.starts == [0, 2, 0]
    await check_all_saved(redis, path)


async def test_what_was_read_ahead_of_a_shorter_claim_is_not_used(
    redis: Commands, client: Any
) -> None:
    """As where an older copy of Redis takes its place then, in which the claim is as long as before."""
    token = (await redis.worker.claim()).token
    key = KEYS.claim(token)
    elements = await client.lrange(key, 0, -1)
    await client.copy(key, "copy")
    source = Noted(redis, reading=lambda start: client.ltrim(key, int(start > 0), -1))
    reader = ClaimReader(source, token)  # type: ignore[arg-type]  # all that it needs
    await reader.head(2)
    assert reader._ahead is not None
    assert [*(await reader._ahead).elements] == elements[3:5]
    await client.copy("copy", key, replace=True)
    await client.ltrim(key, 2, -1)
    await reader.go_on(taken=True)
    assert [*(await reader.head(2)).elements] == elements[2:4]
    await reader.aclose()


async def test_a_chunk_of_too_many_functions_is_read_again(
    redis: Commands, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Noted(redis)
    flush = flush_of(source, SQLiteStore(str(path)))
    monkeypatch.setattr(flush_module, "CHUNK", 1)  # it does not grow again
    monkeypatch.setattr(worker_commands, "MAX_REQUEST_BYTES", 600)  # one function takes 400
    assert await flush.drain() == COUNT
    assert source.starts[:4] == [0, 2, 0, 1]
    await check_all_saved(redis, path)


async def test_redis_fails_while_the_next_chunk_is_read(redis: Commands, path: Path) -> None:
    async def reading(start: int) -> None:
        if start:
            raise StoreUnavailableError("lost")

    store = SQLiteStore(str(path))
    with pytest.raises(StoreUnavailableError, match="lost"):
        await flush_of(Noted(redis, reading=reading), store).drain()
    assert await redis.reader.waiting() == COUNT - 2  # what was saved before is off the claim
    assert await flush_of(redis.worker, store).drain() == COUNT - 2  # which is free
    await check_all_saved(redis, path)


@pytest.mark.parametrize("failing", ["saving", "acknowledging"])
async def test_reading_ahead_ends_with_the_flush(redis: Commands, path: Path, failing: str) -> None:
    ahead = asyncio.Event()

    async def reading(start: int) -> None:
        if start:
            ahead.set()
            if failing == "saving":
                await asyncio.Event().wait()  # an answer that never comes

    async def fail() -> None:
        await ahead.wait()
        raise StoreUnavailableError("lost")

    store = SQLiteStore(str(path))
    source = Noted(redis, reading=reading, acknowledging=fail)
    flush = flush_of(source, Saving(store, fail) if failing == "saving" else store)
    with pytest.raises(StoreUnavailableError, match="lost"):
        await flush.drain()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await flush_of(redis.worker, store).drain()
    await check_all_saved(redis, path)
