"""Reading: live totals with SQL behind them, windows and history with what is pending."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_collector._core.models import FunctionMetrics, HistoryPoint, figures
from metrics_collector._core.pipeline_types import Live, Waiting
from metrics_collector._core.rollup_ranges import SECONDS, cover, floor, joined
from metrics_collector._errors import (
    AmbiguousNameError,
    ConfigurationError,
    StoreUnavailableError,
    UnknownFunctionError,
)
from metrics_collector._reading import query as query_module
from metrics_collector._reading.names import resolve
from metrics_collector._reading.query import Query
from metrics_collector._storage.sqlite import SQLiteStore
from tests.helpers.chunks import chunk_of
from tests.helpers.driving import drive
from tests.helpers.folders import fast_folder
from tests.helpers.pipeline import (
    KEYS,
    NOON,
    PRODUCER,
    REFUSED,
    TIMEOUT,
    Call,
    During,
    batch_of,
    commands_on,
    entries_of,
    flush_of,
    foreign,
    lines_of,
    push,
    totals_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from metrics_collector._core.entries import Entry
    from metrics_collector._core.totals import Mark
    from metrics_collector._saving.flush import Flush
    from tests.helpers.pipeline import Commands

NOTHING = frozenset[str]()


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def bound(seconds: float | None) -> datetime | None:
    return None if seconds is None else at(seconds)


def query_of(reader: Any, path: Path, *measured: str) -> Query:
    return Query(reader, SQLiteStore(str(path)), frozenset(measured))


@pytest.fixture
def redis(fake_client: Any) -> Commands:
    return commands_on(fake_client)


@pytest.fixture
def query(redis: Commands, path: Path) -> Query:
    return query_of(redis.reader, path)


@pytest.fixture
def flush(redis: Commands, path: Path) -> Flush:
    return flush_of(redis.worker, path)


# Live


async def test_a_call_is_seen_wherever_it_is(
    redis: Commands, flush: Flush, fake_client: Any, query: Query
) -> None:

    async def counted() -> int:
        (listed,) = await query.functions(None, None)
        one = await query.function("app.f", None, None)
        assert one == listed
        return one.call_count

    await push(redis, Call(seconds=1.0))
    assert await counted() == 1  # pending, and no database yet
    await flush.drain()
    await push(redis, Call(seconds=2.0), first=2)
    assert await counted() == 2  # SQL's part is in the live totals
    await fake_client.flushall()
    assert await counted() == 1  # what was pending is lost, and SQL steps in
    await push(redis, Call(seconds=3.0), first=3, need=0)
    assert await counted() == 2  # SQL and what is pending
    one = await query.function("app.f", None, None)
    assert (one.min_execution_time, one.max_execution_time) == (1.0, 3.0)
    await flush.drain()
    await flush.reconcile()
    assert await counted() == 2


async def test_a_function_that_was_not_called_gives_zeros(redis: Commands, path: Path) -> None:
    query = query_of(redis.reader, path, "app.f")
    assert await query.function("app.f", None, None) == FunctionMetrics(func_name="app.f")
    assert await query.function("app.f", at(0), None) == FunctionMetrics(func_name="app.f")
    assert await query.functions(None, None) == []
    assert await query.functions(at(0), None) == []


async def test_totals_whose_calls_are_gone_are_nothing(
    redis: Commands, flush: Flush, fake_client: Any, query: Query
) -> None:
    await push(redis, Call())
    await fake_client.delete(KEYS.metrics_list)
    await flush.reconcile()
    assert await query.function("app.f", None, None) == FunctionMetrics(func_name="app.f")
    assert await query.functions(None, None) == []


async def test_figures_of_all_kinds(redis: Commands, flush: Flush, query: Query) -> None:
    calls = [Call(seconds=n / 100) for n in range(1, 98)]
    await push(redis, *calls, Call(seconds=5.0, mark="KeyError"), Call(seconds=9.0, mark=""))
    for since in (None, at(NOON)):
        one = await query.function("app.f", since, None)
        assert (one.call_count, one.error_count, one.cancelled_count) == (99, 1, 1)
        assert one.error_types == {"KeyError": 1}
        assert one.min_execution_time == 0.01
        assert one.max_execution_time == 9.0
        assert one.last_called_at == at(NOON + 9)
        assert one.p50 == pytest.approx(0.5, rel=0.011)
        assert one.p99 == 9.0
        await flush.drain()


async def test_what_is_acknowledged_between_the_two_reads_counts_once(
    redis: Commands, flush: Flush, path: Path
) -> None:
    await push(redis, Call(), Call())
    between = During(redis.reader, "live", flush.drain)
    one = await query_of(between, path).function("app.f", None, None)
    assert one.call_count == 2


# Windows and history


async def test_pending_entries_count_once_while_they_are_saved(
    redis: Commands, flush: Flush, path: Path, fake_client: Any
) -> None:
    await push(redis, Call("app.f"), Call("app.g"))
    await fake_client.rpush("metrics_list", foreign("app.f"), "rubbish")

    async def check() -> None:
        query = query_of(redis.reader, path)
        counts = {one.func_name: one.call_count for one in await query.functions(at(NOON), None)}
        assert counts == {"app.f": 2, "app.g": 1}
        points = await query.history(None, at(NOON), None, "minute")
        assert {p.func_name: p.call_count for p in points} == counts

    await check()
    claim = await redis.worker.claim()
    await check()
    # Saved, but the worker died before it said so.
    await save(SQLiteStore(str(path)), (await redis.worker.read(claim.token, 10))[1], claim.token)
    await check()
    await redis.worker.release(claim.token)
    await flush.drain()
    await check()


async def test_what_is_saved_between_the_two_reads_counts_once(
    redis: Commands, flush: Flush, path: Path
) -> None:
    await push(redis, Call(), Call())

    class Overtaken:
        """Redis, from which the flush takes all that a reader has just seen as pending."""

        def __getattr__(self, name: str) -> Any:
            return getattr(redis.reader, name)

        async def pending(self) -> AsyncIterator[Waiting]:
            async for one in redis.reader.pending():
                yield one
            await flush.drain()

    one = await query_of(Overtaken(), path).function("app.f", at(NOON), None)
    assert one.call_count == 2


async def test_entries_count_in_their_own_minute_however_late(
    redis: Commands, flush: Flush, query: Query
) -> None:
    await push(redis, Call(seconds=0.0), at=NOON + 30)
    await flush.drain()
    await push(redis, Call(seconds=0.0), first=2, at=NOON - 3600)
    await push(redis, Call(seconds=0.0), first=3, at=NOON - 86400 * 40)
    for _ in range(2):  # pending, and saved
        window = await query.function("app.f", at(NOON - 3600), at(NOON - 3599))
        assert window.call_count == 1
        points = await query.history("app.f", at(NOON - 86400 * 41), None, "minute")
        assert [p.start for p in points] == [at(NOON - 86400 * 40), at(NOON - 3600), at(NOON)]
        await flush.drain()


async def test_what_a_window_counts(flush: Flush, query: Query, path: Path) -> None:
    await flush.drain()
    minute = at(NOON + 60), at(NOON + 120)
    assert await query.counted(at(NOON + 61), at(NOON + 119)) == minute
    assert await query.counted(at(NOON + 61), None) == (minute[0], None)
    async with SQLiteStore(str(path)).writing() as writer:
        await writer.purge({"minute": NOON + 3600}, NOON + 7200)
    assert await query.counted(at(NOON + 61), at(NOON + 119)) == (at(NOON), at(NOON + 3600))


async def test_no_database_here_but_somewhere(redis: Commands, flush: Flush, path: Path) -> None:
    elsewhere = path.with_name("elsewhere.db")
    await push(redis, Call())
    query = query_of(redis.reader, elsewhere)
    # Nothing was saved yet: what is pending is all there is.
    assert (await query.function("app.f", at(NOON), None)).call_count == 1
    await flush.drain()
    for reading in (
        query.function("app.f", at(NOON), None),
        query.functions(None, at(NOON)),
        query.history(None, at(NOON), None, "day"),
    ):
        with pytest.raises(StoreUnavailableError) as caught:
            await reading
        assert str(caught.value) == (
            "windows and history are read from the database that the worker writes, and there is "
            f"none at {elsewhere}: read them with the settings of the worker, on a machine that has it"
        )
    assert (await query.function("app.f", None, None)).call_count == 1
    assert not await asyncio.to_thread(elsewhere.exists)


async def test_history_by_minute_hour_and_day(redis: Commands, flush: Flush, query: Query) -> None:
    for n, seconds in enumerate((0, 59.9, 60, 3600, 86400), start=1):
        await push(redis, Call(seconds=0.0), Call("app.g", 0.0), first=2 * n - 1, at=NOON + seconds)
        if n == 3:
            await flush.drain()

    async def starts(resolution: str, since: float, until: float | None = None) -> list[float]:
        points = await query.history("app.f", at(since), bound(until), resolution)
        assert all(p.func_name == "app.f" for p in points)
        return [p.start.timestamp() - NOON for p in points for _ in range(p.call_count)]

    assert await starts("minute", NOON) == [0, 0, 60, 3600, 86400]
    assert await starts("minute", NOON + 61, NOON + 3601) == [60, 3600]
    assert await starts("minute", NOON, NOON + 60) == [0, 0]
    assert await starts("hour", NOON + 1) == [0, 0, 0, 3600, 86400]
    assert await starts("day", NOON + 1) == [-43200] * 4 + [43200]
    assert len(await query.history(None, at(NOON), None, "day")) == 4
    assert isinstance((await query.history(None, at(NOON), None, "day"))[0], HistoryPoint)
    with pytest.raises(ConfigurationError, match="'week'; it may be 'minute', 'hour' or 'day'"):
        await query.history(None, at(NOON), None, "week")


class Pending:
    """A Redis that holds these elements, and no live totals."""

    label = "here"

    def __init__(self, elements: Sequence[bytes]) -> None:
        self._elements = elements

    async def live(self, _: Iterable[str]) -> dict[str, Live]:
        return {}

    async def function_names(self) -> set[str]:
        return set()

    async def waiting(self) -> int:
        return len(self._elements)

    async def saved_function_names(self) -> set[str]:
        return set()

    async def pending(self) -> AsyncIterator[Waiting]:
        for number, raw in enumerate(self._elements, start=1):
            yield Waiting(raw, "", number)


# Seconds around noon: some days, and close to the edges of minutes, hours and days.
moments = st.one_of(
    st.integers(-3 * 86400, 3 * 86400),
    st.builds(
        lambda n, tier, off: n * SECONDS[tier] + off,
        st.integers(-4, 4),
        st.sampled_from(list(SECONDS)),
        st.sampled_from([-1, 0, 1, 0.5]),
    ),
).map(lambda seconds: NOON + seconds)
calls = st.tuples(
    st.sampled_from(["app.f", "app.g"]),
    st.sampled_from([0.25, 1.5]),
    st.sampled_from([None, "", "KeyError", TIMEOUT, REFUSED]),
    moments,
    st.sampled_from(["saved", "pending", "both"]),
)


histories = st.lists(calls, min_size=1, max_size=25)
windows = st.lists(moments, min_size=2, max_size=2).map(sorted)


class Elements:
    """Those of `metrics_list` that a history becomes: its saved ones, and its pending ones."""

    def __init__(self, history: Iterable[tuple[str, float, Mark, float, str]]) -> None:
        lines = [
            (lines_of(batch_of(Call(name, seconds, mark), first=n, at=when - seconds))[0], place)
            for n, (name, seconds, mark, when, place) in enumerate(history, start=1)
        ]
        self.all = [raw for raw, _ in lines]
        self.saved = [raw for raw, place in lines if place != "pending"]
        self.pending = [raw for raw, place in lines if place != "saved"]


@given(histories, windows)
def test_windows_and_history_are_what_the_entries_add_up_to(
    history: list[tuple[str, float, Mark, float, str]], window: list[float]
) -> None:
    elements = Elements(history)
    entries = entries_of(elements.all)
    since, until = window
    with fast_folder() as folder:
        database = SQLiteStore(str(Path(folder, "metrics.db")), plain=True)
        drive(save(database, elements.saved))
        query = Query(Pending(elements.pending), database, NOTHING)
        for start, end in ((since, until), (since, None), (None, until)):
            check_window(query, entries, start, end)
        for resolution in SECONDS:
            check_history(query, entries, since, until, resolution)


@given(histories, windows, st.dictionaries(st.sampled_from([*SECONDS, "entry"]), moments))
def test_after_a_purge_they_go_by_what_is_kept(
    history: list[tuple[str, float, Mark, float, str]],
    window: list[float],
    before: dict[str, float],
) -> None:
    elements = Elements(history)
    pending = [raw for raw in elements.pending if raw not in elements.saved]
    since, until = window

    async def purge(database: SQLiteStore) -> dict[str, int]:
        async with database.writing() as writer:
            await writer.purge(before, NOON + 30 * 86400)
        async with database.reading() as reader:
            assert reader is not None
            return await reader.purged()

    with fast_folder() as folder:
        database = SQLiteStore(str(Path(folder, "metrics.db")), plain=True)
        drive(save(database, elements.saved))
        purged = drive(purge(database))
        query = Query(Pending(pending), database, NOTHING)
        # Days stand in for all that is finer; nothing stands in for them.
        kept = [e for e in entries_of(elements.saved) if e.created_at >= purged.get("day", 0)]
        entries = [*kept, *entries_of(pending)]
        ranges = cover(int(since // 60 * 60), int(-(-until // 60) * 60), purged)
        expected = totals_of(e for e in entries if any(t.covers(e.created_at) for t in ranges))
        found = asyncio.run(query.functions(at(since), at(until))) if ranges else []
        assert {one.func_name: one for one in found} == {
            name: FunctionMetrics(**figures(name, totals)) for name, totals in expected.items()
        }
        for resolution in SECONDS:
            ranges = joined(resolution, since, until, purged)
            by_start: dict[tuple[int, str, str], list[Entry]] = {}
            for entry in entries:
                for rollup_range in ranges:
                    if rollup_range.covers(entry.created_at):
                        start = floor(entry.created_at, rollup_range.resolution)
                        key = start, entry.func_name, rollup_range.resolution
                        by_start.setdefault(key, []).append(entry)
            points = asyncio.run(query.history(None, at(since), at(until), resolution))
            keys = [(int(p.start.timestamp()), p.func_name, p.resolution) for p in points]
            assert keys == sorted(by_start)
            for key, point in zip(keys, points, strict=True):
                (totals,) = totals_of(by_start[key]).values()
                assert (point.call_count, point.histogram) == (
                    totals.counts["call_count"],
                    figures("", totals)["histogram"],
                )


async def save(
    database: SQLiteStore, elements: Sequence[bytes], token: str = "0" * 16, now: float = NOON
) -> None:
    async with database.writing() as writer:
        await writer.save(chunk_of(token, len(elements), elements), now)


def within(entry: Entry, start: float | None, end: float | None, seconds: int) -> bool:
    """Whether the entry lies in the whole minutes (hours, days) that the two moments span."""
    first = 0.0 if start is None else start // seconds * seconds
    last = float("inf") if end is None else -(-end // seconds) * seconds
    return first <= entry.created_at < last


def check_window(
    query: Query, entries: Sequence[Entry], start: float | None, end: float | None
) -> None:
    expected = totals_of(e for e in entries if within(e, start, end, 60))
    since, until = bound(start), bound(end)
    found = {one.func_name: one for one in asyncio.run(query.functions(since, until))}
    assert found == {
        name: FunctionMetrics(**figures(name, totals)) for name, totals in expected.items()
    }
    for name in ("app.f", "app.g"):
        one = asyncio.run(query.function(name, since, until))
        assert one == found.get(name, FunctionMetrics(func_name=name))


def check_history(
    query: Query, entries: Sequence[Entry], since: float, until: float, resolution: str
) -> None:
    seconds = SECONDS[resolution]
    points = asyncio.run(query.history(None, at(since), at(until), resolution))
    expected: dict[tuple[datetime, str], list[Entry]] = {}
    for entry in entries:
        if within(entry, since, until, seconds):
            key = at(entry.created_at // seconds * seconds), entry.func_name
            expected.setdefault(key, []).append(entry)
    assert [(p.start, p.func_name) for p in points] == sorted(expected)
    for point in points:
        (totals,) = totals_of(expected[point.start, point.func_name]).values()
        assert point == HistoryPoint(
            start=point.start, resolution=resolution, **figures(point.func_name, totals)
        )


# Names


async def test_names_are_found_by_their_ends(redis: Commands, flush: Flush, path: Path) -> None:
    await push(redis, Call("app.saved.run"), Call("deep.app.saved.run2"))
    await flush.drain()
    await redis.connection.execute("FLUSHALL")
    await push(redis, Call("app.live.walk"), Call("walk"), first=3, need=0)
    query = query_of(redis.reader, path, "app.measured.sit", "app.other.sit")
    full = {name: name for name in ("app.saved.run", "walk")}  # a full name goes first
    ends = {"saved.run": "app.saved.run", "run": "app.saved.run", "run2": "deep.app.saved.run2"}
    others = {"live.walk": "app.live.walk", "measured.sit": "app.measured.sit"}
    for asked, meant in (full | ends | others).items():
        assert await query.resolve(asked) == meant
    with pytest.raises(AmbiguousNameError) as several:
        await query.resolve("sit")
    assert str(several.value) == (
        "'sit' matches 'app.measured.sit', 'app.other.sit'; give more of the name"
    )
    for unknown, said in {
        "half \ud800 a character": None,
        "app.saved.runn": "close: 'app.saved.run'",
        "wallk": "'walk'",
        "zzz": r"^no measured function matches 'zzz'$",
        "un": None,  # an end, but not at a dot
    }.items():
        with pytest.raises(UnknownFunctionError, match=said):
            await query.resolve(unknown)


async def test_many_names_are_not_all_listed(redis: Commands, path: Path) -> None:
    names = [f"app{n}.f" for n in range(8)]
    with pytest.raises(AmbiguousNameError, match=r"'app4.f' and 3 more; give more of the name"):
        await query_of(redis.reader, path, *names).resolve("f")


async def test_a_name_is_looked_for_beside_the_loop(
    redis: Commands, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def noting(asked: str, names: AbstractSet[str]) -> str:
        threads.append(threading.current_thread())
        return resolve(asked, names)

    monkeypatch.setattr(query_module, "resolve", noting)
    assert await query_of(redis.reader, path, "app.measured.sit").resolve("sit")
    assert threads != [threading.current_thread()]


async def test_windows_end_where_they_should(redis: Commands, query: Query) -> None:
    await push(redis, Call(seconds=0.0), at=NOON)
    for since, until, count in (
        (NOON + 59, None, 1),  # the minute of `since` counts in full
        (NOON + 60, None, 0),
        (NOON - 600, NOON, 0),
        (NOON - 600, NOON + 0.001, 1),  # so does that of `until`
        (None, NOON + 1, 1),
        (None, NOON, 0),
    ):
        one = await query.function("app.f", bound(since), bound(until))
        assert one.call_count == count
    long_ago, far = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert (await query.function("app.f", long_ago + timedelta(days=1), far)).call_count == 1
    assert len(await query.history(None, long_ago + timedelta(days=1), far, "day")) == 1


async def test_many_functions_come_from_sql_where_redis_has_none(
    redis: Commands, flush: Flush, path: Path
) -> None:
    batch = batch_of(*[Call(f"app.f{n}", 0.5 + n) for n in range(120)])
    await redis.producer.push(PRODUCER, batch, 0)
    await flush.drain()
    await redis.connection.execute("FLUSHALL")
    found = await query_of(redis.reader, path).functions(None, None)
    expected = totals_of(entries_of(lines_of(batch)))
    assert found == [
        FunctionMetrics(**figures(name, totals)) for name, totals in sorted(expected.items())
    ]
