"""The command line in this process: what it takes and refuses, and how it puts figures."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import sys
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

import metrics_collector
from metrics_collector import FunctionMetrics, cli
from metrics_collector._core import histogram, units
from metrics_collector._errors import ConfigurationError
from metrics_collector._runtime import assembly
from metrics_collector._support.settings import Settings
from metrics_collector.cli import _demo_database, _figures, _health, _shop

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tests.cli.conftest import Complaint, Output, Run

NOW = 1_700_049_600.0  # UTC epoch seconds
IN_UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


def take_away(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a package not be installed, as far as the command line goes."""
    monkeypatch.setitem(sys.modules, package, None)
    for name in [name for name in sys.modules if name.startswith("metrics_collector.cli._")]:
        monkeypatch.delitem(sys.modules, name)
        if name.count(".") == cli.__name__.count(".") + 1:
            monkeypatch.delattr(cli, name.rpartition(".")[2])


@pytest.fixture
def plain_install(monkeypatch: pytest.MonkeyPatch) -> None:
    take_away("typer", monkeypatch)


class TestInput:
    @pytest.mark.parametrize(
        ("command", "said"),
        [
            ("health scheduler worker", "`worker` (the default) or `scheduler`, not"),
            ("health wroker", "not 'wroker'"),
            ("health --quick", "not '--quick'"),
            ("demo 5", "unexpected extra argument"),
            ("demo --second 5", "--seconds"),
            ("demo --seconds", "requires an argument"),
            ("dmo", "'dmo'"),
            ("--quick", "--quick"),
        ],
    )
    def test_that_is_wrong_gets_one_line_and_2(
        self, command: str, said: str, complaint: Complaint
    ) -> None:
        assert said in complaint(command)

    @pytest.mark.parametrize("command", ["--help", ""])
    def test_help_lists_all_commands(self, command: str, output: Output) -> None:
        out = output(command)
        assert re.search(r"^  health +Check whether", out, re.MULTILINE)
        assert re.search(r"^  demo +Measure", out, re.MULTILINE)

    def test_each_wrong_setting_gets_a_line(
        self, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        monkeypatch.setenv("MAX_ITEMS", "many")
        monkeypatch.setenv("REDIS_URL", "http://:secret@localhost")
        status, _, err = run("health")
        lines = err.splitlines()
        assert (status, len(lines)) == (2, 2)
        assert all(line.startswith("metrics-collector: ") for line in lines)
        assert "secret" not in err


@pytest.mark.parametrize("install", ["plain_install", "own_settings"], ids=["plain", "whole"])
def test_version(install: str, request: pytest.FixtureRequest, output: Output) -> None:
    request.getfixturevalue(install)
    assert output("--version") == f"metrics-collector {metrics_collector.__version__}\n"


def test_ctrl_c_and_a_closed_output_need_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(_health, "run", interrupted)
    assert cli.run(["health"]) == 130

    monkeypatch.setattr(sys, "stdout", None)
    assert cli.run(["--version"]) == 1
    told = "metrics-collector: standard output cannot be written: it is closed\n"
    assert capsys.readouterr() == ("", told)


class TestPlainInstall:
    @pytest.mark.usefixtures("plain_install")
    @pytest.mark.parametrize("command", ["--help", ""])
    def test_help_tells_how_to_get_the_rest(self, command: str, output: Output) -> None:
        out = output(command)
        assert "  health  Check" in out
        assert "pip install 'metrics-collector[cli]'" in out

    @pytest.mark.parametrize(
        ("command", "missing"),
        [("demo", "typer"), ("demo --help", "typer"), ("nonsense", "typer"), ("demo", "rich")],
    )
    def test_other_commands_name_the_extra(
        self, command: str, missing: str, monkeypatch: pytest.MonkeyPatch, complaint: Complaint
    ) -> None:
        take_away(missing, monkeypatch)
        assert complaint(command).endswith("'metrics-collector[cli]'")

    @pytest.mark.usefixtures("plain_install")
    def test_health_is_there(self, output: Output) -> None:
        assert "[worker|scheduler]" in output("health --help")


class TestHealth:
    @pytest.mark.parametrize(
        ("moments", "told"),
        [
            ([NOW - 12.3], "1 process), last flush 12 s ago"),
            ([NOW - 50, NOW - 3, NOW - 40, None], "4 processes), last flush 3 s ago"),
            ([None], "1 process), no flush yet"),
            ([NOW + 60], "1 process), last flush 0 s ago"),
        ],
        ids=["one process", "the last of any process", "before the first", "a clock set back"],
    )
    def test_the_last_flush(self, moments: list[float | None], told: str) -> None:
        states = [{"flushed_at": moment, "error": None} for moment in moments]
        assert _health.judge("worker", states, NOW) == (True, f"worker: alive ({told}")

    def test_a_scheduler_never_flushes(self) -> None:
        health = _health.judge("scheduler", [{"error": None}], NOW)
        assert health == (True, "scheduler: alive (1 process)")

    def test_the_error_of_one_process_counts(self) -> None:
        states = [{"flushed_at": NOW, "error": error} for error in (None, "disk full")]
        health = _health.judge("worker", states, NOW)
        assert health == (False, "worker: 2 processes, but the last flush failed: disk full")

    def test_the_embedded_mode_has_no_worker_to_look_for(
        self, monkeypatch: pytest.MonkeyPatch, complaint: Complaint
    ) -> None:
        monkeypatch.setenv("REDIS_URL", "memory://")
        assert "there is no worker process" in complaint("health")

    def test_it_goes_by_the_heartbeats_of_this_host(
        self, redis_url: str, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        async def beat() -> None:
            async with assembly.redis_for_a_while(Settings(redis_url=redis_url)) as connection:
                await assembly.heartbeat("worker", connection).beat({"error": None}, 20)

        asyncio.run(beat())
        monkeypatch.setenv("REDIS_URL", redis_url)
        assert run("health") == (0, "worker: alive (1 process), no flush yet\n", "")
        nobody = run("health scheduler")
        assert nobody.status == 1
        assert re.fullmatch(r"scheduler: no heartbeat from this host \(.+\); is .+\?\n", nobody.out)


class TestDemo:
    def test_refuses_to_measure_nothing(
        self, monkeypatch: pytest.MonkeyPatch, complaint: Complaint
    ) -> None:
        monkeypatch.setenv("METRICS_ENABLED", "false")
        assert complaint("demo").startswith("METRICS_ENABLED is false")

    @pytest.mark.parametrize("missing", ["fakeredis", "lupa"])
    def test_needs_a_redis_or_the_extra(
        self, missing: str, monkeypatch: pytest.MonkeyPatch, complaint: Complaint
    ) -> None:
        monkeypatch.setitem(sys.modules, missing, None)
        assert re.search(r"'metrics-collector\[embedded\]'.* REDIS_URL$", complaint("demo"))

    def test_a_redis_that_is_away_is_reported_at_once(self, complaint: Complaint) -> None:
        Path(".env").write_text("REDIS_URL=unix:///nowhere/redis.sock\n")
        line = complaint("demo", status=1)
        assert line.startswith("Redis at unix:///nowhere/redis.sock cannot be used: ")

    def test_a_folder_that_cannot_be_written_is_reported_at_once(
        self, monkeypatch: pytest.MonkeyPatch, complaint: Complaint
    ) -> None:
        monkeypatch.chdir("/proc")  # where not even root can make a file
        line = complaint("demo", status=1)
        assert line.startswith("no database can be made in /proc; start ")


class TestDemoDatabase:
    def renew(self) -> None:
        _demo_database.renew(assembly.database(Settings(database_name=str(_demo_database.PATH))))

    def functions(self) -> list[str]:
        with closing(sqlite3.connect(_demo_database.PATH)) as connection:
            return [name for (name,) in connection.execute("SELECT func_name FROM totals")]

    def fill(self, *func_names: str) -> None:
        self.renew()
        with closing(sqlite3.connect(_demo_database.PATH)) as connection, connection:
            connection.executemany(
                "INSERT INTO totals VALUES (?, 0, 1, 0, 0, 0.1, 0.1, 0.1, 0.0, '{}', 1)",
                [(name,) for name in func_names],
            )

    def test_an_earlier_demo_is_deleted(self) -> None:
        self.fill("demo.place_order", "demo.charge_card")
        Path(f"{_demo_database.PATH}-wal").write_bytes(b"left behind")
        self.renew()
        assert self.functions() == []

    def refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"metrics-demo\.db holds something else"):
            self.renew()

    def test_entries_of_others_are_not(self) -> None:
        self.fill("demo.place_order", "demonstration")
        self.refused()
        assert self.functions() == ["demo.place_order", "demonstration"]

    @pytest.mark.parametrize("content", [b"", b"my notes", b"SQLite format 3\0"])
    def test_what_is_no_database_of_ours_is_not(self, content: bytes) -> None:
        _demo_database.PATH.write_bytes(content)
        self.refused()
        assert _demo_database.PATH.read_bytes() == content

    def test_a_folder_is_not(self) -> None:
        _demo_database.PATH.mkdir()
        self.refused()

    def test_all_functions_of_the_shop_bear_its_prefix(self) -> None:
        # By it the database is known.
        names = re.findall(
            r'(?:name=|measure\()"(.*?)"', Path(_shop.__file__).read_text(encoding="utf-8")
        )
        assert len(names) == 8
        assert all(name.startswith(_shop.PREFIX) for name in names)


class TestUnits:
    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [
            (None, "-"),
            (0.0, "0 ns"),
            (5e-9, "5.00 ns"),
            (1.234e-6, "1.23 µs"),
            (12.34e-6, "12.3 µs"),
            (123.4e-6, "123 µs"),
            (999.4e-6, "999 µs"),
            (999.6e-6, "1.00 ms"),
            (9.996e-3, "10.0 ms"),
            (99.96e-3, "100 ms"),
            (1.0, "1.00 s"),
            (4321.0, "4,320 s"),
        ],
    )
    def test_duration(self, seconds: float | None, shown: str) -> None:
        assert units.duration(seconds) == shown

    @given(st.floats(1e-9, 1e5))
    def test_a_duration_has_three_digits(self, seconds: float) -> None:
        number, unit = units.duration(seconds).split()
        assert float(number.replace(",", "")) * IN_UNITS[unit] == pytest.approx(seconds, rel=5e-3)
        assert len(number.replace(",", "").replace(".", "")) >= 3
        assert seconds >= 999 or len(number) <= 4

    def test_counted(self) -> None:
        assert units.counted(1, "entry", "entries") == "1 entry"
        assert units.counted(0, "entry", "entries") == "0 entries"
        assert units.counted(12345, "entry", "entries") == "12,345 entries"


def rendered(what: RenderableType, width: int) -> list[str]:
    console = Console(file=StringIO(), width=width, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(what)
    return [line.rstrip() for line in capture.get().splitlines()]


def failures(every: list[FunctionMetrics], width: int) -> list[str]:
    table = _figures.failures(every, width)
    assert table is not None
    return rendered(table, width)


def metrics(func_name: str, calls: int, seconds: float, **figures: Any) -> FunctionMetrics:
    return FunctionMetrics(
        func_name=func_name,
        call_count=calls,
        total_execution_time=calls * seconds,
        min_execution_time=seconds,
        max_execution_time=seconds,
        histogram={histogram.bucket(seconds): calls},
        **figures,
    )


class TestFigures:
    def test_a_table_as_it_is_seen(self) -> None:
        table = _figures.functions(
            [metrics("app.pay", 12, 1.5, error_count=3), metrics("app.parse", 2500, 12.34e-6)], 80
        )
        assert rendered(table, 80) == [
            "function    calls   errors   average       p50       p90       p95       p99",
            "────────────────────────────────────────────────────────────────────────────",
            "app.pay        12        3    1.50 s    1.50 s    1.50 s    1.50 s    1.50 s",
            "app.parse   2,500        0   12.3 µs   12.3 µs   12.3 µs   12.3 µs   12.3 µs",
        ]

    def test_a_narrow_terminal_shows_what_needs_no_name_cut(self) -> None:
        table = _figures.functions([metrics("demo.charge_card", 99_999, 0.0123)], 60)
        assert rendered(table, 60) == [
            "function          calls errors    avg    p50    p95    p99",
            "──────────────────────────────────────────────────────────",
            "demo.charge_card 99,999      0 12.3ms 12.3ms 12.3ms 12.3ms",
        ]

    def test_a_function_without_calls(self) -> None:
        lines = rendered(_figures.functions([FunctionMetrics(func_name="app.f")], 80), 80)
        assert lines[-1].split() == ["app.f", "0", "0", *5 * "-"]

    def test_markup_in_a_name_is_shown_as_it_is(self) -> None:
        lines = rendered(_figures.functions([metrics("app.[red]f[/x]", 1, 1.0)], 80), 80)
        assert lines[-1].startswith("app.[red]f[/x] ")

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("clear\x1b[2J\x1b]0;title\x07", r"clear\x1b[2J\x1b]0;title\x07"),
            ("two\nlines\r\tand\x9b31m", r"two\nlines\r\tand\x9b31m"),
            ("back\u202ewards", r"back\u202ewards"),
            ("half\ud83d", r"half\ud83d"),
            ("ö 字 \U0001f600", "ö 字 \U0001f600"),
        ],
    )
    def test_a_name_cannot_control_a_terminal(self, text: str, shown: str) -> None:
        one = metrics(text, 1, 1.0, error_count=1, error_types={text: 1})
        assert rendered(_figures.functions([one], 200), 200)[-1].startswith(f"{shown} ")
        assert failures([one], 200)[-1] == f"{shown}  1 {shown}"

    @pytest.mark.parametrize("width", [60, 80, 120])
    def test_a_name_of_any_length_leaves_room_for_what_failed(self, width: int) -> None:
        for letter in "a字":
            one = metrics(letter * 10_000, 1, 1.0, error_count=1, error_types={"KeyError": 1})
            (line,) = failures([one], width)[1:]
            assert line.endswith("…  1 KeyError")
            assert cell_len(line) <= width

    @pytest.mark.parametrize("width", [60, 80, 120])
    def test_no_line_is_too_long(self, width: int) -> None:
        names = ["a" * 200 + ".f", "app.f"]
        every = [metrics(n, 10**7, 0.0123, error_count=1, error_types={n: 1}) for n in names]
        for lines in (rendered(_figures.functions(every, width), width), failures(every, width)):
            assert all(len(line) <= width for line in lines)

    def test_failures_by_type(self) -> None:
        every = [
            metrics("app.f", 9, 1.0, error_count=3, error_types={"KeyError": 1, "OSError": 2}),
            metrics("app.g", 9, 1.0),
            metrics("app.longer", 9, 1.0, cancelled_count=4),
        ]
        assert failures(every, 80) == [
            "errors by type",
            "app.f       2 OSError, 1 KeyError",
            "app.longer  4 cancelled",
        ]

    @given(st.integers(30, 120))
    def test_a_number_stays_with_its_type(self, width: int) -> None:
        types = {f"Error{number}": 10**number for number in range(6)}
        one = metrics("app.f", 10**7, 1.0, error_count=111_111, error_types=types)
        shown = "\n".join(failures([one], width)[1:]).removeprefix("app.f")
        items = [item.strip() for item in re.split(r",\s", shown)]
        assert items == [f"{10**number:,} Error{number}" for number in range(5, -1, -1)]

    def test_no_failures(self) -> None:
        assert _figures.failures([metrics("app.f", 9, 1.0)], 80) is None


class TestNextSteps:
    def test_queries_fit_a_narrow_terminal_and_answer(self) -> None:
        store = assembly.database(Settings(database_name=str(_demo_database.PATH)))
        _demo_database.renew(store)
        with closing(sqlite3.connect(_demo_database.PATH)) as connection:
            for query in store.examples.queries:
                assert all(len(line) <= 56 for line in query.splitlines())
                assert sqlite3.complete_statement(query)
                connection.execute(query)
