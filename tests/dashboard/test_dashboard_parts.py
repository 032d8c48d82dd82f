"""What the dashboard's pages are made of: states, tables, figures and buckets, each by itself."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_collector._core.histogram import bucket
from metrics_collector._errors import ConfigurationError
from metrics_collector.dashboard import _assets, _buckets, _format, _table
from metrics_collector.dashboard._state import WINDOWS, State

NOW = datetime(2026, 11, 26, 14, 30, tzinfo=UTC)


def query_of(state: State) -> dict[str, str]:
    return dict(parse_qsl(state.query().removeprefix("?")))


class TestState:
    @given(
        st.builds(
            State,
            window=st.sampled_from([*WINDOWS, "90s", "1.5h", "2w"]),
            search=st.text(max_size=20).map(str.strip),
            sort=st.sampled_from(["p95", "total_execution_time"]),
            descending=st.booleans(),
            page=st.integers(1, 999),
            live=st.booleans(),
        )
    )
    def test_a_url_gives_the_state_that_made_it(self, state: State) -> None:
        assert State.of(query_of(state)) == state

    @given(st.datetimes(datetime(2001, 1, 1), datetime(2100, 1, 1)), st.integers(1, 10**6))  # noqa: DTZ001 - bounds are naive
    def test_so_does_that_of_a_custom_window(self, start: datetime, seconds: int) -> None:
        since = start.replace(microsecond=0, tzinfo=UTC)
        state = State(since=since, until=since + timedelta(seconds=seconds))
        assert State.of(query_of(state)) == state
        assert state.begin == since

    def test_the_year_of_an_early_one_has_four_digits(self) -> None:
        state = State(since=datetime(1, 2, 3, 4, 5, 6, tzinfo=UTC))
        assert State.of(query_of(state)) == state

    def test_the_usual_state_needs_no_query(self) -> None:
        assert State().query() == State.of({}).query() == ""

    @pytest.mark.parametrize(
        "text", ["2026-11-26T14:30", "2026-11-26T14:30Z", "2026-11-26T15:30+01:00"]
    )
    def test_a_moment_is_utc_unless_it_says_otherwise(self, text: str) -> None:
        assert State.of({"since": text}).since == NOW

    @pytest.mark.parametrize(
        ("query", "said"),
        [
            ({"window": "yesterday"}, "window is a number"),
            ({"window": "24h; DROP"}, "window is a number"),
            ({"window": "0h"}, "window is a number"),
            ({"window": "999999w"}, "window is a number"),
            ({"window": "24h", "since": "2026-11-26"}, "window and since exclude each other"),
            ({"live": "on"}, "live is off, or left out"),
            ({"since": "noon"}, "since is a date"),
            ({"since": "9999-12-31T23:59-23:00"}, "since is a date"),
            ({"since": "2026-11-26", "until": "2026-13-01"}, "until is a date"),
            ({"until": "2026-11-26"}, "until needs since"),
            *(({"page": page}, "page is a whole number") for page in ("0", "-1", "1e9")),
            ({"sort": "p95;"}, "sort is the name"),
        ],
    )
    def test_what_is_no_state_is_refused(self, query: dict[str, str], said: str) -> None:
        with pytest.raises(ConfigurationError, match=said) as caught:
            State.of(query)
        assert "timedelta" not in str(caught.value)

    def test_another_order_begins_on_the_first_page(self) -> None:
        assert State(page=5, sort="p50").but(sort="p95").page == 1

    def test_another_view_keeps_the_window_and_whether_it_is_live(self) -> None:
        state = State(window="7d", live=False, search="x", sort="p95", page=3)
        assert state.elsewhere() == State(window="7d", live=False)


class TestTable:
    ROWS = tuple({"name": f"shop.f{n}", "n": n if n % 7 else None} for n in range(60))

    def page(self, **state: Any) -> dict[str, Any]:
        return _table.page(
            self.ROWS,
            State(**state),
            columns={"n": lambda row: row["n"], "name": lambda row: row["name"]},
            names=lambda row: (str(row["name"]),),
            usual="n",
            show=lambda row: row,
        )

    def test_the_pages_hold_every_row_once_in_order_and_those_without_a_figure_last(self) -> None:
        pages = [self.page(page=number) for number in (1, 2, 3)]
        assert [len(page["rows"]) for page in pages] == [25, 25, 10]
        assert {(page["found"], page["of"], page["pages"]) for page in pages} == {(60, 60, 3)}
        figures = [row["n"] for page in pages for row in page["rows"]]
        known = [n for n in figures if n is not None]
        assert known == sorted((n for n in range(60) if n % 7), reverse=True)
        assert figures[len(known) :] == [None] * 9

    def test_the_least_first_leaves_those_without_a_figure_last(self) -> None:
        assert self.page(sort="n", descending=False)["rows"][0]["n"] == 1
        assert self.page(sort="n", descending=False, page=3)["rows"][-1]["n"] is None

    def test_past_the_last_page_is_the_last_one(self) -> None:
        assert self.page(page=99) == self.page(page=3)

    def test_search_takes_any_part_in_any_case(self) -> None:
        found = self.page(search="P.F5")
        assert {row["name"] for row in found["rows"]} == {f"shop.f{n}" for n in (5, *range(50, 60))}
        assert (found["found"], found["of"]) == (11, 60)
        assert self.page(search="nothing")["rows"] == []
        assert self.page(search="nothing")["pages"] == 1

    def test_an_unknown_column_is_refused_with_those_there_are(self) -> None:
        said = "no column 'size' to sort by; there are n, name"
        with pytest.raises(ConfigurationError, match=said):
            self.page(sort="size")


class TestFigures:
    @pytest.mark.parametrize(
        ("now", "before", "text", "direction"),
        [
            (112, 100, "+12 %", "up"),
            (50, 100, "−50 %", "down"),  # noqa: RUF001 - a minus sign
            (100.2, 100, "±0 %", "same"),
            (0, 5, "−100 %", "down"),  # noqa: RUF001 - a minus sign
            (2300, 100, "23 times", "up"),
            (5, 0, "new", "up"),
        ],
    )
    def test_change(self, now: float, before: float, text: str, direction: str) -> None:
        change = _format.change(now, before)
        assert change is not None
        assert change.text.replace("\N{NO-BREAK SPACE}", " ") == text
        assert change.direction == direction

    @pytest.mark.parametrize(("now", "before"), [(None, 1), (1, None), (0, 0)])
    def test_nothing_to_compare(self, now: float | None, before: float | None) -> None:
        assert _format.change(now, before) is None

    @pytest.mark.parametrize(
        ("per_second", "text"),
        [
            (0, "0 /s"),
            (1234.5, "1,234 /s"),
            (12.34, "12.3 /s"),
            (1, "1.00 /s"),
            (0.5, "30.0 /min"),
            (0.001, "3.60 /h"),
            (1e-5, "0.04 /h"),
        ],
    )
    def test_rate(self, per_second: float, text: str) -> None:
        assert _format.rate(per_second) == text

    @given(st.floats(1e-9, 1))
    def test_a_share_is_reported_within_its_digits(self, share: float) -> None:
        text = _format.percent(share).replace("\N{NO-BREAK SPACE}%", "")
        if text.startswith("<"):
            assert share < 0.0001
        else:
            assert float(text) / 100 == pytest.approx(share, rel=0.006, abs=0.00005)

    @pytest.mark.parametrize(
        ("number", "text"), [(0, "0 bytes"), (182_000_000, "182.0 MB"), (None, "-")]
    )
    def test_size(self, number: int | None, text: str) -> None:
        assert _format.size(number) == text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0, "0 s ago"),
            (59, "59 s ago"),
            (61, "1 min ago"),
            (7200, "2 h ago"),
            (200_000, "2 d ago"),
            (-5, "0 s ago"),
        ],
    )
    def test_ago(self, seconds: float, text: str) -> None:
        then = NOW - timedelta(seconds=seconds)
        assert _format.ago(then, NOW) == _format.ago(then.isoformat(), NOW) == text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0.5, "500 ms"), (599, "599 s"), (600, "10.0 min"), (7200, "2.00 h"), (864_000, "10.0 d")],
    )
    def test_long_duration(self, seconds: float, text: str) -> None:
        assert _format.long_duration(seconds) == text


class TestBuckets:
    @given(
        st.lists(st.floats(1e-9, 1e4) | st.just(0.0), max_size=50), st.sampled_from([1, 2, 8, 32])
    )
    def test_no_call_is_lost_and_each_is_where_it_belongs(
        self, times: list[float], per_doubling: int
    ) -> None:
        coarse = _buckets.coarse(Counter(map(bucket, times)), per_doubling)
        assert coarse.total() == len(times)
        assert coarse[None] == times.count(0.0)
        for one in times:
            ends = [
                (_buckets.start(k, per_doubling), _buckets.start(k + 1, per_doubling))
                for k in coarse
                if k is not None
            ]
            some = 1e-12  # for the rounding
            assert not one or any(a * (1 - some) <= one <= b * (1 + some) for a, b in ends)


class TestAssets:
    def test_the_library_comes_out_of_its_package(self) -> None:
        assets = _assets.load()
        scripts = {"plotly.js", "app.js", "charts.js", "theme.js"}
        assert assets.contents.keys() == scripts | {"style.css", "icon.svg"}
        assert re.fullmatch("[0-9a-f]{16}", assets.version)

    def test_nothing_is_fetched_from_elsewhere(self) -> None:
        package = resources.files("metrics_collector.dashboard")
        for folder in ("static", "templates"):
            for file in package.joinpath(folder).iterdir():
                text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
                assert not re.search(r"https?://", text), file
