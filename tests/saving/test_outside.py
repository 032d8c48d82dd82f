"""Input from outside: whatever other programs put into `metrics_list` is saved, or put aside with the reason."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from datetime import UTC, datetime
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import fakeredis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.connection import AbstractConnection
from rich.console import Console

from metrics_collector import metrics_collector
from metrics_collector._core.decoding import decode
from metrics_collector._core.entries import MAX_ENTRY_BYTES, RejectedEntryError
from metrics_collector._reading.query import Query
from metrics_collector._recording import recorder
from metrics_collector._redis.connection import connect
from metrics_collector._saving import flush as flush_module
from metrics_collector._saving.flush import Flush
from metrics_collector._sending.outbox import Outbox
from metrics_collector._storage.sqlite import SQLiteStore
from metrics_collector._support.rate_limited_log import RateLimitedLog
from metrics_collector.cli import _figures
from tests.helpers import outside
from tests.helpers.folders import fast_folder
from tests.helpers.pipeline import (
    KEYS,
    NOON,
    Call,
    all_same,
    batch_of,
    commands_on,
    contents,
    lines_of,
    live_totals,
    totals_of,
)
from tests.helpers.rows import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from metrics_collector._core.entries import Entry
    from metrics_collector._recording.recorder import Record
    from metrics_collector._sending.batch import Batch
    from tests.helpers.pipeline import Commands
    from tests.helpers.redis_server import RedisServer

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Sorted(NamedTuple):
    """Elements by what is to become of them; of entries with the same number the first one counts."""

    entries: list[Entry]
    rejected: list[bytes]


def sort(elements: Sequence[bytes]) -> Sorted:
    known = set[tuple[str, int]]()
    entries, rejected = [], []
    for raw in elements:
        try:
            content: Entry | RejectedEntryError = decode(raw)
        except RejectedEntryError as rejection:
            content = rejection
        if content.producer is not None:
            if (content.producer, content.number) in known:
                continue
            known.add((content.producer, content.number))
        if isinstance(content, RejectedEntryError):
            rejected.append(raw[: MAX_ENTRY_BYTES + 1])
        else:
            entries.append(content)
    return Sorted(entries, rejected)


async def save(client: Any, path: Path, elements: Sequence[bytes]) -> int:
    """Push the elements as another program does, and flush as a worker does."""
    for raw in elements:
        await client.rpush(KEYS.metrics_list, raw)
    source, store = commands_on(client).worker, SQLiteStore(str(path))
    flush = Flush(source, store, ledger_days=30, log=RateLimitedLog(), wall=lambda: NOON)
    saved = await flush.drain()
    # Redis has never counted entries that others have numbered, and cannot know that before nothing waits.
    await flush.reconcile()
    return saved


async def check(client: Any, path: Path, elements: Sequence[bytes]) -> None:
    """Each is where it belongs, once, nothing waits, and all of it can be read."""
    assert not await client.exists(KEYS.metrics_list, KEYS.claims)
    assert int(await client.get(KEYS.claimed) or 0) == 0
    expected = sort(elements)
    found = await asyncio.to_thread(contents, path)
    assert Counter(found.entries) == Counter(expected.entries)
    assert [raw for raw, _ in found.rejected] == [_as_kept(raw) for raw in expected.rejected]
    assert all(0 < len(reason) < 300 for _, reason in found.rejected)
    assert all_same(await live_totals(client), totals_of(expected.entries))
    await check_reading(client, path, expected.entries)


def _as_kept(raw: bytes) -> str | bytes:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return raw
    return raw if "\0" in text else text


async def check_reading(client: Any, path: Path, entries: Sequence[Entry]) -> None:
    query = Query(commands_on(client).reader, SQLiteStore(str(path)), frozenset())
    calls = Counter(entry.func_name for entry in entries)
    metrics = await query.functions(None, None)
    for some in (metrics, await query.functions(BEGINNING, None)):
        assert {one.func_name: one.call_count for one in some} == calls
        for one in some:
            assert one.as_report()["Function"] == one.func_name
            assert one.quantile(0.5) is not None
    for resolution in ("minute", "hour", "day"):
        points = await query.history(None, BEGINNING, None, resolution)
        assert sum(point.call_count for point in points) == len(entries)
    for name in list(calls)[:3]:
        assert (await query.function(await query.resolve(name), None, None)).call_count
    screen = StringIO()
    console = Console(file=screen, width=80, color_system=None)
    console.print(_figures.functions(metrics, 80))
    if failures := _figures.failures(metrics, 80):
        console.print(failures)
    assert all(letter.isprintable() or letter == "\n" for letter in screen.getvalue())


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush_module, "CHUNK", 7)


@pytest.mark.parametrize("raw", outside.GOOD)
def test_these_are_entries(raw: bytes) -> None:
    decode(raw)


@pytest.mark.parametrize("raw", outside.BAD)
def test_these_are_none(raw: bytes) -> None:
    with pytest.raises(RejectedEntryError):
        decode(raw)


async def test_good_and_bad_ones_in_one_claim(
    client: Any, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elements = [*outside.BAD, *outside.GOOD, *outside.BAD]
    assert await save(client, path, elements) == len(outside.GOOD)
    await check(client, path, elements)
    assert [entry.func_name for entry in sort(elements).entries][:14] == list(outside.NAMES)
    assert not await asyncio.to_thread(Path("evaluated").exists)
    assert "were not saved as metrics; see the table rejected_entries" in caplog.text


async def test_every_bad_one_alone(client: Any, path: Path) -> None:
    for number, raw in enumerate(outside.BAD):
        assert await save(client, path, [raw]) == 0
        found = await asyncio.to_thread(rows, path, "SELECT count(*) FROM rejected_entries")
        assert found == [(number + 1,)]
    await check(client, path, outside.BAD)


@given(
    st.lists(outside.good | outside.anything, min_size=1, max_size=12),
    st.lists(outside.good | outside.anything, max_size=6),
)
def test_whole_claims_of_anything(some: list[bytes], more: list[bytes]) -> None:
    async def run() -> None:
        client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
        async with client:
            assert await save(client, path, some) == len(sort(some).entries)
            await check(client, path, some)
            await save(client, path, more)
            await check(client, path, some + more)

    with fast_folder() as folder:
        path = Path(folder, "metrics.db")
        asyncio.run(run())


async def test_a_forged_id_of_a_living_producer_stops_nothing(client: Any, path: Path) -> None:
    """Whoever can write to Redis can take the place of an entry, but no more than that."""
    redis = commands_on(client)
    producer = outside.PRODUCER
    forged = [
        outside.element(id=f"{producer}-{number}", func_name="forged")
        for number in (2, 10**15 - 1, *range(1000, 1100, 2))
    ]
    await save(client, path, forged)
    await redis.producer.push(producer, batch_of(*[Call()] * 3, producer=producer), 0)
    await save(client, path, forged)
    found = await asyncio.to_thread(contents, path)
    assert set(found.ids.values()) == {1}
    assert Counter(entry.func_name for entry in found.entries) == {"forged": 52, "app.f": 2}
    assert all_same(await live_totals(client), found.totals)
    assert (await redis.producer.look(producer)).saved.startswith("1-3,1000-1000,")


async def push_all(redis: Commands, buffer: deque[Record], wall: float) -> tuple[Outbox, Batch]:
    """Push what was recorded as one batch, by a clock that says `wall`."""
    outbox = Outbox(buffer, wall=lambda: wall, monotonic=lambda: 0.0)
    outbox.fill()
    outbox.close_batch()
    following = outbox.next()
    assert following is not None
    assert (await redis.producer.push(outbox.producer, *following)).kind == "ok"
    return outbox, following[0]


async def test_names_that_code_may_have_come_through_unharmed(client: Any, path: Path) -> None:
    """From the decorator to the tables: names of functions and of error types, as odd as Python lets them be."""
    names = [name for name in outside.NAMES if len(name) <= 1000]
    buffer: deque[Record] = deque()
    with recorder.redirected(buffer):
        for name in names:
            kind = type(name, (Exception,), {})

            @metrics_collector(name=name)
            def fail(kind: type[Exception] = kind) -> None:
                raise kind

            fail.__name__ = fail.__qualname__ = name
            for function in (fail, metrics_collector(fail)):
                with pytest.raises(kind):
                    function()
    redis = commands_on(client)
    outbox, batch = await push_all(redis, buffer, NOON)
    assert await save(client, path, []) == 3 * len(names)
    elements = lines_of(batch)
    await check(client, path, elements)
    entries = sort(elements).entries
    assert {entry.error_type for entry in entries} == set(names)
    assert {entry.func_name.removeprefix(f"{__name__}.") for entry in entries} == set(names)
    outbox.replied(await redis.producer.look(outbox.producer))
    assert outbox.counts().saved == 3 * len(names)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "mark", "count"),
    [
        ("n" * 594 + "{:06}", None, 3000),
        ("n" * 600, "KeyError", 3000),
        ("\N{SNAIL}" * 994 + "{:06}", "\N{SNAIL}" * 300, 300),
    ],
    ids=["long", "long, one function", "longest"],
)
async def test_whatever_the_names_no_request_is_too_large_for_a_server(
    name: str,
    mark: str | None,
    count: int,
    start_redis: Callable[..., RedisServer],
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = 1_000_000
    server = start_redis(proto_max_bulk_len="1mb", client_query_buffer_limit="1mb")
    packed = AbstractConnection.pack_command

    def checked(connection: AbstractConnection, *words: Any) -> list[bytes]:
        request = packed(connection, *words)
        if sum(map(len, request)) > limit:  # as a proxy may
            raise ConnectionError(f"{words[0]} of more than {limit} bytes")
        return request

    monkeypatch.setattr(AbstractConnection, "pack_command", checked)
    monkeypatch.setattr(flush_module, "CHUNK", 40_000)
    buffer: deque[Record] = deque((name.format(n), 0.0, 0.1 * n, mark) for n in range(count))
    expected = Counter(name for name, *_ in buffer)
    client = connect(server.url)
    redis = commands_on(client)
    outbox = Outbox(buffer, wall=lambda: NOON, monotonic=lambda: 0.0)
    while outbox.holds_before(count):
        await outbox.make_batch(count)
        batch, need = outbox.next() or pytest.fail("no batch")
        outbox.replied(await redis.producer.push(outbox.producer, batch, need), batch)
    assert await save(client, path, []) == count
    found = await asyncio.to_thread(contents, path)
    assert Counter(entry.func_name for entry in found.entries) == expected
    live = await redis.reader.live(expected)
    assert all_same({name: one.totals for name, one in live.items()}, found.totals)
    outbox.replied(await redis.producer.look(outbox.producer))
    assert outbox.counts().saved == count
    await client.aclose()


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf, -1e300, 1e300])
async def test_clocks_that_break_lose_no_entry(client: Any, path: Path, broken: float) -> None:
    """Each call is counted, whatever the clocks of its process say: with the nearest time that can be."""
    moments = [0.0, broken, 1.0, broken, broken, 2.0, 1.0]
    buffer: deque[Record] = deque(("app.f", *pair, None) for pair in pairwise(moments))
    for wall in (NOON, broken):
        await client.flushall()
        _, batch = await push_all(commands_on(client), buffer.copy(), wall)
        database = path.with_name(f"{wall}.db")
        assert await save(client, database, []) == len(buffer)
        await check(client, database, lines_of(batch))
