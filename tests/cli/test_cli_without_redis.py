"""The commands that read, where Redis cannot be used: what SQL has, and a line that says what is missing."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from metrics_collector._reading.reports import Missing
from metrics_collector._runtime.collector import collector
from metrics_collector.cli import _reading
from metrics_collector.cli._top._rates import Rates
from tests.cli.test_cli_parts import checks, reading
from tests.helpers.dashboard import Call, save
from tests.helpers.well_running import PIPELINE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Complaint, Run
    from tests.helpers.redis_server import RedisServer

DOWN: Final = "redis://:S3CR3T@127.0.0.1:1/0"
WARNING: Final = (
    r"metrics-collector: partial figures: entries that are not saved yet are missing; check Redis and REDIS_URL\. "
    r"Redis at redis://\S+ cannot be used: .*111.*\n"
)
ALONE: Final = Missing(left_out=None, redis_error="Redis is away")


@pytest.fixture(autouse=True)
def calls(tmp_path: Path) -> None:
    """Some calls of the last minutes, none of the last one, saved where the commands look."""
    now = time.time()
    calls = [
        Call("shop.till.pay", now - 120 - n, 0.25, None if n else "KeyError") for n in range(3)
    ]
    asyncio.run(save([*calls, Call("shop.cart", now - 150)], tmp_path / "metrics.db"))


@pytest.fixture
def down(calls: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", DOWN)


@pytest.fixture
def partial(down: None, run: Run) -> Callable[[str], str]:
    """What a command writes, which also says that it is partial."""

    def output_of(command: str) -> str:
        status, out, err = run(command)
        assert status == 0, err
        assert re.fullmatch(WARNING, err), err
        assert "S3CR3T" not in err
        return out

    return output_of


def test_stats(partial: Callable[[str], str]) -> None:
    lines = [line.split()[:3] for line in partial("stats --since 1h").splitlines()]
    assert lines[1:] == [["shop.till.pay", "3", "1"], ["shop.cart", "1", "0"]]
    found = {one["func_name"]: one for one in json.loads(partial("stats --since 1h --json"))}
    assert (found["shop.till.pay"]["call_count"], found["shop.till.pay"]["partial"]) == (3, True)


@pytest.mark.parametrize(("command", "key"), [("errors", "errors"), ("history till.pay", "points")])
def test_json_says_it(
    command: str, key: str, partial: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    assert "shop.till.pay" in partial(f"{command} --json")
    found = json.loads(partial(f"{command} --json"))
    assert found[key]
    assert (found["partial"], found["left_out"]) == (True, None)
    assert "127.0.0.1:1" in found["redis_error"]
    monkeypatch.setenv("REDIS_URL", "memory://")
    collector.reset()
    status, out, err = run(f"{command} --json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert (found["partial"], found["left_out"], found["redis_error"]) == (False, 0, None)


def test_tables(partial: Callable[[str], str]) -> None:
    assert "KeyError" in partial("errors")
    assert [line.split()[1] for line in partial("history shop.till.pay").splitlines()[1:]] == ["3"]


@pytest.mark.usefixtures("down")
def test_an_export_is_of_what_is_saved_and_lacks_nothing(run: Run) -> None:
    status, out, err = run("export till.pay")
    assert (status, len(out.splitlines()), err) == (0, 4, "")


@pytest.mark.usefixtures("down")
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("stats", "Redis at redis://:***@127.0.0.1:1/0 cannot be used"),
        ("history never_called", "in the database no measured function matches 'never_called'"),
        ("export never_called", "in the database no measured function matches 'never_called'"),
    ],
)
def test_what_sql_cannot_answer_fails(command: str, said: str, complaint: Complaint) -> None:
    assert said in complaint(command, status=1)


@pytest.mark.usefixtures("down")
@pytest.mark.parametrize("command", ["stats --since 2s", "errors --since 2s"])
def test_that_nothing_is_saved_is_not_that_there_is_nothing(command: str, run: Run) -> None:
    status, out, err = run(command)
    assert (status, out) == (0, "")
    assert re.fullmatch(rf"no (calls|errors) in this time are saved\n{WARNING}", err)


@pytest.mark.usefixtures("down")
def test_the_doctor(run: Run) -> None:
    status, out, _ = run("doctor")
    lines = out.splitlines()
    assert (status, [line.split()[:2] for line in lines]) == (
        1,
        [["FAIL", "redis"], ["ok", "database"]],
    )
    assert "4 entries saved" in lines[1]


def test_a_server_that_stops_and_starts(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    for change, warned in (
        (redis_server.stop, True),
        (redis_server.start, False),
        (redis_server.kill, True),
    ):
        change()
        status, out, err = run("stats --since 1h")
        assert (status, "shop.till.pay" in out) == (0, True)
        assert bool(re.fullmatch(WARNING, err)) is warned
        assert bool(err) is warned


def test_a_name_in_the_reason_cannot_control_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _reading.warn(replace(ALONE, redis_error="\x1b[2J\n"))
    assert r"\x1b[2J\n" in capsys.readouterr().err


def test_too_many_waiting_entries_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    _reading.warn(Missing(left_out=1, redis_error=None))
    assert "partial figures: 1 waiting entry is missing" in capsys.readouterr().err
    _reading.warn(Missing(left_out=0, redis_error=None))
    assert capsys.readouterr().err == Missing(left_out=0, redis_error=None).line == ""


class TestTop:
    def test_rates_are_unknown_without_redis_and_begin_anew_with_it(self) -> None:
        rates = Rates()
        whole = [reading(0, {"f": [number]}) for number in (10, 20, 500, 504)]
        seen: list[Any] = []
        for number, one in enumerate([*whole[:2], replace(whole[0], missing=ALONE), *whole[2:]]):
            rates.add(one, 2.0 * number)
            seen.append((rates.of("f"), rates.total()))
        assert seen == [(None, None), (5.0, 5.0), (None, None), (None, None), (2.0, 2.0)]


def test_a_lag_that_cannot_be_read_is_unknown() -> None:
    assert checks(replace(PIPELINE, lag=None))["lag"][1].startswith("unknown")
    assert checks(replace(PIPELINE, lag=0.0, waiting=0))["lag"] == ("ok", "no entries waiting")
