"""What callers may give as `since` and `until`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_collector._core.windows import Moment, moment, span
from metrics_collector._errors import ConfigurationError

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
INDIA = timezone(timedelta(hours=5, minutes=30))

zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=zones))  # noqa: DTZ001 - hypothesis adds the zone
def test_an_aware_datetime_is_the_same_moment_in_utc(value: datetime) -> None:
    result = moment(value, NOW)
    assert result == value
    assert result.tzinfo is UTC


@given(st.timedeltas(timedelta(0), timedelta(days=365 * 2000)))
def test_a_timedelta_goes_back_from_now(value: timedelta) -> None:
    assert moment(value, NOW) == NOW - value


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("30s", timedelta(seconds=30)),
        ("15m", timedelta(minutes=15)),
        ("24h", timedelta(hours=24)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(days=14)),
        ("1.5h", timedelta(minutes=90)),
        ("0.25s", timedelta(microseconds=250_000)),
        ("007d", timedelta(days=7)),
    ],
)
def test_a_text_goes_back_from_now(text: str, back: timedelta) -> None:
    assert moment(text, NOW) == NOW - back


@pytest.mark.parametrize("value", ["1h", timedelta(hours=1)])
def test_the_result_is_in_utc_whatever_the_zone_of_now(value: Moment) -> None:
    result = moment(value, NOW.astimezone(INDIA))
    assert result == NOW - timedelta(hours=1)
    assert result.tzinfo is UTC


def test_none_stays_none() -> None:
    assert moment(None, NOW) is None


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "15", "m", "15 m", " 15m", "15m ", "15m\n", "15M", "15min", "1h30m", "1y", "+5m",
        "-5m", "0s", "0.0d", "0.0000001s", ".5h", "1.h", "1,5h", "1e3s", "infs", "nans",
        "\u0661\u0665m", "2026-03-01", "2026-03-01T12:00:00+00:00", "now",
    ],
)  # many short texts a line  # fmt: skip
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        moment(text, NOW)
    assert str(caught.value).startswith(f"{text!r} is not a point in time; allowed are an aware ")
    assert "'15m'" in str(caught.value)


@pytest.mark.parametrize(
    "value", [timedelta(microseconds=-1), timedelta(days=-7), 900, 900.0, date(2026, 3, 1), b"15m"]
)
def test_another_value_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        moment(value, NOW)
    assert str(caught.value).startswith(f"{value!r} is not a point in time; allowed are an aware ")


def test_a_naive_datetime_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigurationError, match="has no time zone: give an aware datetime, such"):
        moment(NOW.replace(tzinfo=None), NOW)


@pytest.mark.parametrize(
    "value",
    [
        "999999999d",
        "999999999w",
        "9" * 400 + "s",
        timedelta.max,
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_what_no_datetime_can_hold_is_refused(value: Moment) -> None:
    with pytest.raises(ConfigurationError, match="lies outside of the years 1 to 9999; allowed"):
        moment(value, NOW)


def test_the_error_is_a_value_error_too() -> None:
    with pytest.raises(ValueError, match="'yesterday' is not a point in time"):
        moment("yesterday", NOW)


@pytest.mark.parametrize(
    ("since", "until", "both"),
    [
        ("2h", NOW - timedelta(hours=1), (NOW - timedelta(hours=2), NOW - timedelta(hours=1))),
        ("2h", None, (NOW - timedelta(hours=2), None)),
        (None, "2h", (None, NOW - timedelta(hours=2))),
        (None, None, (None, None)),
        ("2h", timedelta(0), (NOW - timedelta(hours=2), NOW)),
        (NOW, NOW + timedelta(days=1), (NOW, NOW + timedelta(days=1))),  # it may lie ahead
    ],
)
def test_span_gives_both_ends(since: Moment, until: Moment, both: tuple[object, object]) -> None:
    assert span(since, until, NOW) == both


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("1h", "2h"),
        ("1h", "1h"),
        ("60m", timedelta(hours=1)),
        (NOW.astimezone(INDIA), NOW),
        (NOW, None),
        (timedelta(0), None),
        (NOW + timedelta(seconds=1), None),
    ],
)
def test_since_must_lie_before_until(since: Moment, until: Moment) -> None:
    with pytest.raises(ConfigurationError, match="has to begin before it ends") as caught:
        span(since, until, NOW)
    start, end = (f"{moment(one, NOW) or NOW:%Y-%m-%d %H:%M:%S} UTC" for one in (since, until))
    said = (
        f"from {start} to {'' if until else 'now, '}{end}: give an earlier since or a later until"
    )
    assert said in str(caught.value)


def test_span_refuses_a_bad_end() -> None:
    with pytest.raises(ConfigurationError, match="'soon' is not a point in time"):
        span("1h", "soon", NOW)
