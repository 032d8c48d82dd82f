"""The figures: what JSON has of each, and how tables of them are told."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_collector import FunctionMetrics, HistoryPoint
from metrics_collector._core.as_json import iso
from metrics_collector._core.figures import COLUMNS, FIGURES
from metrics_collector._core.histogram import bucket

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
METRICS = FunctionMetrics(
    func_name="app.f",
    call_count=4,
    error_count=1,
    total_execution_time=2.0,
    min_execution_time=0.5,
    max_execution_time=0.5,
    error_types={"KeyError": 1},
    last_called_at=NOON,
    histogram={bucket(0.5): 4},
)


def test_json_has_every_figure_under_the_name_of_its_attribute() -> None:
    shown = json.loads(json.dumps(METRICS.as_dict()))
    assert list(shown) == ["func_name", *(figure.name for figure in FIGURES)]
    assert shown.pop("last_called_at") == "2026-11-26T12:00:00Z"
    assert shown == {name: getattr(METRICS, name) for name in shown}
    assert shown["error_rate"] == 0.25


def test_without_calls_there_are_no_times() -> None:
    shown = FunctionMetrics(func_name="app.f").as_dict()
    counts = dict.fromkeys(("call_count", "error_count", "cancelled_count"), 0)
    others = {"func_name": "app.f", "total_execution_time": 0.0, "error_types": {}}
    assert {name: value for name, value in shown.items() if value is not None} == counts | others


def test_a_point_tells_where_it_begins() -> None:
    point = HistoryPoint(func_name="app.f", start=NOON, resolution="minute")
    own = {"start": "2026-11-26T12:00:00Z", "resolution": "minute"}
    assert point.as_dict() == {**own, **FunctionMetrics(func_name="app.f").as_dict()}


def test_a_percentile_is_the_quantile_of_its_name() -> None:
    times = [0.001 * number for number in range(1, 101)]
    metrics = FunctionMetrics(
        func_name="app.f",
        call_count=100,
        min_execution_time=times[0],
        max_execution_time=times[-1],
        histogram=Counter(map(bucket, times)),
    )
    percentiles = [figure for figure in FIGURES if figure.kind == "quantile"]
    assert [figure.name for figure in percentiles] == ["p50", "p90", "p95", "p99"]
    for figure in percentiles:
        rank = int(figure.name[1:])
        assert figure.of(metrics) == metrics.quantile(rank / 100)
        assert figure.of(metrics) == pytest.approx(times[rank - 1], rel=0.011)


def test_labels_tell_columns_apart() -> None:
    assert len({figure.label for figure in COLUMNS}) == len(COLUMNS)


@given(st.datetimes(timezones=st.just(UTC)))
def test_python_reads_every_moment(moment: datetime) -> None:
    assert datetime.fromisoformat(iso(moment)) == moment


@pytest.mark.parametrize(
    "moment", [NOON.astimezone(timezone(timedelta(hours=5))), NOON.timestamp()]
)
def test_moments_are_utc(moment: datetime | float) -> None:
    assert iso(moment) == "2026-11-26T12:00:00Z"
