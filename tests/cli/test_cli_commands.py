"""The commands that read, in this process and in a pipe: what they take, refuse and write."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import resource
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector import flush, get_metrics, list_metrics, measure
from metrics_collector._core.as_json import iso
from metrics_collector._reading import reports
from metrics_collector._runtime.collector import collector
from metrics_collector.cli import _export

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Complaint, Output, Run
    from tests.helpers.redis_server import RedisServer

STRANGE = "demo.[red]\x1b[31m\nname"
SHOWN = r"demo.[red]\x1b[31m\nname"
FORMULA = "=HYPERLINK(1)"
CALLS = {"shop.checkout": (6, 2), "shop.cart.fetch": (9, 0), STRANGE: (1, 1), FORMULA: (2, 0)}


class StrangeError(Exception):
    pass


StrangeError.__name__ = "Strange\x1b[2J"


def record() -> None:
    for name, (calls, errors) in CALLS.items():
        kind = StrangeError if name == STRANGE else KeyError
        for number in range(calls):
            with suppress(kind), measure(name):
                if number < errors:
                    raise kind


@pytest.fixture(autouse=True)
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "memory://")


@pytest.fixture
def calls(embedded: None) -> None:
    """Some calls that were made just now, and are saved."""
    record()
    asyncio.run(flush())


def table(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def moments(*texts: str) -> list[datetime]:
    return [datetime.fromisoformat(text) for text in texts]


class TestInput:
    @pytest.mark.parametrize(
        ("command", "said"),
        [
            ("stats --since 1x", "invalid time '1x': use one back from now"),
            ("stats --since 1h --until 2h", "--since 1h is not before --until 2h: give an"),
            ("stats a b", "unexpected extra argument"),
            ("top", "top needs a terminal"),
            ("top --since yesterday", "invalid --since yesterday: use a time back from now"),
            ("history", "Missing argument"),
            ("history shop.chekout", "close: 'shop.checkout'"),
            ("errors --since 2999-01-01", "--since 2999-01-01 is not before now"),
            ("export chekout", "close: 'shop.checkout'"),
            ("export --output nowhere/x.csv", "'nowhere/x.csv' cannot be written: No such file"),
            ("doctor now", "unexpected extra argument"),
            ("history ''", "the name of a function is needed"),
            ("export ''", "the name of a function is needed"),
            ("purge --yes", "use --entries-older-than 30d or similar, or set METRICS_RETENTION"),
            ("purge --yes --hours-older-than soon", "invalid time 'soon'"),
            ("purge --yes --days-older-than 2999-01-01T00:00Z", "cannot purge up to 2999-01-01 "),
        ],
    )
    @pytest.mark.usefixtures("calls")
    def test_that_is_wrong_gets_one_line_and_2(
        self, command: str, said: str, complaint: Complaint
    ) -> None:
        assert said in complaint(command)

    @pytest.mark.usefixtures("calls")
    def test_a_name_that_fits_several_is_wrong_too(self, complaint: Complaint) -> None:
        with measure("other.checkout"):
            pass
        assert "'other.checkout', 'shop.checkout'" in complaint("history checkout")

    @pytest.mark.parametrize(
        "command",
        [
            "stats",
            "top",
            "history",
            "errors",
            "export",
            "backup",
            "doctor",
            "purge",
            "demo",
            "health",
        ],
    )
    def test_each_command_has_help(self, command: str, output: Output) -> None:
        assert output(f"{command} --help").startswith(f"Usage: metrics-collector {command}")

    def test_help_cuts_no_summary(self, output: Output) -> None:
        assert "..." not in output("--help").partition("Commands:")[2]

    @pytest.mark.parametrize(
        "command", ["stats", "errors", "doctor", "export", "backup", "history f", "top"]
    )
    def test_wrong_settings_are_reported(
        self, command: str, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        monkeypatch.setenv("MAX_ITEMS", "many")
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        ran = run(command)
        assert ran.status == 2
        assert command == "top" or "MAX_ITEMS='many'" in ran.err

    @pytest.mark.parametrize("command", ["stats", "errors", "export", "history f"])
    def test_a_redis_that_is_away_is_reported_in_one_line(
        self, command: str, monkeypatch: pytest.MonkeyPatch, complaint: Complaint
    ) -> None:
        monkeypatch.setenv("REDIS_URL", "unix:///nowhere/redis.sock")
        assert complaint(command, status=1).startswith("Redis at unix:///nowhere/redis.sock ")


@pytest.mark.usefixtures("calls")
class TestStats:
    @pytest.mark.parametrize("window", ["", " --since 10m"])
    def test_a_line_for_each_function(self, window: str, output: Output) -> None:
        heading, *lines = table(output("stats" + window))
        assert heading == ["function", "calls", "errors", "average", "p50", "p90", "p95", "p99"]
        assert {line[0]: (int(line[1]), int(line[2])) for line in lines} == {
            SHOWN if name == STRANGE else name: counts for name, counts in CALLS.items()
        }
        assert all(re.fullmatch(r"[\d.]+(ns|µs|ms|s)", cell) for line in lines for cell in line[3:])

    def test_a_filter_an_order_and_a_limit(self, output: Output) -> None:
        for options, names in {
            "SHOP --sort name": ["shop.cart.fetch", "shop.checkout"],
            "shop.* --sort errors": ["shop.checkout", "shop.cart.fetch"],
            "--sort calls --limit 1": ["shop.cart.fetch"],
        }.items():
            assert [line[0] for line in table(output(f"stats {options}"))[1:]] == names

    def test_json_has_what_the_library_has(self, output: Output) -> None:
        shown = json.loads(output("stats --json --sort name"))
        assert shown == [one.as_dict() for one in asyncio.run(list_metrics())]

    def test_another_time_has_no_calls(self, run: Run) -> None:
        assert run("stats --until 2020-01-01") == (0, "", "no calls in this time\n")
        assert json.loads(run("stats --json --until 2020-01-01").out) == []

    def test_a_filter_that_matches_none_names_what_is_near(self, run: Run) -> None:
        said = "no function matches 'chekout'; close: 'shop.checkout'\n"
        assert run("stats chekout") == (0, "", said)


def test_without_any_calls_nothing_is_shown_and_said(run: Run) -> None:
    assert run("stats") == (0, "", "no calls yet\n")
    assert run("errors") == (0, "", "no errors in this time\n")
    assert run("export").out.count("\n") == 1
    assert run("purge --yes --entries-older-than 1d").out.startswith("deleted 0 entries, ")


@pytest.mark.usefixtures("calls")
class TestHistory:
    def test_a_line_for_each_step(self, output: Output) -> None:
        begin = datetime.now(UTC) - timedelta(minutes=2)
        heading, *lines = table(output("history checkout --since 10m"))
        assert heading == ["start", "calls", "errors", "average", "p50", "p90", "p95", "p99"]
        assert sum(int(line[1]) for line in lines) == 6
        assert sum(int(line[2]) for line in lines) == 2
        for line in lines:
            assert begin <= datetime.fromisoformat(line[0]) <= datetime.now(UTC)

    def test_json(self, output: Output) -> None:
        shown = json.loads(output("history checkout --since 10m --json"))
        window, points = shown["window"], shown["points"]
        metrics = asyncio.run(get_metrics("checkout")).as_dict()
        assert {"func_name": shown["func_name"], **shown["totals"]} == metrics
        assert {name for point in points for name in point} == {*metrics, "start", "resolution"}
        assert sum(point["call_count"] for point in points) == 6
        begin, end = moments(window["since"], window["until"])
        starts = moments(*(point["start"] for point in points))
        assert begin <= min(starts) <= max(starts) < end


@pytest.mark.usefixtures("calls")
class TestErrors:
    def test_a_line_for_each_type(self, output: Output) -> None:
        heading, *lines = table(output("errors --since 10m"))
        assert heading == ["function", "type", "first_seen", "last_seen", "count"]
        assert sorted((*line[:2], line[4]) for line in lines) == [
            (SHOWN, r"Strange\x1b[2J", "1"),
            ("shop.checkout", "KeyError", "2"),
        ]
        for line in lines:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", line[2])
            assert line[2] <= line[3]

    def test_json(self, output: Output) -> None:
        shown = json.loads(output("errors --since 10m --json"))
        (checkout,) = [one for one in shown["errors"] if one["func_name"] == "shop.checkout"]
        assert (checkout["error_type"], checkout["count"]) == ("KeyError", 2)
        assert sum(checkout["counts"]) == 2
        moves = moments(
            shown["window"]["since"], checkout["first_seen_at"], checkout["last_seen_at"]
        )
        assert moves == sorted(moves)


def saved() -> list[dict[str, Any]]:
    """All entries, as the library has them, but for their moments: those are ISO 8601."""

    async def read() -> list[Any]:
        return [entry async for some in reports.entries() for entry in some]

    return [
        entry._asdict() | {"created_at": iso(entry.created_at)} for entry in asyncio.run(read())
    ]


@pytest.mark.usefixtures("calls")
class TestExport:
    def test_json_lines_have_all_as_it_is(self, output: Output) -> None:
        lines = output("export --format jsonl").splitlines()
        assert [json.loads(line) for line in lines] == saved()
        assert len(lines) == sum(calls for calls, _ in CALLS.values())

    def test_csv_has_all_and_no_formula(self, run: Run) -> None:
        assert run("export --output out.csv") == (0, "", "18 entries in out.csv\n")
        with Path("out.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for row, entry in zip(rows, saved(), strict=True):
            name = entry["func_name"]
            assert row["func_name"] == ("'" + name if name == FORMULA else name)
            assert float(row["execution_time"]) == entry["execution_time"]
            assert row["created_at"] == entry["created_at"]
            assert int(row["error_occurred"]) == entry["error_occurred"]
            assert row["error_type"] == (entry["error_type"] or "")
            assert row["id"] == entry["id"]

    def test_outcomes_and_fields_that_are_not_known(self) -> None:
        entry = reports.StoredEntry("f", 1.0, 0, 2.0, "timeout", None, None, '{"trace":["0af7"]}')
        with StringIO() as file:
            _export._json_lines(file)([entry])
            line = json.loads(file.getvalue())
        changed = {"created_at": "1970-01-01T00:00:02Z", "extra": {"trace": ["0af7"]}}
        assert line == {**entry._asdict(), **changed}
        with StringIO(newline="") as file:
            _export._csv(file)([entry])
            (row,) = csv.DictReader(file.getvalue().splitlines())
        assert (row["outcome"], row["extra"]) == ("timeout", entry.extra)

    def test_one_function_and_a_window(self, output: Output) -> None:
        lines = output("export checkout --since 10m --format jsonl").splitlines()
        assert {json.loads(line)["func_name"] for line in lines} == {"shop.checkout"}
        assert len(lines) == 6
        assert output("export --until 2020-01-01 --format jsonl") == ""

    @pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
    def test_what_a_spreadsheet_would_compute_is_marked(self, begin: str) -> None:
        with Path("out.csv").open("w+", encoding="utf-8", newline="") as file:
            entry = reports.StoredEntry(begin + "1", -1.0, 0, 0.0, "ok", None, None, None)
            _export._csv(file)([entry])
            file.seek(0)
            (row,) = csv.DictReader(file)
        assert row["func_name"] == f"'{begin}1"
        assert row["execution_time"] == "-1.0"  # a number is none


@pytest.mark.usefixtures("calls")
class TestDoctor:
    def test_in_the_embedded_mode(self, output: Output) -> None:
        lines = output("doctor").splitlines()
        assert [line.split()[:2] for line in lines] == [["ok", "redis"], ["ok", "database"]]
        assert f"{Path('metrics.db').absolute()} can be written; " in lines[1]
        assert "18 entries saved" in lines[1]

    @pytest.mark.parametrize(
        ("setting", "value", "found"),
        [
            ("REDIS_URL", "unix:///nowhere/redis.sock", r"FAIL +redis .*\nok +database .*\n"),
            ("DATABASE_NAME", "notes.txt", r"ok +redis .*\nFAIL +database .*notes\.txt.*\n"),
        ],
        ids=["no Redis", "no database"],
    )
    def test_what_is_not_there(
        self, setting: str, value: str, found: str, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        collector.reset()
        monkeypatch.setenv(setting, value)
        Path("notes.txt").write_text("my notes\n" * 200)
        status, out, err = run("doctor")
        assert (status, err) == (1, "")
        assert re.fullmatch(found, out)

    @pytest.mark.usefixtures("calls")
    def test_it_tries_to_write(self, run: Run) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            found = run("doctor")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert found.status == 1
        assert re.search(
            r"FAIL +database .* takes no more \(File too large\): make room", found.out
        )

    @pytest.mark.integration
    def test_a_cluster(
        self,
        start_redis: Callable[..., RedisServer],
        unused_tcp_port: int,
        monkeypatch: pytest.MonkeyPatch,
        run: Run,
    ) -> None:
        server = start_redis(cluster_enabled="yes", cluster_port=str(unused_tcp_port))
        collector.reset()
        monkeypatch.setenv("REDIS_URL", server.url)
        refusal = f"Redis at {server.url} is a Redis Cluster, "
        assert re.match(f"FAIL +redis +{refusal}", run("doctor").out)
        for command in ("stats", "health", "health scheduler"):
            assert run(command).err.startswith(f"metrics-collector: {refusal}")


@pytest.mark.usefixtures("calls")
class TestPurge:
    @pytest.mark.parametrize("arguments", ["", " --entries-older-than 30d"])
    def test_without_a_terminal_it_needs_to_be_sure(
        self, arguments: str, monkeypatch: pytest.MonkeyPatch, complaint: Complaint
    ) -> None:
        collector.reset()
        monkeypatch.setenv("METRICS_RETENTION", "7")
        monkeypatch.setattr("sys.stdin", StringIO("y\n"))
        assert " use --yes " in complaint(f"purge{arguments}")
        assert len(saved()) == 18

    def test_what_is_old_goes_and_is_reported(self, output: Output) -> None:
        said = output("purge --yes --entries-older-than 1d")
        assert said.startswith("deleted 0 entries, ")
        said = output("purge --yes --entries-older-than 0.001s")
        assert said.startswith("deleted 18 entries, figures 0 by minute, 0 by hour, 0 by day, ")
        assert saved() == []
        assert len(table(output("stats"))) == 1 + len(CALLS)  # the totals stay

    def test_the_settings_decide_where_nothing_is_asked_for(
        self, monkeypatch: pytest.MonkeyPatch, output: Output
    ) -> None:
        collector.reset()
        monkeypatch.setenv("METRICS_RETENTION", "0.0000001")  # days
        assert output("purge --yes").startswith("deleted 18 entries, ")
