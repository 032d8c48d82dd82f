"""What the commands are made of: times, choices, tables, curves, rates and files."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_collector import FunctionMetrics
from metrics_collector._core.totals import Totals
from metrics_collector._errors import ConfigurationError, StoreUnavailableError
from metrics_collector._reading.reports import FunctionRow, Missing, Overview, Window
from metrics_collector.cli import _choice, _columns, _doctor, _names, _output, _times
from metrics_collector.cli._plot import plot
from metrics_collector.cli._sparkline import sparkline
from metrics_collector.cli._top import _figure_columns as top_columns
from metrics_collector.cli._top import _header as header
from metrics_collector.cli._top._rates import Rates
from tests.helpers.commands import finished
from tests.helpers.well_running import DATABASE, NOW, PIPELINE, REDIS, SCHEDULER, WORKER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metrics_collector._reading.reports import Pipeline

BARS = " ▁▂▃▄▅▆▇█"


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            ("15m", NOW - timedelta(minutes=15)),
            ("1.5h", NOW - timedelta(minutes=90)),
            ("7d", NOW - timedelta(days=7)),
            ("2026-05-17T09:00Z", NOW - timedelta(minutes=30)),
            ("2026-05-17T11:00+02:00", NOW - timedelta(minutes=30)),
            ("2026-05-17 09:00:00Z", NOW - timedelta(minutes=30)),
        ],
    )
    def test_a_time_with_a_zone_or_back_from_now(self, text: str, meant: datetime) -> None:
        assert _times.parse(text, NOW) == meant

    @pytest.mark.parametrize("text", ["2026-05-17T09:00", "2026-05-17"])
    def test_without_a_zone_it_is_local(self, text: str) -> None:
        assert _times.parse(text, NOW) == datetime.fromisoformat(text).astimezone()

    @pytest.mark.parametrize("text", ["", "1x", "-1h", "0h", "yesterday", "9999999d", "2026-13-01"])
    def test_what_is_none_is_refused_with_what_would_be(self, text: str) -> None:
        with pytest.raises(ConfigurationError, match=r"invalid time .*24h.*2026-05-17"):
            _times.parse(text, NOW)

    @pytest.mark.parametrize(("since", "until"), [("1h", "1h"), ("1h", "2h"), ("2999-01-01", None)])
    def test_a_window_needs_length(self, since: str, until: str | None) -> None:
        with pytest.raises(ConfigurationError, match=f"^--since {since} is not before"):
            _times.window(since, until)

    def test_a_window_has_both_ends_in_utc(self) -> None:
        start, end = _times.window("2h", "1h")
        assert start is not None
        assert end is not None
        assert end - start == timedelta(hours=1)
        assert start.tzinfo is UTC

    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [
            (0, "0s"),
            (45, "45s"),
            (60, "1m"),
            (90, "90s"),
            (600, "10m"),
            (3600, "1h"),
            (5400, "90m"),
            (26 * 3600, "26h"),
            (12 * 86400, "12d"),
        ],
    )
    def test_a_span(self, seconds: float, shown: str) -> None:
        assert _times.span(seconds) == shown


class TestChoice:
    @pytest.mark.parametrize(
        "wanted", ["check", "CHECK", "shop.check", "", "shop.*", "*.CHECK*", "sh?p.checkout"]
    )
    def test_a_part_or_a_pattern_fits(self, wanted: str) -> None:
        assert _choice.fits("shop.Checkout", wanted)

    @pytest.mark.parametrize("wanted", ["check*", "cart", "[s]hop"])
    def test_what_does_not(self, wanted: str) -> None:
        assert not _choice.fits("shop.Checkout", wanted)

    def test_brackets_are_themselves_in_a_pattern(self) -> None:
        assert _choice.fits("demo.[red]", "*[red]")
        assert not _choice.fits("demo.r", "*[red]")

    @pytest.mark.parametrize(
        ("order", "names"),
        {"calls": "bac", "errors": "cab", "total": "cba", "average": "cba", "name": "abc"}.items(),
    )
    def test_orders(self, order: str, names: str) -> None:
        every = [
            FunctionMetrics(func_name="a", call_count=5, error_count=1, total_execution_time=1.0),
            FunctionMetrics(func_name="b", call_count=9, error_count=0, total_execution_time=4.0),
            FunctionMetrics(func_name="c", call_count=4, error_count=2, total_execution_time=5.0),
        ]
        shown = sorted(every, key=lambda one: _choice.rank(one, order))
        assert "".join(one.func_name for one in shown) == names


class TestColumns:
    def test_texts_left_and_numbers_right_whole(self, capsys: pytest.CaptureFixture[str]) -> None:
        _columns.write(("name", "n"), [("a" * 200, "1"), ("字", "1000")], texts=1)
        assert capsys.readouterr().out.splitlines() == [
            "name" + " " * 196 + "     n",
            "a" * 200 + "     1",
            "字" + " " * 198 + "  1000",
        ]


class TestSparkline:
    @given(st.lists(st.integers(0, 10**9), max_size=60), st.integers(1, 30))
    def test_bars_are_as_high_as_their_numbers(self, numbers: list[int], width: int) -> None:
        bars = sparkline(numbers, [60] * len(numbers), width)
        assert len(bars) == width
        assert set(bars) <= set(BARS)
        assert (bars.strip() == "") == (sum(numbers) == 0)
        if len(numbers) <= width and numbers:
            heights = [BARS.index(bar) for bar in bars[-len(numbers) :]]
            assert [height > 0 for height in heights] == [number > 0 for number in numbers]
            assert sorted(heights) == [h for _, h in sorted(zip(numbers, heights, strict=True))]
            if any(numbers):
                assert max(heights) == 8

    def test_the_last_numbers_are_at_the_right(self) -> None:
        assert sparkline([8, 0, 4], [60, 60, 60], 5) == "  █ ▄"

    def test_a_step_that_is_partly_over_does_not_dip(self) -> None:
        assert sparkline([3, 6, 6, 6, 3], [30, 60, 60, 60, 30], 5) == "█████"
        assert sparkline([3, 6, 6, 6, 3], [30, 60, 60, 60, 30], 3) == "███"


def drawn(values: Sequence[float | None], *, filled: bool, width: int = 30, height: int = 8) -> str:
    return plot(
        values,
        filled=filled,
        width=width,
        height=height,
        label=lambda number: f"{number:g}",
        ends=("then", "now"),
    ).plain


class TestPlot:
    @given(
        st.lists(st.none() | st.floats(0, 1e9), min_size=1, max_size=300),
        st.booleans(),
        st.integers(24, 150),
        st.integers(5, 30),
    )
    def test_it_has_the_size_that_was_asked_for(
        self, values: list[float | None], filled: bool, width: int, height: int
    ) -> None:
        lines = drawn(values, filled=filled, width=width, height=height).splitlines()
        assert len(lines) == height
        assert {len(line) for line in lines} == {width}

    @given(st.lists(st.none() | st.just(0.0), min_size=1, max_size=20))
    def test_nothing_counted_is_nothing_drawn(self, values: list[float | None]) -> None:
        assert not set(drawn(values, filled=True)) & {chr(c) for c in range(0x2801, 0x2900)}

    def test_every_count_above_zero_can_be_seen(self) -> None:
        bottom = drawn([1_000_000, 1, 0, 1], filled=True).splitlines()[-3]
        quarters = [bottom[len(bottom) - 26 :][i * 6 : i * 6 + 6] for i in range(4)]
        assert [bool(quarter.strip()) for quarter in quarters[:2]] == [True, True]
        assert " " in quarters[2]

    def test_a_gap_is_no_line(self) -> None:
        whole = drawn([1.0] * 5, filled=False)
        gap = drawn([1.0, 1.0, None, 1.0, 1.0], filled=False)
        dots = [sum(0x2801 <= ord(c) < 0x2900 for c in text) for text in (whole, gap)]
        assert 0 < dots[1] < dots[0]

    def test_the_axis_tells_the_highest_value_and_the_ends(self) -> None:
        lines = drawn([3.0, 7.0], filled=True).splitlines()
        assert lines[0].startswith("8 ┤")
        assert lines[-3].startswith("0 ┤")
        assert lines[-1].split() == ["then", "now"]


def row(name: str, calls: Sequence[int], errors: int = 0) -> FunctionRow:
    return FunctionRow(
        func_name=name,
        totals=[Totals({"call_count": sum(calls), "error_count": errors})],
        steps=lambda _: tuple(calls),
    )


def reading(first: int, calls: Mapping[str, Sequence[int]], step: int = 60) -> Overview:
    """An overview whose steps begin with the one of that number."""
    length = max((len(numbers) for numbers in calls.values()), default=1)
    starts = tuple((first + number) * step for number in range(length))
    since = datetime.fromtimestamp(starts[0], UTC)
    until = datetime.fromtimestamp(starts[-1] + step, UTC)
    nothing = FunctionMetrics(func_name="")
    return Overview(
        window=Window(
            since=since, until=until, end=None, step=step, starts=starts, comparison=None
        ),
        rows=tuple(row(name, numbers) for name, numbers in calls.items()),
        total=nothing,
        calls=(0,) * length,
        errors=(0,) * length,
        compared=None,
        before=None,
        missing=Missing(left_out=0, redis_error=None),
    )


def begun(overview: Overview, second: int) -> Overview:
    """The same with a window that begins so late in its first step."""
    window = overview.window
    starts = (window.starts[0] + second, *window.starts[1:])
    return replace(overview, window=replace(window, starts=starts))


def rates_of(*readings: Overview) -> Rates:
    """Those after some readings, which are two seconds apart."""
    rates = Rates()
    for number, one in enumerate(readings):
        rates.add(one, 2.0 * number)
    return rates


class TestRates:
    @pytest.mark.parametrize(
        ("readings", "rate"),
        [
            ([reading(0, {"f": [5]})], None),
            ([reading(0, {"f": [5, 7]}), reading(1, {"f": [9, 4]})], (2 + 4) / 2),
            ([begun(reading(0, {"f": [9, 7]}), 5), begun(reading(0, {"f": [8, 9]}), 6)], 1.0),
            ([reading(0, {}), reading(0, {"f": [6]})], 3.0),
            ([reading(0, {"f": [6]}), reading(1, {})], 0.0),
        ],
        ids=[
            "one reading",
            "the window moves on",
            "within a step",
            "a new function",
            "one that is gone",
        ],
    )
    def test_of_a_function(self, readings: list[Overview], rate: float | None) -> None:
        assert rates_of(*readings).of("f") == rate

    def test_what_is_new_since_then_counts(self) -> None:
        assert rates_of(reading(0, {"f": [5]})).total() is None
        rates = rates_of(
            reading(0, {"f": [5, 7], "g": [1, 1]}), reading(0, {"f": [5, 17], "g": [1, 1]})
        )
        assert (rates.of("f"), rates.of("g"), rates.total()) == (5.0, 0.0, 5.0)

    def test_other_steps_begin_anew(self) -> None:
        rates = rates_of(reading(0, {"f": [6]}), reading(0, {"f": [6]}, step=120))
        assert rates.of("f") is None
        rates.add(reading(0, {"f": [8]}, step=120), 4.0)
        assert rates.of("f") == 1.0

    @given(st.lists(st.integers(0, 50), min_size=8, max_size=40))
    def test_it_is_the_mean_of_the_last_ten_seconds(self, new: list[int]) -> None:
        rates = Rates()
        calls = 0
        for second, number in enumerate(new):
            calls += number
            rates.add(reading(0, {"f": [calls]}), float(second))
        last = new[max(1, len(new) - 10) :]
        assert rates.of("f") == pytest.approx(sum(last) / len(last))


class TestNames:
    @given(st.text(st.characters(), min_size=1, max_size=60), st.integers(2, 40))
    def test_a_long_one_shows_its_end(self, name: str, width: int) -> None:
        whole, short = _names.name(name), _names.short_name(name, width)
        assert short.cell_len <= width
        if whole.cell_len <= width:
            assert short == whole
        else:
            assert short.cell_len >= width - 1  # one less, where a wide letter would not fit
            assert short.plain[0] == "…"
            assert whole.plain.endswith(short.plain[1:])

    def test_where_it_is_from_is_in_the_background(self) -> None:
        shown = _names.short_name("shop.cart.fetch", 10)
        assert shown.plain == "…art.fetch"
        spans = [(shown.plain[s.start : s.end], s.style) for s in shown.spans]
        assert spans == [("…", "dim"), ("art.", "dim")]


class TestTopColumns:
    @given(st.integers(1, 200))
    def test_no_line_is_too_long(self, width: int) -> None:
        name, columns = top_columns.fitting(width)
        assert name + sum(column.width + 1 for column in columns) <= max(width, 1)

    def test_an_ordinary_terminal_shows_all_that_is_needed(self) -> None:
        headings = [column.heading for column in top_columns.fitting(80)[1]]
        assert headings == ["calls/s", "calls", "errors", "p50", "p95", "p99", "activity"]

    def test_a_wide_one_shows_all(self) -> None:
        name, columns = top_columns.fitting(160)
        assert name >= 50
        assert [one.heading for one in columns] == [one.heading for one in top_columns.COLUMNS]

    def test_rates_and_errors_stay_longest(self) -> None:
        headings = [column.heading for column in top_columns.fitting(40)[1]]
        assert headings == ["calls/s", "errors"]

    def test_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shapes = (row("a", [1], errors=5), 1.0), (row("b", [9]), None), (row("c", [1]), 3.0)
        lines = [top_columns.Line(one, one.metrics, rate, [60]) for one, rate in shapes]
        monkeypatch.delattr(FunctionRow, "metrics")  # made once for a reading, not for each key
        for order, names in {"calls": "bac", "calls/s": "cab", "errors": "abc"}.items():
            shown = top_columns.ordered(lines, order)
            assert "".join(line.row.func_name for line in shown) == names, order


BROKEN = replace(WORKER, error="disk full")


class TestTopHeader:
    @pytest.mark.parametrize(
        ("pipeline", "shown"),
        [
            (None, ""),
            (PIPELINE, "   waiting 12   workers 1"),
            (replace(PIPELINE, processes=()), "   waiting 12   workers 0"),
            (replace(PIPELINE, waiting=None, processes=None), "   waiting -   workers -"),
            (replace(PIPELINE, processes=(BROKEN,)), "   waiting 12   workers 1, failing"),
            (replace(PIPELINE, redis=replace(REDIS, embedded=True)), "   waiting 12   memory://"),
        ],
    )
    def test_how_entries_travel(self, pipeline: Pipeline | None, shown: str) -> None:
        overview = reading(0, {"f": [3, 1]})
        assert header.figures(overview, pipeline, 2.5).plain == f"calls/s 2.5   errors 0.0%{shown}"

    @pytest.mark.parametrize(
        ("state", "shown"),
        [
            ({}, ""),
            ({"error": "Redis is away", "paused": True}, "figures of 09:30:00: Redis is away"),
            ({"paused": True, "age": 9.0}, "paused: figures of 09:30:00"),
            ({"age": 9.0}, "figures of 09:30:00: reading is slow (9 s)"),
            ({"missing": "partial figures"}, "partial figures"),
            ({"hidden": 2}, "2 functions more: / filters"),
        ],
    )
    def test_what_to_bear_in_mind(self, state: dict[str, Any], shown: str) -> None:
        usual = {"error": None, "paused": False, "age": None, "missing": "", "hidden": 0}
        assert header.note(read_at=NOW, **(usual | state)).plain == shown


def checks(pipeline: Pipeline) -> dict[str, tuple[str, str]]:
    return {check.what: (check.state, check.line) for check in _doctor.judge(pipeline, NOW)}


class TestDoctor:
    def test_all_is_well(self) -> None:
        found = checks(PIPELINE)
        assert {one for one, _ in found.values()} == {"ok"}
        assert found["redis"][1] == "version 7.0.15 at redis://localhost:6379/0, 1.5 MB used"
        assert found["worker"][1] == "1 process alive on box; last flush: 5s ago"
        clocks = "this machine's and those of 2 processes are within 2 s of that of Redis"
        assert found["clocks"][1] == clocks
        assert found["database"][1].endswith(
            "12.3 MB, 1,234 entries saved, oldest entry 3d old; 50.0 GB left on its disk"
        )
        assert list(found) == [
            *("redis", "persistence", "worker", "scheduler", "clocks"),
            *("backlog", "lag", "producers", "database"),
        ]

    def test_without_redis_nothing_is_said_of_what_it_would_tell(self) -> None:
        down = replace(REDIS, error="Redis is away", version=None)
        found = checks(replace(PIPELINE, redis=down, processes=None, waiting=None, lag=None))
        assert list(found) == ["redis", "database"]
        assert found["redis"][0] == "FAIL"
        assert "Redis is away" in found["redis"][1]
        assert found["database"][0] == "ok"

    @pytest.mark.parametrize(
        ("pipeline", "what", "how", "remedy"),
        [
            (replace(PIPELINE, processes=(SCHEDULER,)), "worker", "FAIL", "taskiq worker"),
            (replace(PIPELINE, processes=(WORKER,)), "scheduler", "warn", "taskiq scheduler"),
            (replace(PIPELINE, waiting=100), "backlog", "FAIL", "more workers"),
            (replace(PIPELINE, lag=500.0), "lag", "warn", "worker"),
            (replace(PIPELINE, dropped=3), "producers", "warn", "METRICS_SPOOL_DIR"),
            (
                replace(PIPELINE, clock_ahead=3600.0),
                "clocks",
                "warn",
                "machine is 1:00:00 ahead of",
            ),
            (replace(PIPELINE, clock_ahead=None), "clocks", "warn", "allow +time"),
            (
                replace(PIPELINE, processes=(replace(WORKER, clock_ahead=-90), SCHEDULER)),
                "clocks",
                "warn",
                "the clock of the worker on box is 0:01:30 behind that of Redis",
            ),
            (
                replace(PIPELINE, calls_ahead=7200.0),
                "clocks",
                "warn",
                "clock of a producer is 2:00:00 ahead",
            ),
            (replace(PIPELINE, processes=(SCHEDULER, BROKEN)), "worker", "FAIL", "disk full"),
            (
                replace(PIPELINE, database=replace(DATABASE, error="the database cannot be used")),
                "database",
                "FAIL",
                "cannot be used",
            ),
            (
                replace(PIPELINE, database=replace(DATABASE, exists=False, size=None)),
                "database",
                "warn",
                "DATABASE_NAME",
            ),
            (
                replace(PIPELINE, database=replace(DATABASE, free=1_000_000)),
                "database",
                "warn",
                "only 1,000,000 bytes are left on the disk of /data/metrics.db",
            ),
            (
                replace(PIPELINE, database=replace(DATABASE, rejected=2)),
                "rejected",
                "warn",
                "rejected_entries",
            ),
            (
                replace(PIPELINE, database=replace(DATABASE, warning="its log grows")),
                "database",
                "warn",
                "its log grows",
            ),
        ],
    )
    def test_what_is_not_well(self, pipeline: Pipeline, what: str, how: str, remedy: str) -> None:
        found = checks(pipeline)
        assert found[what][0] == how
        assert remedy in found[what][1]
        assert {one for part, (one, _) in found.items() if part != what} == {"ok"}

    def test_each_danger_has_a_line(self) -> None:
        risky = replace(REDIS, dangers=("may evict", "keeps nothing"))
        found = _doctor.judge(replace(PIPELINE, redis=risky), NOW)
        lines = [(one.state, one.line) for one in found if one.what == "persistence"]
        assert lines == [("warn", "may evict"), ("warn", "keeps nothing")]


def mode_of(name: str) -> int:
    return stat.S_IMODE(Path(name).stat().st_mode)


class TestWholeFile:
    def test_it_is_there_when_all_is_in_it(self) -> None:
        with _output.whole_file("out.csv") as file:
            file.write("half")
            assert not Path("out.csv").exists()
            file.write(" and half\n")
        assert Path("out.csv").read_bytes() == b"half and half\n"
        assert [path.name for path in Path().iterdir()] == ["out.csv"]

    def test_one_that_fails_leaves_what_was_there(self) -> None:
        Path("out.csv").write_text("earlier")
        with suppress(KeyboardInterrupt), _output.whole_file("out.csv") as file:
            file.write("half")
            raise KeyboardInterrupt
        assert Path("out.csv").read_text() == "earlier"
        assert [path.name for path in Path().iterdir()] == ["out.csv"]

    def test_its_mode_is_as_usual(self) -> None:
        Path("usual").touch()
        with _output.whole_file("out.csv"):
            pass
        assert mode_of("out.csv") == mode_of("usual")

    @pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
    def test_that_of_an_earlier_one_stays(self, mode: int) -> None:
        Path("out.csv").touch()
        Path("out.csv").chmod(mode)
        with _output.whole_file("out.csv"):
            (written,) = {*Path().iterdir()} - {Path("out.csv")}
            assert mode_of(written.name) == 0o600
        assert mode_of("out.csv") == mode

    def test_its_name_may_be_as_long_as_names_can_be(self) -> None:
        name = "n" * os.pathconf(".", "PC_NAME_MAX")
        with _output.whole_file(name) as file:
            file.write("text")
        assert Path(name).read_text() == "text"

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_leaves_what_was_there(self, number: signal.Signals) -> None:
        Path("out.csv").write_text("earlier")
        program = (
            "import os, signal, sys; from metrics_collector.cli._output import whole_file\n"
            "signal.signal(int(sys.argv[1]), signal.SIG_DFL)  # nohup has it ignored\n"
            "with whole_file('out.csv') as file:\n"
            "    file.write('half')\n"
            "    os.kill(os.getpid(), int(sys.argv[1]))"
        )
        done = finished(sys.executable, "-c", program, str(int(number)))
        assert (done.returncode, done.stderr) == (128 + number, "")
        assert Path("out.csv").read_text() == "earlier"
        assert [path.name for path in Path().iterdir()] == ["out.csv"]

    def test_a_signal_that_is_ignored_ends_nothing(self) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup
        try:
            with _output.whole_file("out.csv"):
                os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        finally:
            signal.signal(signal.SIGHUP, before)

    def test_a_link_stays_one(self) -> None:
        Path("real.csv").touch()
        Path("link.csv").symlink_to("real.csv")
        with _output.whole_file("link.csv") as file:
            file.write("text")
        assert Path("link.csv").is_symlink()
        assert Path("real.csv").read_text() == "text"

    def test_a_pipe_stays_one(self) -> None:
        os.mkfifo("pipe")
        seen: list[str] = []
        reader = threading.Thread(target=lambda: seen.append(Path("pipe").read_text()))
        reader.start()
        with _output.whole_file("pipe") as file:
            file.write("text")
        reader.join(10)
        assert seen == ["text"]
        assert Path("pipe").is_fifo()

    @pytest.mark.parametrize("name", ["nowhere/out.csv", ".", "n" * 5000, "loop"])
    def test_where_none_can_be_is_wrong_input(self, name: str) -> None:
        Path("loop").symlink_to("loop")
        with (
            pytest.raises(ConfigurationError, match="cannot be written: "),
            _output.whole_file(name),
        ):
            pass

    def test_a_full_disk_is_reported(self) -> None:
        if not Path("/dev/full").exists():
            pytest.skip("there is no device that is always full")
        with (
            pytest.raises(StoreUnavailableError, match="'/dev/full' cannot be written: No space"),
            _output.whole_file("/dev/full") as file,
        ):
            file.write("text")
