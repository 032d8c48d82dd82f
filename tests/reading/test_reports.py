"""The reports behind command line and dashboard: they are what the entries add up to, however they are remembered."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metrics_collector import MetricsCollector, Settings, metrics_collector
from metrics_collector._core import windows
from metrics_collector._core.as_json import iso
from metrics_collector._core.models import FunctionMetrics, figures
from metrics_collector._core.rollup_ranges import SECONDS, kept
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
from metrics_collector._redis.clocks import agree
from metrics_collector._redis.heartbeat import Heartbeat
from metrics_collector._runtime.collector import collector
from metrics_collector._storage.base import EntryFilter
from metrics_collector._storage.sqlite import SQLiteStore
from metrics_collector.dashboard import _function, _overview
from metrics_collector.dashboard._state import State
from tests.helpers.driving import drive
from tests.helpers.folders import fast_folder
from tests.helpers.pipeline import (
    NOON,
    PRODUCER,
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
from tests.helpers.rows import rows
from tests.helpers.well_running import DATABASE, PIPELINE, REDIS, SCHEDULER, WORKER
from tests.reading.test_query import NOTHING, Elements, Pending, save

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from metrics_collector._core.entries import Entry
    from metrics_collector._core.totals import Mark
    from metrics_collector._reading.reports import Window
    from tests.helpers.pipeline import Commands

DAY = SECONDS["day"]
ENDLESS = datetime(9999, 1, 1, tzinfo=UTC)
ERRORS = [None, "", "KeyError", 'Odd"Error\\', "größe", TIMEOUT, REFUSED]

calls = st.tuples(
    st.sampled_from(["app.f", "app.g", "lib.f"]),
    st.sampled_from([0.0, 0.001, 0.25, 1.5]),
    st.sampled_from(ERRORS),
    # Seconds ago; or still to come, by a clock that is ahead.
    st.one_of(st.floats(0, 3 * DAY), st.floats(0, 3600), st.floats(-120, 120), st.floats(-DAY, 0)),
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
        return self.between(window.since, _end(window))

    def between(self, since: datetime, until: datetime) -> list[Entry]:
        start, end = since.timestamp(), until.timestamp()
        return [e for e in self.entries if start <= e.created_at < end]


def step_of(window: Window, entry: Entry) -> int:
    """The step in which it lies, as whoever reads the window's JSON finds it."""
    return sum(start <= entry.created_at for start in window.starts) - 1


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
            assert list(row.calls) == counts_in(window, by_name[name])
        assert_same(report.total, metrics_of("", inside))
        assert list(report.calls) == counts_in(window, inside)
        assert list(report.errors) == counts_in(window, [e for e in inside if e.error_occurred])
        assert not report.missing.partial


def counts_in(window: Window, entries: Sequence[Entry]) -> list[int]:
    """How many of them lie in each step."""
    counts = Counter(step_of(window, entry) for entry in entries)
    return [counts[step] for step in range(len(window.starts))]


@given(histories, spans)
def test_the_period_before_is_as_long(history: Any, span: str) -> None:
    with fast_folder() as folder:
        scene = Scene(folder, [*history, ("app.g", 0.25, None, 70 * DAY, "saved")])
        report = asyncio.run(overview_report._overview(scene.query, span, None))
        window = report.window
        assert window.comparison is not None
        start, since, until, unit = window.comparison
        length = timedelta(seconds=SECONDS[unit])
        assert until <= window.until < until + length
        assert until - since == since - start
        assert window.until - window.since - length < until - since <= window.until - window.since
        assert unit == "minute" or until - since > timedelta(hours=4)
        compared, before = scene.between(since, until), scene.between(start, since)
        for side, entries in ((report.compared, compared), (report.before, before)):
            assert side is not None
            assert_same(side.metrics, metrics_of("", entries))
            assert side.functions == len({e.func_name for e in entries})
        for row in report.rows:
            name = row.metrics.func_name
            for found, entries in ((row.compared, compared), (row.before, before)):
                assert found is not None
                assert_same(found, metrics_of(name, [e for e in entries if e.func_name == name]))


@given(histories, spans)
def test_errors_and_when_they_were_seen(history: Any, span: str) -> None:
    with fast_folder() as folder:
        scene = Scene(folder, history)
        report = asyncio.run(error_report._errors(scene.query, span, None))
        window, rows = report.window, report.rows
        expected: dict[tuple[str, str], list[Entry]] = {}
        for entry in scene.within(window):
            if entry.error is not None:
                expected.setdefault((entry.func_name, entry.error), []).append(entry)
        assert {(row.func_name, row.error_type) for row in rows} == expected.keys()
        seen = [row.last_seen_at for row in rows]
        assert seen == sorted(seen, reverse=True)
        for row in rows:
            entries = expected[row.func_name, row.error_type]
            moments = [datetime.fromtimestamp(e.created_at, UTC) for e in entries]
            assert row.count == sum(row.counts) == len(entries)
            assert (row.first_seen_at, row.last_seen_at) == (min(moments), max(moments))
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
        steps = sorted({window.starts[step_of(window, e)] for e in mine})
        assert [point.start.timestamp() for point in report.points] == steps
        for point in report.points:
            at = point.start.timestamp()
            some = [e for e in mine if window.starts[step_of(window, e)] == at]
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
    overview = asyncio.run(overview_report._overview(query, "1h", None))
    (row,) = overview.rows
    assert (row.metrics.call_count, sum(row.calls), sum(overview.errors)) == (2, 2, 1)
    report = asyncio.run(function_report._function(query, "f", "1h", None))
    assert report.metrics.call_count == 2
    assert [entry.outcome for entry in report.slowest] == ["refused", "ok"]
    (error,) = asyncio.run(error_report._errors(query, "1h", None)).rows
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
    # Minutes of one hour and the hours after it, of the window and of the period before; and its last minutes.
    assert len(times) == len(set(times))


def test_of_many_functions_fewer_windows_are_remembered(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closed_windows, "_KEPT_FUNCTIONS", 6)
    monkeypatch.setattr(overview_report, "_closed", remembering := closed_windows.Closed())
    now = time.time()
    database = SQLiteStore(str(path), plain=True)
    names = ("app.f", "app.g", "app.h")
    calls = [foreign(name, at=now - minute * 60) for name in names for minute in range(20)]
    drive(save(database, calls))
    query = Query(Pending([]), database, NOTHING)
    for minute in range(10):  # as time goes on, each minute has windows of its own
        until = datetime.fromtimestamp(now - minute * 60, UTC)
        since = until - timedelta(minutes=5)
        report = asyncio.run(overview_report._overview(query, since, until))
        assert len(report.rows) == len(names)
    assert sum(len(part.sums) for _, part in remembering._parts.values()) == 6
    assert sum(whole.size for whole in remembering._wholes.values()) <= 6


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
        assert (report.total.call_count, report.missing.left_out) == (calls, left_out)
        assert report.missing.partial is bool(left_out)


# Windows


@given(
    st.floats(1, 400 * DAY),
    st.integers(1, 200),
    st.booleans(),
    st.fixed_dictionaries({}, optional={"minute": st.floats(0, 500), "hour": st.floats(0, 500)}),
)
def test_windows_and_their_steps(
    ago: float, steps: int, coarse: bool, gone: dict[str, float]
) -> None:
    today = int(time.time()) // DAY * DAY
    hour = max(0.0, gone.get("hour", 500.0))
    purged = {"hour": today - int(hour) * DAY}
    purged["minute"] = max(purged["hour"], today - int(gone.get("minute", 500.0)) * DAY)
    window = window_steps.window(timedelta(seconds=ago), None, purged, steps=steps, coarse=coarse)
    ranges = window_steps.ranges(window, purged)
    # As much as was asked for, and no more than is needed.
    asked = window.until.timestamp() - ago
    first = window.since.timestamp()
    assert first <= asked + 1e-3 < first + SECONDS[kept(first, purged)] + 1e-3
    # All that it is made of is still there, each once and in one step.
    assert (ranges[0].start, ranges[-1].end, window.end) == (first, None, None)
    for one, other in pairwise([*ranges, None]):
        assert one is not None
        assert other is None or one.end == other.start
        assert one.resolution == "day" or purged[one.resolution] <= one.start
    assert window.starts[0] == first
    assert all(start % window.step == 0 for start in window.starts[1:])
    assert all(
        window.step % SECONDS[one.resolution] == 0
        or window.step_at(one.start) == window.step_at((one.end or inf) - 1)
        for one in ranges
    )
    assert len(window.starts) <= steps + 1 or window.step == 365 * DAY
    # A part of a step is drawn beside whole ones: it is neither much less nor much more.
    assert sum(window.lengths) == pytest.approx(window.seconds)
    if len(window.starts) > 1:
        assert all(window.step / 2 <= length <= 1.5 * window.step for length in window.lengths)
        assert set(window.lengths[1:-1]) <= {window.step}


ZONES = [UTC, timezone(timedelta(hours=-9, minutes=-30)), timezone(timedelta(hours=5, minutes=45))]
relative = st.sampled_from(["15m", "1h", "24h", "36h", "2d"]) | st.timedeltas(
    timedelta(minutes=2), timedelta(days=3)
)
between = st.tuples(relative, st.none() | st.floats(-1, 0.99), st.sampled_from(ZONES))
"""How far back a window begins, how much of it lies after its end (`None`: it has none), and whose time it is in.

Of one that ends in the future that is less than nothing.
"""


def at_noon(seconds: float, patch: pytest.MonkeyPatch) -> float:
    """Let it be so many seconds after noon of some day, for windows."""
    now = datetime.fromtimestamp(NOON + seconds, UTC)
    clock = type("Clock", (datetime,), {"now": staticmethod(lambda _: now)})
    patch.setattr(window_steps, "datetime", clock)
    return now.timestamp()


def sql(folder: str, since: datetime, until: datetime) -> dict[Any, list[float]]:
    """What the rows of a time say of each function, and of each type of error of one.

    Those are calls, errors, seconds, first and last moment.
    """
    with closing(sqlite3.connect(Path(folder, "metrics.db"))) as connection:
        found = connection.execute(
            "SELECT func_name, error_type, count(*), sum(error_occurred), sum(execution_time), min(created_at), "
            "max(created_at) FROM metrics WHERE created_at >= ? AND created_at < ? GROUP BY func_name, error_type",
            (since.timestamp(), until.timestamp()),
        ).fetchall()
    said: dict[Any, list[float]] = {}
    for name, error, *figures_of in found:
        said[name, error] = figures_of
        calls, errors, seconds, first, last = said.get(name, [0, 0, 0.0, inf, 0.0])
        one = figures_of
        said[name] = [calls + one[0], errors + one[1], seconds + one[2]]
        said[name] += [min(first, one[3]), max(last, one[4])]
    return said


@given(
    histories,
    between,
    st.floats(0, DAY / 2),
    st.fixed_dictionaries({}, optional={"minute": st.floats(0, 3), "hour": st.floats(0, 3)}),
)
@example([("app.f", 0.25, "KeyError", -ago, "saved") for ago in (60, 7200)], ("1h", -1, UTC), 0, {})
def test_what_is_shown_is_what_the_rows_in_sql_say(
    history: Any, asked: Any, second: float, gone: dict[str, float]
) -> None:
    with fast_folder() as folder, pytest.MonkeyPatch.context() as patch:
        now = at_noon(second, patch)
        store = SQLiteStore(str(Path(folder, "metrics.db")), plain=True)
        lines = [
            lines_of(batch_of(Call(name, s, mark), first=n, at=now - ago - s))[0]
            for n, (name, s, mark, ago, _) in enumerate(history, start=1)
        ]
        drive(save(store, lines, now=now))
        drive(_purge(store, {name: now - days * DAY for name, days in gone.items()}, now))
        query = Query(Pending([]), store, frozenset(call[0] for call in history))

        back, share, zone = asked
        moment = windows.moment(back, datetime.fromtimestamp(now, UTC))
        assert moment is not None
        since = back if share is None else moment.astimezone(zone)
        until = None
        if share is not None:
            until = datetime.fromtimestamp(now - share * (now - moment.timestamp()), zone)
        report = asyncio.run(overview_report._overview(query, since, until))
        errors = asyncio.run(error_report._errors(query, since, until))
        window, rows = errors.window, errors.rows
        shown = _overview._show(report, State())
        assert (window.since, window.until) == (report.window.since, report.window.until)
        found = sql(folder, window.since, _end(window))
        listed = asyncio.run(query.functions(moment, until))
        calls = {name: said[0] for name, said in found.items() if isinstance(name, str)}
        assert {one.func_name: one.call_count for one in listed} == calls
        assert shown["totals"]["call_count"] == sum(calls.values())
        points = asyncio.run(query.history(None, moment, until, "minute"))
        assert gone or sum(point.call_count for point in points) == sum(calls.values())
        asyncio.run(check_entries(folder, query, moment, until))
        assert {row["func_name"] for row in shown["table"]["rows"]} == calls.keys()
        for row in shown["table"]["rows"]:
            check_figures(row, found[row["func_name"]], window.seconds)
            one = asyncio.run(function_report._function(query, row["func_name"], since, until))
            page = _function._show(one)
            assert (one.window.since, one.window.until) == (window.since, window.until)
            check_figures(page["totals"], found[row["func_name"]], window.seconds)
            check_comparison(folder, row["func_name"], one.window, page["totals"])
            check_comparison(folder, row["func_name"], report.window, row)
            ends = [*one.window.starts[1:], _end(one.window).timestamp()]
            steps = {
                iso(start): (start, end) for start, end in zip(one.window.starts, ends, strict=True)
            }
            for point in page["points"]:
                start, end = (datetime.fromtimestamp(at, UTC) for at in steps[point["start"]])
                said = sql(folder, start, end)[row["func_name"]]
                check_figures(point, said, (min(end, window.until) - start).total_seconds())
        if not gone:  # as soon as there is something to compare, and no sooner
            first = min(e.created_at for e in entries_of(lines)) // 60 * 60
            comparison = report.window.comparison
            assert comparison is None or first <= comparison.before.timestamp()
            length = window.until - window.since + timedelta(days=1)
            assert comparison or first > (window.since - length).timestamp()
        for error in rows:
            said = found[error.func_name, error.error_type]
            assert error.count == sum(error.counts) == said[1]
            moments = (error.first_seen_at.timestamp(), error.last_seen_at.timestamp())
            assert moments == pytest.approx(said[3:], abs=1e-5)


def _end(window: Window) -> datetime:
    if window.end is None:
        return ENDLESS
    return datetime.fromtimestamp(window.end, UTC)


async def check_entries(folder: str, query: Query, since: datetime, until: datetime | None) -> None:
    """An export goes by the moment."""
    end = ENDLESS if until is None else until
    said = sum(
        figures[0] for name, figures in sql(folder, since, end).items() if isinstance(name, str)
    )
    limit = None if until is None else until.timestamp()
    async with query.saved() as reader:
        assert reader is not None
        assert await reader.entry_count(EntryFilter(None, since.timestamp(), limit)) == said


async def _purge(store: SQLiteStore, before: dict[str, float], now: float) -> None:
    async with store.writing() as writer:
        await writer.purge(before, now)


def check_figures(shown: dict[str, Any], said: Sequence[Any], seconds: float) -> None:
    calls, errors, time_taken, _, last = said
    assert (shown["call_count"], shown["error_count"]) == (calls, errors)
    assert shown["total_execution_time"] == pytest.approx(time_taken)
    assert shown["calls_per_second"] == pytest.approx(calls / seconds)
    assert datetime.fromisoformat(shown["last_called_at"]).timestamp() == pytest.approx(last)


def check_comparison(folder: str, name: str, window: Window, shown: dict[str, Any]) -> None:
    if window.comparison is None:
        assert shown["before"] is shown["compared"] is None
        return
    before, since, until, _ = window.comparison
    sides = {"before": (before, since), "compared": (since, until)}
    for side, (start, end) in sides.items():
        said = sql(folder, start, end).get(name)
        if said is None:
            assert shown[side]["call_count"] == 0
        else:
            check_figures(shown[side], said, (until - since).total_seconds())


@pytest.mark.parametrize("span", ["15m", "1h", "24h"])
@pytest.mark.parametrize("second", [1.5, 23 * 60 + 40.0])
def test_a_steady_call_a_minute_is_steady(
    path: Path, span: str, second: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = at_noon(second, monkeypatch)
    store = SQLiteStore(str(path), plain=True)
    minutes = range(int(NOON) - 2 * DAY, int(now), 60)
    drive(save(store, [foreign("app.f", at=float(at)) for at in minutes], now=now))
    query = Query(Pending([]), store, NOTHING)
    report = asyncio.run(overview_report._overview(query, span, None))
    one = asyncio.run(function_report._function(query, "app.f", span, None))
    assert report.total.call_count == one.metrics.call_count
    assert report.compared is not None
    assert report.before is not None
    assert report.compared.metrics.call_count == report.before.metrics.call_count > 0
    (row,) = report.rows
    for calls, length in zip(row.calls, report.window.lengths, strict=True):
        assert calls == pytest.approx(length / 60, abs=1)
    far = asyncio.run(overview_report._overview(query, "36h", None))
    assert far.window.comparison is None  # as not all is known of what came before
    assert far.before is far.compared is None


@pytest.mark.parametrize("since", [None, "soon", timedelta(days=-1), "0h"])
def test_what_is_no_window(since: Any) -> None:
    with pytest.raises(ConfigurationError):
        window_steps.window(since, None, {}, steps=60)


def test_a_window_in_the_future() -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with pytest.raises(ConfigurationError, match="yet to come"):
        window_steps.window(tomorrow, tomorrow + timedelta(days=1), {}, steps=60)


def test_the_longest_window() -> None:
    window = window_steps.window(datetime(1, 1, 1, tzinfo=UTC), None, {}, steps=60, beginning=0)
    assert window.starts[0] == 0
    assert window.comparison is None


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
    (error,) = (await reports.errors("1h")).rows
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
    async for (
        _
    ) in reports.entries():  # whoever takes long over a page keeps no log from being emptied
        change = "UPDATE totals SET error_count = error_count"
        assert rows(path, change, "PRAGMA wal_checkpoint(TRUNCATE)") == [(0, 0, 0)]


async def test_a_purge_by_hand(embedded: Settings, path: Path) -> None:
    now = await reports.purge_time()
    elements = [foreign(at=now.timestamp() - days * DAY) for days in (0, 5, 10)]
    await save(SQLiteStore(str(path)), elements, now=now.timestamp())
    assert await reports.purge() == (0, 0, 0, 0, 0, 0)
    found = await reports.purge(entries=now - timedelta(days=4), minutes=now - timedelta(days=8))
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
    beating = Heartbeat(redis.connection, "worker", "host:1:12", "/b")
    await beating.beat({"flushed_at": now, "error": "disk", "db": "b"}, 20)
    await Heartbeat(redis.connection, "scheduler", "other:13").beat({"error": None}, 20)
    flow = Flow()
    await flow.look(redis.connection, embedded=False)
    assert (flow.waiting, flow.claims, flow.producers, flow.dropped) == (3, 1, 2, 7)
    assert flow.lag == pytest.approx(90.5, abs=60)
    assert flow.processes is not None
    worker, scheduler = sorted(flow.processes, key=lambda one: one.role, reverse=True)
    flushed_at = datetime.fromtimestamp(now, UTC)
    assert astuple(worker)[:-1] == ("worker", "host:1", "12", flushed_at, "disk", "b", "/b")
    for ahead in (worker.clock_ahead, scheduler.clock_ahead, flow.clock_ahead):
        assert ahead is not None
        assert agree(ahead)
    assert flow.calls_ahead == 0.0
    assert (scheduler.role, scheduler.host, scheduler.error) == ("scheduler", "other", None)


async def test_a_call_of_the_future_waits(redis: Commands) -> None:
    await redis.producer.push(PRODUCER, batch_of(Call(), at=time.time() + 7200), 0)
    flow = Flow()
    await flow.look(redis.connection, embedded=False)
    assert flow.lag == 0.0
    assert flow.calls_ahead == pytest.approx(7200, abs=60)


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
        ({"database": replace(DATABASE, warning="its log grows")}, "its log grows"),
        ({"redis": replace(REDIS, dangers=("it may evict",))}, "it may evict"),
        ({"processes": (replace(WORKER, error="disk full"), SCHEDULER)}, "cannot save: disk full"),
    ],
)
def test_each_problem_has_a_line(change: dict[str, Any], line: str) -> None:
    assert not list(remedies.problems(PIPELINE))
    problems = list(remedies.problems(replace(PIPELINE, **change)))
    assert any(line in problem.line for problem in problems), problems
