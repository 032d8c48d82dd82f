"""What every store has to pass, asked through the port alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_collector._core.histogram import bucket
from metrics_collector._core.intervals import Intervals
from metrics_collector._core.pipeline_types import unnumbered
from metrics_collector._core.rollup_ranges import SECONDS, RollupRange
from metrics_collector._core.totals import Totals
from metrics_collector._storage.base import EntryFilter, ErrorTime, StoreState
from metrics_collector._storage.postgres import PostgresStore
from metrics_collector._storage.sqlite import SQLiteStore
from tests.helpers.chunks import chunk_of
from tests.helpers.folders import fast_folder
from tests.helpers.outside import element
from tests.helpers.pipeline import (
    NOON,
    OTHER_PRODUCER,
    PRODUCER,
    REFUSED,
    TIMEOUT,
    Call,
    added,
    all_same,
    batch_of,
    entries_of,
    entry_of_row,
    foreign,
    lines_of,
    same,
    totals_of,
)
from tests.helpers.rows import counts_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from metrics_collector._core.entries import Entry
    from metrics_collector._core.pipeline_types import Purged, Saved
    from metrics_collector._storage.base import Store, StoreReader
    from tests.helpers.postgres_server import PostgresServer

PLAIN = True  # without threads, as at the exit of the interpreter
Make: TypeAlias = "Callable[[Path, bool], Store]"


def sqlite(_: pytest.FixtureRequest) -> Make:
    return lambda folder, plain: SQLiteStore(str(folder / "metrics.db"), plain=plain)


def postgres(request: pytest.FixtureRequest) -> Make:
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return lambda _, plain: PostgresStore(server.new_database(), plain=plain)


STORES = {"sqlite": sqlite, "postgres": postgres}

TOKEN = "0011223344556677"
DAY = SECONDS["day"]
LATER = NOON + DAY * 3
NOW = NOON + DAY * 30
FIRST = 1_700_049_600_000  # the number of a commit at noon
ALL = EntryFilter()


@pytest.fixture(params=[not PLAIN, PLAIN], ids=["threaded", "plain"])
def plain(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="session", params=STORES.values(), ids=list(STORES))
def make(request: pytest.FixtureRequest) -> Make:
    """Makes an empty store, of a file in a folder if it is one of files."""
    made: Make = request.param(request)
    return made


@pytest.fixture
def store(make: Make, path: Path, plain: bool) -> Store:
    return make(path.parent, plain)


@asynccontextmanager
async def reading(store: Store) -> AsyncIterator[StoreReader]:
    async with store.reading() as reader:
        assert reader is not None
        yield reader


async def save(
    store: Store, elements: Sequence[bytes], *, token: str = TOKEN, now: float = NOON
) -> Saved:
    """Save one claim in one chunk."""
    async with store.writing() as writer:
        saved = await writer.save(chunk_of(token, len(elements), elements), now)
    assert saved is not None
    return saved


class Kept(NamedTuple):
    """What a store keeps."""

    entries: list[Entry]
    totals: dict[str, Totals]
    ledger: dict[str, list[tuple[int, int]]]
    state: StoreState


async def kept(store: Store, *tokens: str) -> Kept:
    """Read it, and check on the way that rollups and totals are what the entries add up to."""
    async with reading(store) as reader:
        stored = (await reader.entries(ALL, None, 10_000_000)).entries
        entries = [entry_of_row(entry._asdict()) for entry in stored]
        totals = {name: one.totals for name, one in (await reader.all_totals()).items()}
        assert all_same(totals, totals_of(entries))
        for resolution, seconds in SECONDS.items():
            expected: dict[tuple[str, int], list[Entry]] = {}
            for entry in entries:
                start = int(entry.created_at // seconds) * seconds
                expected.setdefault((entry.func_name, start), []).append(entry)
            middle = int(NOON) // seconds * seconds + seconds
            ranges = [RollupRange(resolution, 0, middle), RollupRange(resolution, middle, None)]
            found = await reader.rollups(ranges, None)
            assert all_same(await reader.sums(ranges, None), totals)
            for name, of_function in totals.items():
                assert all_same(await reader.sums(ranges, name), {name: of_function})
                assert {one[:2] for one in await reader.rollups(ranges, name)} == {
                    key for key in expected if key[0] == name
                }
            assert sorted(one[:2] for one in found) == sorted(expected)
            for name, start, of_rollup in found:
                assert same(of_rollup, totals_of(expected[name, start])[name])
        producers = [PRODUCER, OTHER_PRODUCER, *map(unnumbered, tokens or [TOKEN])]
        ledger = {name: list(known) for name, known in (await reader.ledger(producers)).items()}
        return Kept(entries, totals, ledger, await reader.state())


# Saving


async def test_nothing_is_there_yet(store: Store, path: Path) -> None:
    async with store.reading() as reader:
        assert reader is None
    described = await store.describe()
    assert (described.exists, described.error, described.saved) == (False, None, None)
    assert not await asyncio.to_thread(lambda: list(path.parent.iterdir()))
    async with store.writing():
        pass
    described = await store.describe()
    assert (described.exists, described.saved, described.oldest) == (True, 0, None)


async def test_a_chunk_is_kept(store: Store) -> None:
    batch = batch_of(Call(), Call("app.g", 1.5, "ValueError"), Call("app.g", 0.0, ""))
    elements = [*lines_of(batch), foreign("app.größe"), b"rubbish"]
    saved = await save(store, elements)
    assert (saved.no, saved.saved, saved.rejected) == (FIRST, 4, 1)
    assert saved.producers == {PRODUCER: "1-3"}
    found = await kept(store)
    assert Counter(found.entries) == Counter(entries_of(elements))
    assert found.ledger == {PRODUCER: [(1, 3)], unnumbered(TOKEN): [(1, 2)]}
    assert found.state == (saved.db, saved.no)
    described = await store.describe()
    assert described.exists
    assert described.error is None
    assert described.size
    oldest = min(e.created_at for e in found.entries)
    assert described[4:8] == (4, oldest, 1, saved.db)
    assert described.free is None or described.free > 0
    again = await store.describe(try_writing=True)
    assert again._replace(free=described.free) == described


async def test_names_of_all_kinds_are_kept(store: Store) -> None:
    names = ['a"b', "a'b; DROP TABLE metrics;--", "<b>&amp;", "line\nbreak", "\x01\x7f", "x" * 1000]
    names += ["größe", "日本", "🙂", "123", "null", "$[0]", "%_*?"]
    await save(store, lines_of(batch_of(*[Call(name, 0.5, name[:100]) for name in names])))
    await save(store, lines_of(batch_of(*map(Call, names), first=len(names) + 1)))
    found = await kept(store)
    assert {name: t.counts["call_count"] for name, t in found.totals.items()} == (
        dict.fromkeys(names, 2)
    )
    async with reading(store) as reader:
        assert sorted(await reader.function_names()) == sorted(names)
        assert (await reader.totals_of([*names, "app.nobody"])).keys() == set(names)
        failed = await reader.failures([RollupRange("day", 0, None)], None)
        assert failed.keys() == {(name, name[:100]) for name in names}
        times = [ErrorTime(*pair, *at, *at) for pair, at in failed.items()]
        times = [time._replace(end=time.end + DAY) for time in times]
        for by in ("hour", "minute"):
            assert set(await reader.occurrences(times, by, last=True)) == {int(NOON)}
        for last in (False, True):
            moments = await reader.occurrences(times, "entry", last=last)
            assert set(moments) == {NOON + 0.5}
    assert names[0] in store.examples.slowest(names[0], NOON, LATER)


async def test_outcomes_and_fields_that_are_not_known_are_kept(store: Store) -> None:
    timeout = element(outcome="timeout", seen={"by": ["é", None, 1.5]}, extra="\0\ud800")
    refused = element(outcome="refused", error_occurred=1, error_type="OSError")
    failed = element(outcome="refused", error_occurred=1, expected=True)
    elements = [foreign(), timeout, refused, failed]
    saved = await save(store, elements)
    assert (saved.saved, saved.rejected) == (4, 0)
    found = await kept(store)
    assert set(found.entries) == set(entries_of(elements))
    errors = {"error_count": 2, "error:OSError": 1, "error:Exception": 1}
    outcomes = {"call_count": 4, "outcome:timeout": 1, "outcome:refused": 2}
    assert found.totals["app.f"].counts == {**errors, **outcomes, bucket(0.5): 4}
    minute = RollupRange("minute", int(NOON), int(NOON) + 60)
    async with reading(store) as reader:
        entries = (await reader.entries(ALL, None, 10)).entries
        more = r'{"seen":{"by":["\u00e9",null,1.5]},"extra":"\u0000\ud800"}'
        assert {e[4:] for e in entries} == {
            ("ok", None, None, None),
            ("timeout", None, None, more),
            ("refused", "OSError", None, None),
            ("refused", None, None, '{"expected":true}'),
        }
        assert set(await reader.slowest("app.f", minute, 10)) == set(entries)
        assert counts_of(await reader.counts(minute, 60)) == [("app.f", int(NOON), 4, 2)]
        failures = await reader.failures([minute], None)
        assert failures.keys() == {("app.f", "OSError"), ("app.f", "Exception")}
        times = [ErrorTime(*pair, minute.start, minute.start + 60) for pair in failures]
        assert await reader.occurrences(times, "entry", last=True) == [NOON, NOON]


async def test_two_workers_save_one_claim_once(store: Store) -> None:
    elements = [*lines_of(batch_of(*[Call()] * 500)), foreign(), b"rubbish"]
    both = await asyncio.gather(save(store, elements), save(store, elements))
    assert sorted(one.saved for one in both) == [0, 501]
    assert sorted(one.rejected for one in both) == [0, 1]
    assert sorted(one.no for one in both) == [FIRST, FIRST + 1]
    assert len((await kept(store)).entries) == 501


@st.composite
def elements(draw: st.DrawFn) -> list[bytes]:
    """Elements as a claim may hold them: few numbers, so that many of them come again."""
    kinds = st.one_of(
        st.tuples(st.sampled_from([PRODUCER, OTHER_PRODUCER]), st.integers(1, 12)).map(numbered),
        st.sampled_from([foreign(), foreign("app.h", 9.0, at=LATER), b"rubbish", b"{}"]),
    )
    return draw(st.lists(kinds, min_size=1, max_size=15))


def numbered(identity: tuple[str, int]) -> bytes:
    """The entry of that identity: it is the same each time that it comes."""
    producer, number = identity
    mark = (None, "", "KeyError", TIMEOUT, REFUSED)[number % 5]
    call = Call("app.fgh"[: 5 + number % 3], number / 7, mark)
    at = (NOON, NOON + 61, LATER)[number % 3]
    return lines_of(batch_of(call, first=number, producer=producer, at=at))[0]


# For each claim: its elements, and the sizes of the chunks in which it is read, each with whether it is taken off.
claims = st.lists(
    st.tuples(elements(), st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=8)),
    min_size=1,
    max_size=4,
)


@given(history=claims)
def test_everything_is_saved_once(
    make: Make, history: list[tuple[list[bytes], list[tuple[int, bool]]]]
) -> None:
    async def work(store: Store) -> None:
        expected_claims = await save_history(store, history)
        every = [raw for claim, _ in history for raw in claim]
        entries = entries_of(every)
        found = await kept(store, *(f"{index:016x}" for index in range(len(history))))
        expected = {(e.producer, e.number) for e in entries if e.producer is not None}
        assert {(e.producer, e.number) for e in found.entries if e.producer} == expected
        assert len(found.entries) == len(expected) + sum(e.producer is None for e in entries)
        assert (await store.describe()).rejected == len(every) - len(entries)
        ledger = {PRODUCER: Intervals(), OTHER_PRODUCER: Intervals()} | expected_claims
        for producer, number in expected:
            ledger[producer].add(number)
        assert found.ledger == {name: list(known) for name, known in ledger.items() if known}

    with fast_folder() as folder:
        asyncio.run(work(make(Path(folder), PLAIN)))


async def save_history(
    store: Store, history: list[tuple[list[bytes], list[tuple[int, bool]]]]
) -> dict[str, Intervals]:
    """Save claim by claim, with workers that die before they take off what they have saved."""
    unnumbered_ones: dict[str, Intervals] = {}
    async with store.writing() as writer:
        for index, (claim, plan) in enumerate(history):
            token, at = f"{index:016x}", 0
            for size, taken in [*plan, (len(claim), True)]:
                chunk = claim[at : at + size]
                before = await writer.totals_of(await writer.function_names())
                saved = await writer.save(chunk_of(token, len(claim) - at, chunk), NOON)
                assert saved is not None
                check_told(saved, chunk, {name: n.totals for name, n in before.items()})
                at += len(chunk) if taken else 0
            unnumbered_ones[unnumbered(token)] = Intervals()
            for distance, raw in enumerate(reversed(claim), start=1):
                if not any(e.producer for e in entries_of([raw])):
                    unnumbered_ones[unnumbered(token)].add(distance)
    return unnumbered_ones


def check_told(saved: Saved, chunk: Sequence[bytes], before: dict[str, Totals]) -> None:
    """What is told of each function adds up."""
    entries = entries_of(chunk)
    deltas = totals_of(e for e in entries if e.producer is not None)
    assert saved.functions.keys() == {e.func_name for e in entries}
    for name, told in saved.functions.items():
        assert same(told.delta or Totals(), deltas.get(name, Totals()))
        if told.previous is not None:  # all of d was newly saved, and nothing else
            grown = added(before.get(name, Totals()), told.delta or Totals())
            assert same(grown, told.total)
            assert told.no == saved.no
        elif told.no != saved.no:
            assert same(told.total, before[name])


async def test_what_a_producer_hears_leaves_gaps_out(store: Store) -> None:
    saved = await save(store, [numbered((PRODUCER, n)) for n in range(1, 80, 2)])
    assert len(saved.producers[PRODUCER].split(",")) == 32
    assert len((await kept(store)).ledger[PRODUCER]) == 40


async def test_a_commit_number_is_that_of_the_function(store: Store) -> None:
    first = await save(store, [numbered((PRODUCER, 3))])
    second = await save(store, [numbered((PRODUCER, 4))])
    again = await save(store, [numbered((PRODUCER, 3))], now=NOON - 60)  # the clock was set back
    assert [s.no for s in (first, second, again)] == [FIRST, FIRST + 1, FIRST + 2]
    (told,) = again.functions.values()
    assert (told.no, told.previous) == (FIRST, None)
    (told,) = first.functions.values()
    assert (told.no, told.previous) == (FIRST, 0)


async def test_a_new_id_is_drawn_once(store: Store) -> None:
    await save(store, [])
    async with store.writing() as writer:
        old, _ = await writer.state()
        new = await writer.draw_new_db(old)
        assert new != old
        assert await writer.draw_new_db(old) == new
        assert await writer.state() == StoreState(new, FIRST)


# Keeping it small


async def test_the_ledger_forgets_what_was_not_used_for_long(store: Store) -> None:
    await save(store, [numbered((PRODUCER, 1)), foreign()], now=NOON)
    await save(store, [numbered((OTHER_PRODUCER, 1))], now=NOON)
    await save(store, [numbered((PRODUCER, 5))], now=NOON + 10)
    async with store.writing() as writer:
        await writer.forget_old_ledger(NOON + 10)
    assert (await kept(store)).ledger == {PRODUCER: [(1, 1), (5, 5)]}


async def purge(store: Store, now: float = NOW, **before: float) -> tuple[Purged, dict[str, int]]:
    """Purge, and look at what readers are told then."""
    async with store.writing() as writer:
        purged = await writer.purge(before, now)
    async with reading(store) as reader:
        return purged, await reader.purged()


async def rollup_starts(store: Store) -> dict[str, list[int]]:
    async with reading(store) as reader:
        starts = {}
        for name in SECONDS:
            found = await reader.rollups([RollupRange(name, 0, None)], None)
            starts[name] = sorted(one.start for one in found)
        return starts


async def calls_of(store: Store, func_name: str) -> int:
    async with reading(store) as reader:
        return (await reader.totals_of([func_name]))[func_name].totals.counts["call_count"]


async def test_old_entries_go_and_their_totals_stay(store: Store) -> None:
    future = [foreign("app.f", at=4e9)] * 3000  # from a clock that is wrong: in the way of nothing
    await save(store, [*future, b"rubbish"], now=NOON)
    await save(store, [foreign("app.f", at=NOON)] * 3000, token="1" * 16, now=LATER)
    await save(store, [foreign("app.g", at=LATER), b"{}"], token="2" * 16, now=LATER)
    midnight = LATER // DAY * DAY  # as some stores delete whole days
    purged, horizons = await purge(store, LATER, entry=midnight)
    assert (purged.entries, purged.rejected, purged.minutes) == (3000, 1, 0)
    assert horizons == {"entry": midnight}
    async with reading(store) as reader:
        left = (await reader.entries(ALL, None, 10_000)).entries
    assert [e[::3][:2] for e in left] == [("app.f", 4e9)] * 3000 + [("app.g", LATER)]
    described = await store.describe()
    assert (described.saved, described.oldest, described.rejected) == (6001, LATER, 1)
    assert await calls_of(store, "app.f") == 6000


async def test_old_rollups_go_by_whole_hours_and_days(store: Store) -> None:
    await save(store, [foreign("app.f", at=NOON + 3600 * n + 30) for n in range(72)])
    before = await rollup_starts(store)
    purged, horizons = await purge(store, minute=NOON + 3600 * 10 + 1800, hour=NOON + 3600 * 4)
    assert (purged.minutes, purged.hours, purged.days) == (10, 0, 0)
    assert horizons == {"minute": NOON + 3600 * 10, "hour": NOON // DAY * DAY}
    assert await rollup_starts(store) == {**before, "minute": before["minute"][10:]}
    assert await calls_of(store, "app.f") == 72


async def test_finer_rollups_go_as_far_as_coarser_ones(store: Store) -> None:
    midnight = int(NOON) // DAY * DAY
    await save(store, [foreign("app.f", at=midnight + 3600 * n) for n in range(72)])
    purged, horizons = await purge(store, day=midnight + DAY, minute=midnight)
    assert (purged.minutes, purged.hours, purged.days) == (24, 24, 1)
    assert horizons == dict.fromkeys(("minute", "hour", "day"), midnight + DAY)


async def test_what_is_gone_stays_gone(store: Store) -> None:
    await save(store, [foreign("app.f", at=NOON)])
    _, horizons = await purge(store, minute=NOON + DAY, entry=NOON + DAY)
    assert (await purge(store, minute=NOON, entry=NOON))[1] == horizons
    # A late entry of that time: its minute is not read, and goes with the next purge.
    await save(store, [foreign("app.f", at=NOON)], token="late")
    assert len((await rollup_starts(store))["minute"]) == 1
    purged, again = await purge(store, minute=NOON)
    assert (purged.minutes, again) == (1, horizons)


async def test_nothing_goes_that_is_later_than_now(store: Store) -> None:
    await save(store, [foreign("app.f", at=NOON)])
    ahead = dict.fromkeys([*SECONDS, "entry"], NOON + 9000 * DAY)
    purged, horizons = await purge(store, **ahead)
    assert purged.entries == 1
    assert max(horizons.values()) <= NOW
    await save(store, [foreign("app.f", at=NOW + 10)], token="later")
    assert all(len(starts) == 1 for starts in (await rollup_starts(store)).values())


# Reading


async def test_a_reader_sees_one_state(store: Store) -> None:
    await save(store, [foreign()])
    async with reading(store) as reader:
        before = await reader.state()
        await save(store, [foreign("app.new"), foreign("app.new")])
        assert await reader.state() == before
        assert await reader.function_names() == ["app.f"]
        assert await reader.entry_count(ALL) == 1
    assert sorted((await kept(store)).totals) == ["app.f", "app.new"]


# Some calls in three hours: function, seconds, mark, and when they end after noon.
CALLS = [
    ("app.f", 0.5, None, 0),
    ("app.f", 2.0, "KeyError", 30),
    ("app.f", 1.0, "KeyError", 1500),
    ("app.f", 4.0, "", 3700),
    ("app.g", 8.0, "OSError", 3725),
    ("app.f", 3.0, "KeyError", 7300),
    ("app.f", 9.0, "OSError", 7400),
]


@pytest.fixture
async def filled(store: Store) -> list[Entry]:
    """The entries of `CALLS`, as the store has them."""
    lines = [
        lines_of(batch_of(Call(name, seconds, mark), first=number, at=NOON + after - seconds))[0]
        for number, (name, seconds, mark, after) in enumerate(CALLS, start=1)
    ]
    await save(store, lines)
    return entries_of(lines)


async def test_counts_in_steps_of_rollups_or_of_several(store: Store, filled: list[Entry]) -> None:
    noon = int(NOON)
    rollup_range = RollupRange("minute", noon, noon + 7200)
    async with reading(store) as reader:
        assert counts_of(await reader.counts(rollup_range, 3600)) == [
            ("app.f", noon, 3, 2),
            ("app.f", noon + 3600, 1, 0),
            ("app.g", noon + 3600, 1, 1),
        ]
        minutes = {one[:2] for one in counts_of(await reader.counts(rollup_range, 60))}
    covered = [e for e in filled if rollup_range.covers(e.created_at)]
    assert minutes == {(e.func_name, int(e.created_at) // 60 * 60) for e in covered}


async def test_failures_and_when_they_were_first_and_last(
    store: Store, filled: list[Entry]
) -> None:
    noon = int(NOON)
    ranges = [RollupRange("hour", noon + n * 3600, noon + (n + 1) * 3600) for n in range(3)]
    expected = {
        ("app.f", "KeyError"): {noon: 2, noon + 7200: 1},
        ("app.g", "OSError"): {noon + 3600: 1},
        ("app.f", "OSError"): {noon + 7200: 1},
    }
    times = [ErrorTime(*pair, noon, noon + 3 * 3600) for pair in expected]
    failed = [[e.created_at for e in filled if (e.func_name, e.error) == pair] for pair in expected]
    async with reading(store) as reader:
        assert await reader.failures(ranges, None) == expected
        assert (await reader.failures(ranges, "app.g")).keys() == {("app.g", "OSError")}
        for last, pick in ((False, min), (True, max)):
            minutes = [int(pick(one)) // 60 * 60 for one in failed]
            assert await reader.occurrences(times, "minute", last=last) == minutes
            assert await reader.occurrences(times, "entry", last=last) == list(map(pick, failed))
        early = [time._replace(end=noon + 7200) for time in times]
        assert (await reader.occurrences(early, "entry", last=True))[2] is None
    await purge(store, minute=noon + 3600, entry=noon // DAY * DAY + DAY)
    async with reading(store) as reader:
        for by in ("minute", "entry"):
            assert (await reader.occurrences(early, by, last=True))[0] is None


async def test_the_slowest(store: Store, filled: list[Entry]) -> None:
    rollup_range = RollupRange("minute", int(NOON), int(NOON) + 7380)
    async with reading(store) as reader:
        found = await reader.slowest("app.f", rollup_range, 3)
        assert [e.execution_time for e in found] == [4.0, 3.0, 2.0]
        assert [e.outcome for e in found] == ["cancelled", "error", "error"]
        assert len(await reader.slowest("app.f", rollup_range, 100)) == 5
        part = RollupRange("hour", int(NOON), int(NOON) + 60)  # of an hour with slower ones
        assert [e.execution_time for e in await reader.slowest("app.f", part, 1)] == [
            max(e.execution_time for e in filled if e.created_at < NOON + 60)
        ]
        assert await reader.slowest("app.nobody", rollup_range, 3) == []
    assert found[0].id == f"{PRODUCER}-{filled[3].number}"


async def test_where_what_is_kept_begins(store: Store, filled: list[Entry]) -> None:
    del filled
    noon = int(NOON)
    await save(store, [foreign(at=NOON + 90)], token="b" * 16)
    for gone, first in (
        ({}, noon),
        ({"minute": noon + 3600}, noon),
        ({"hour": NOW}, noon - DAY / 2),
    ):
        await purge(store, **gone)
        async with reading(store) as reader:
            assert await reader.beginning() == first


async def test_a_fingerprint_is_that_of_the_figures(store: Store) -> None:
    noon = int(NOON)
    ranges = [RollupRange("minute", noon, noon + 60), RollupRange("hour", noon + 3600, None)]
    found = []
    for number, at in enumerate([NOON, NOON + 120, NOON + 10, NOON + 3700, NOON - 60]):
        await save(store, [foreign("app.f", at=at)], token=f"{number:016x}")
        async with reading(store) as reader:
            found.append([await reader.fingerprint(one) for one in ranges])
    assert [one == other for one, other in pairwise(found)] == [True, False, False, True]


@pytest.mark.parametrize(
    ("which", "count"),
    [
        (ALL, 7),
        (EntryFilter("app.f"), 6),
        (EntryFilter("app.nobody"), 0),
        (EntryFilter(None, NOON + 1500, NOON + 7300), 3),
        (EntryFilter("app.f", NOON + 1500), 4),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
async def test_entries_page_by_page_while_more_are_saved(
    store: Store, filled: list[Entry], which: EntryFilter, count: int, size: int
) -> None:
    found: list[str | None] = []
    cursor: str | None = None
    for number in range(10):
        async with reading(store) as reader:
            if not number:
                assert await reader.entry_count(which) == count
            page, cursor = await reader.entries(which, cursor, size)
        assert len(page) <= size
        found += [entry.id for entry in page]
        if cursor is None:
            break
        await save(store, [foreign("app.f", at=NOON + 5000)], token=f"{number:016x}")
    assert cursor is None
    ids = [f"{entry.producer}-{entry.number}" for entry in filled]
    assert len(found) == count
    assert found == [one for one in ids if one in found]
