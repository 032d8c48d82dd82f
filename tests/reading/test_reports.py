"""The reports behind command line and dashboard: they are what the entries add up to, however they are remembered."""

from __future__ import annotations

import asyncio
import time
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_collector import MetricsCollector, Settings, metrics_collector
from metrics_collector._core.models import FunctionMetrics, figures
from metrics_collector._core.rollup_ranges import SECONDS
from metrics_collector._core.totals import Totals
from metrics_collector._errors import ConfigurationError, UnknownFunctionError
from metrics_collector._reading import reports
from metrics_collector._reading.query import Query
from metrics_collector._reading.reports import (
    closed_windows,
    entry_export,
    error_report,
    function_report,
    overview_report,
    remedies,
    window_steps,
)
from metrics_collector._reading.reports.redis_state import Flow
from metrics_collector._redis.heartbeat import Heartbeat
from metrics_collector._runtime.collector import collector
from metrics_collector._storage.sqlite import SQLiteStore
from tests.helpers.driving import drive
from tests.helpers.folders import fast_folder
from tests.helpers.pipeline import (
    REFUSED,
    TIMEOUT,
    Call,
    batch_of,
    commands_on,
    entries_of,
    foreign,
    lines_of,
    totals_of,
)
from tests.helpers.well_running import DATABASE, PIPELINE, REDIS, SCHEDULER, WORKER
from tests.reading.test_query import NOTHING, Elements, Pending, save

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from metrics_collector._core.entries import Entry
    from metrics_collector._core.totals import Mark
    from metrics_collector._reading.reports import FunctionRow, Window
    from tests.helpers.pipeline import Commands

DAY = SECONDS["day"]
ERRORS = [None, "", "KeyError", 'Odd"Error\\', "größe", TIMEOUT, REFUSED]

calls = st.tuples(
    st.sampled_from(["app.f", "app.g", "lib.f"]),
    st.sampled_from([0.0, 0.001, 0.25, 1.5]),
    st.sampled_from(ERRORS),
    st.one_of(st.floats(0, 3 * DAY), st.floats(0, 3600), st.floats(0, 120)),  # seconds ago
    st.sampled_from(["saved", "pending", "both"]),
)
histories = st.lists(calls, min_size=1, max_size=40)
spans = st.sampled_from(["15m", "1h", "5h", "24h", "2d", "7d", "30d"])


class Scene:
    """A database and a Redis that hold these calls."""

    def __init__(self, folder: str, history: Sequence[tuple[str, float, Mark, float, str]]) -> None:
        now = time.time()
        elements = Elements(
            (name, s, mark, now - ago + s, place) for name, s, mark, ago, place in history
        )
        self.entries = entries_of(elements.all)
        database = SQLiteStore(str(Path(folder, "metrics.db")), plain=True)
        drive(save(database, elements.saved))
        names = frozenset(e.func_name for e in self.entries)  # as if measured in this process
        self.query = Query(Pending(elements.pending), database, names)

    def within(self, window: Window) -> list[Entry]:
        end = window.starts[-1] + window.step
        return [e for e in self.entries if window.starts[0] <= e.created_at < end]

    def before(self, window: Window) -> list[Entry]:
        """Those that are saved before the window; pending ones are late, and no part of the comparison."""
        start = window.before.timestamp()
        return [e for e in self.entries if start <= e.created_at < window.starts[0]]


def step_of(window: Window, entry: Entry) -> int:
    return int((entry.created_at - window.starts[0]) // window.step)


def metrics_of(name: str, entries: Sequence[Entry]) -> FunctionMetrics:
    totals = Totals.sum(totals_of(entries).values())
    return FunctionMetrics(**figures(name, totals))


def assert_same(found: FunctionMetrics, expected: FunctionMetrics) -> None:
    """All figures; sums of floats but for the order of adding."""
    assert found.total_execution_time == pytest.approx(expected.total_execution_time)
    for name in ("func_name", "call_count", "error_count", "cancelled_count", "error_types"):
        assert getattr(found, name) == getattr(expected, name)
    for name in ("min_execution_time", "max_execution_time", "last_called_at", "histogram"):
        assert getattr(found, name) == getattr(expected, name)


@given(histories, spans)
def test_the_overview_is_what_the_entries_add_up_to(history: Any, span: str) -> None:
    with fast_folder() as folder:
        scene = Scene(folder, [call for call in history if call[4] != "pending"] or history)
        report = asyncio.run(overview_report._overview(scene.query, span, None))
        window = report.window
        inside = scene.within(window)
        by_name = {e.func_name: [x for x in inside if x.func_name == e.func_name] for e in inside}
        assert {row.metrics.func_name for row in report.rows} == by_name.keys()
        times = [row.metrics.total_execution_time for row in report.rows]
        assert times == sorted(times, reverse=True)
        for row in report.rows:
            name = row.metrics.func_name
            assert_same(row.metrics, metrics_of(name, by_name[name]))
            assert_steps(row, window, by_name[name])
        assert_same(report.total, metrics_of("", inside))
        assert report.left_out == 0


def assert_steps(row: FunctionRow, window: Window, entries: Sequence[Entry]) -> None:
    steps: list[list[Entry]] = [[] for _ in window.starts]
    for entry in entries:
        steps[step_of(window, entry)].append(entry)
    assert list(row.calls) == [len(step) for step in steps]
    assert list(row.errors) == [sum(bool(e.error_occurred) for e in step) for step in steps]
    times = [sum(e.execution_time for e in step) for step in steps]
    assert list(row.times) == pytest.approx(times)


@given(histories, spans)
def test_the_period_before_is_as_long(history: Any, span: str) -> None:
    saved = [(*call[:4], "saved") for call in history]
    with fast_folder() as folder:
        scene = Scene(folder, saved)
        report = asyncio.run(overview_report._overview(scene.query, span, None))
        window = report.window
        length = len(window.starts) * window.step
        assert window.before.timestamp() == max(0, window.starts[0] - length)
        before = scene.before(window)
        assert_same(report.total_before, metrics_of("", before))
        assert report.functions_before == len({e.func_name for e in before})
        for row in report.rows:
            mine = [e for e in before if e.func_name == row.metrics.func_name]
            assert row.before.call_count == len(mine)
            assert row.before.error_count == sum(bool(e.error_occurred) for e in mine)
            assert row.before.total_execution_time == pytest.approx(
                sum(e.execution_time for e in mine)
            )


@given(histories, spans)
def test_errors_and_when_they_were_seen(history: Any, span: str) -> None:
    with fast_folder() as folder:
        scene = Scene(folder, history)
        window, rows = asyncio.run(error_report._errors(scene.query, span, None))
        expected: dict[tuple[str, str], list[Entry]] = {}
        for entry in scene.within(window):
            if entry.error is not None:
                expected.setdefault((entry.func_name, entry.error), []).append(entry)
        assert {(row.func_name, row.error_type) for row in rows} == expected.keys()
        seen = [row.last_seen_at for row in rows]
        assert seen == sorted(seen, reverse=True)
        for row in rows:
            entries = expected[row.func_name, row.error_type]
            minutes = [int(e.created_at) // 60 * 60 for e in entries]
            assert row.count == sum(row.counts) == len(entries)
            assert row.first_seen_at.timestamp() == min(minutes)
            assert row.last_seen_at.timestamp() == max(minutes)
            assert [n for n in row.counts if n] == [
                sum(step_of(window, e) == step for e in entries)
                for step in sorted({step_of(window, e) for e in entries})
            ]


@given(histories, spans)
def test_a_function_is_what_its_entries_add_up_to(history: Any, span: str) -> None:
    with fast_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(function_report, "SLOWEST", 3)
        scene = Scene(folder, history)
        name = scene.entries[0].func_name
        report = asyncio.run(function_report._function(scene.query, name, span, None))
        window = report.window
        mine = [e for e in scene.within(window) if e.func_name == name]
        assert_same(report.metrics, metrics_of(name, mine))
        steps = sorted({window.starts[0] + step_of(window, e) * window.step for e in mine})
        assert [point.start.timestamp() for point in report.points] == steps
        for point in report.points:
            at = point.start.timestamp()
            some = [e for e in mine if at <= e.created_at < at + window.step]
            assert point.histogram == metrics_of(name, some).histogram
            assert point.error_count == sum(bool(e.error_occurred) for e in some)
        slowest = sorted((e.execution_time for e in mine), reverse=True)[:3]
        assert [entry.execution_time for entry in report.slowest] == slowest
        for entry in report.slowest:
            found = (entry.execution_time, entry.outcome, entry.error_type)
            assert any(
                abs(entry.created_at.timestamp() - e.created_at) < 1e-5
                and found == (e.execution_time, e.outcome, e.error_type)
                for e in mine
            )
        assert sum(row.count for row in report.errors) == sum(e.error_occurred for e in mine)


def test_without_a_database_there_is_what_waits(path: Path) -> None:
    refused = batch_of(Call("app.f", 0.75, REFUSED), at=time.time() - 2)
    waiting = [foreign("app.f", at=time.time() - 1), *lines_of(refused)]
    query = Query(Pending(waiting), SQLiteStore(str(path), plain=True), frozenset({"app.f"}))
    (row,) = asyncio.run(overview_report._overview(query, "1h", None)).rows
    assert (row.metrics.call_count, sum(row.calls), sum(row.errors)) == (2, 2, 1)
    report = asyncio.run(function_report._function(query, "f", "1h", None))
    assert report.metrics.call_count == 2
    assert [entry.outcome for entry in report.slowest] == ["refused", "ok"]
    (error,) = asyncio.run(error_report._errors(query, "1h", None))[1]
    assert (error.error_type, error.count) == ("OSError", 1)
    assert not path.exists()


# What is remembered


def test_a_late_entry_is_seen_in_what_is_remembered(path: Path) -> None:
    now = time.time()
    database = SQLiteStore(str(path), plain=True)
    query = Query(Pending([]), database, NOTHING)

    def calls_now() -> int:
        return asyncio.run(overview_report._overview(query, "24h", None)).total.call_count

    for number, ago in enumerate([10 * 3600, 0, 10 * 3600, 3600, 0], start=1):
        drive(save(database, [foreign("app.f", at=now - ago)], f"{number:016}"))
        assert calls_now() == number


def test_what_is_over_is_read_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = SQLiteStore(str(path), plain=True)
    drive(save(database, [foreign("app.f", at=time.time() - 7200)]))
    query = Query(Pending([]), database, NOTHING)
    read = closed_windows._read
    times: list[object] = []

    async def counting(database: Any, ranges: Any, step: Any) -> Any:
        times.append(ranges)
        return await read(database, ranges, step)

    monkeypatch.setattr(closed_windows, "_read", counting)
    before = datetime.fromtimestamp(time.time() // 3600 * 3600 - 1, UTC)  # a window that is over
    for _ in range(3):
        report = asyncio.run(overview_report._overview(query, timedelta(hours=24), before))
        assert report.total.call_count == 1
    assert len(times) == 3  # the steps that are over, the last one, and the period before


def test_too_many_waiting_entries_are_left_out_and_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview_report, "MOST_PENDING", 2)
    now = time.time()
    database = SQLiteStore(str(path), plain=True)
    drive(save(database, [foreign("app.f", at=now - 60)]))
    for waiting, calls, left_out in ((2, 3, 0), (3, 1, 3)):
        query = Query(Pending([foreign("app.f", at=now - 1)] * waiting), database, NOTHING)
        report = asyncio.run(overview_report._overview(query, "1h", None))
        assert (report.total.call_count, report.left_out) == (calls, left_out)


# Windows


@given(
    st.floats(1, 400 * DAY),
    st.integers(1, 200),
    st.booleans(),
    st.fixed_dictionaries({}, optional={"minute": st.floats(0, 500), "hour": st.floats(0, 500)}),
)
def test_windows_are_of_whole_steps(
    ago: float, steps: int, coarse: bool, gone: dict[str, float]
) -> None:
    today = int(time.time()) // DAY * DAY
    hour = max(0.0, gone.get("hour", 500.0))
    purged = {"hour": today - int(hour) * DAY}
    purged["minute"] = max(purged["hour"], today - int(gone.get("minute", 500.0)) * DAY)
    window = window_steps.window(timedelta(seconds=ago), None, purged, steps=steps, coarse=coarse)
    rollup_range = window_steps.rollup_range(window)
    assert window.step % SECONDS[rollup_range.resolution] == 0
    assert [b - a for a, b in zip(window.starts, window.starts[1:], strict=False)] == [
        window.step
    ] * (len(window.starts) - 1)
    assert window.starts[0] % window.step == 0
    assert window.since.timestamp() == window.starts[0]
    assert window.starts[-1] < window.until.timestamp() <= window.starts[-1] + window.step
    asked = window.until.timestamp() - ago
    assert window.starts[0] <= asked + 1e-3 < window.starts[0] + window.step + 1e-3
    assert len(window.starts) <= steps + 1 or window.step == 365 * DAY
    # All that it is made of is still there.
    assert rollup_range.resolution == "day" or purged[rollup_range.resolution] <= asked


@pytest.mark.parametrize("since", [None, "soon", timedelta(days=-1), "0h"])
def test_what_is_no_window(since: Any) -> None:
    with pytest.raises(ConfigurationError):
        window_steps.window(since, None, {}, steps=60)


def test_a_window_in_the_future() -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with pytest.raises(ConfigurationError, match="yet to come"):
        window_steps.window(tomorrow, tomorrow + timedelta(days=1), {}, steps=60)


def test_the_longest_window() -> None:
    window = window_steps.window(datetime(1, 1, 1, tzinfo=UTC), None, {}, steps=60)
    assert window.starts[0] == 0
    assert window.before.timestamp() == 0


# The whole, on the collector


@pytest.fixture
async def embedded(path: Path) -> AsyncIterator[Settings]:
    settings = Settings(redis_url="memory://", database_name=str(path))
    async with SQLiteStore(str(path)).writing():
        pass  # the Redis in this process may know functions that another test has saved elsewhere
    async with MetricsCollector(settings):
        yield settings
    collector.reset()  # and no other test is to find what these have left in it


@metrics_collector(name="reports.f")
def f(*, fail: bool = False) -> None:
    if fail:
        raise KeyError


async def test_reports_see_what_was_just_recorded(embedded: Settings) -> None:
    f()
    with pytest.raises(KeyError):
        f(fail=True)
    assert (await reports.overview("1h")).total.call_count == 2
    assert (await reports.function("reports.f", "1h")).metrics.error_count == 1
    _, (error,) = await reports.errors("1h")
    assert (error.func_name, error.error_type, error.count) == ("reports.f", "KeyError", 1)
    with pytest.raises(UnknownFunctionError):
        await reports.function("nobody", "1h")


async def test_an_export_goes_page_by_page(
    embedded: Settings, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_export, "_PAGE", 2)
    assert [page async for page in reports.entries()] == []
    now = time.time()
    elements = [foreign(name, at=now - ago) for name in ("a.f", "a.g") for ago in (0, 50, 7000)]
    await save(SQLiteStore(str(path)), elements, now=now)
    chosen: list[tuple[dict[str, Any], int]]
    chosen = [({}, 6), ({"since": "1h"}, 4), ({"until": "1h"}, 2), ({"name": "a.f"}, 3)]
    for options, count in chosen:
        assert await reports.entry_count(**options) == count
        pages = [page async for page in reports.entries(**options)]
        assert sum(map(len, pages)) == count
        assert max(map(len, pages)) == 2
        for entry in (entry for page in pages for entry in page):
            assert entry.func_name in {"a.f", "a.g"}
            assert (entry.execution_time, entry.error_occurred, entry.outcome) == (0.5, 0, "ok")


async def test_a_purge_by_hand(embedded: Settings, path: Path) -> None:
    now = time.time()
    elements = [foreign(at=now - days * DAY) for days in (0, 5, 10)]
    await save(SQLiteStore(str(path)), elements, now=now)
    assert await reports.purge() == (0, 0, 0, 0, 0, 0)  # the settings keep all
    found = await reports.purge(entries="4d", minutes="8d")
    assert (found.entries, found.minutes, found.hours, found.days) == (2, 1, 0, 0)
    report = await reports.function("app.f", "20d")
    assert report.metrics.call_count == 3
    assert not report.entries_kept


# The pipeline


async def test_the_pipeline_when_all_is_well_embedded(embedded: Settings, path: Path) -> None:
    f()
    report = await reports.pipeline()
    assert report.redis.embedded
    assert report.redis.error is None
    assert not report.problems
    assert report.database.path == str(path)


async def test_the_pipeline_without_redis_is_a_report(path: Path) -> None:
    url = "redis://:secret@127.0.0.1:1/0"
    settings = Settings(redis_url=url, database_name=str(path / "no" / "folder.db"))
    async with MetricsCollector(settings):
        report = await reports.pipeline()
    assert report.redis.error is not None
    assert "127.0.0.1:1" in report.redis.error
    assert (report.waiting, report.claims, report.lag, report.dropped) == (None,) * 4
    assert not report.database.exists
    assert any("cannot be used" in line for line in report.problems)
    assert "secret" not in repr(report)


async def test_what_redis_says(redis: Commands, client: Any) -> None:
    now = time.time()
    await redis.producer.push("a" * 16, batch_of(Call(), Call(), at=now - 90, producer="a" * 16), 0)
    await redis.producer.store_dropped("a" * 16, 7)
    await redis.worker.claim()
    await redis.producer.push("b" * 16, batch_of(Call(), at=now - 10, producer="b" * 16), 0)
    beating = Heartbeat(redis.connection, "worker", "host:1:12")
    await beating.beat({"flushed_at": now, "error": "disk"}, 20)
    await Heartbeat(redis.connection, "scheduler", "other:13").beat({"error": None}, 20)
    flow = Flow()
    await flow.look(redis.connection, embedded=False)
    assert (flow.waiting, flow.claims, flow.producers, flow.dropped) == (3, 1, 2, 7)
    assert flow.lag == pytest.approx(90.5, abs=60)
    worker, scheduler = sorted(flow.processes, key=lambda one: one.role, reverse=True)
    flushed_at = datetime.fromtimestamp(now, UTC)
    assert astuple(worker) == ("worker", "host:1", "12", flushed_at, "disk")
    assert (scheduler.role, scheduler.host, scheduler.error) == ("scheduler", "other", None)


async def test_rubbish_at_the_head_has_no_lag(fake_client: Any) -> None:
    await fake_client.rpush("metrics_list", "rubbish")
    flow = Flow()
    await flow.look(commands_on(fake_client).connection, embedded=True)
    assert (flow.waiting, flow.lag) == (1, None)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"processes": ()}, "no live worker"),
        ({"waiting": PIPELINE.max_backlog}, "the backlog is full"),
        ({"lag": 71.0}, "the oldest entry has waited 71 s"),
        ({"dropped": 3}, "3 entries of the last 24 hours were dropped"),
        ({"database": replace(DATABASE, rejected=2)}, "2 malformed entries in metrics_list"),
        ({"redis": replace(REDIS, dangers=("it may evict",))}, "it may evict"),
        ({"processes": (replace(WORKER, error="disk full"), SCHEDULER)}, "cannot save: disk full"),
    ],
)
def test_each_problem_has_a_line(change: dict[str, Any], line: str) -> None:
    assert not list(remedies.problems(PIPELINE))
    problems = list(remedies.problems(replace(PIPELINE, **change)))
    assert any(line in problem.line for problem in problems), problems
