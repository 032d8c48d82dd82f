"""Log lines about trouble."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from metrics_collector._support.rate_limited_log import QUIET_TIME, RateLimitedLog

if TYPE_CHECKING:
    import pytest


def test_trouble_coming_and_going_is_reported_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    log = RateLimitedLog(lambda: now)
    caplog.set_level(logging.INFO)
    for _ in range(int(3 * QUIET_TIME)):
        log.trouble("send", "gone")
        log.recovered("send", "back")
        now += 1
    assert [record.getMessage() for record in caplog.records] == ["gone", "back"] * 3


def test_one_kind_does_not_silence_another(caplog: pytest.LogCaptureFixture) -> None:
    log = RateLimitedLog(lambda: 0.0)
    log.trouble("send", "gone")
    log.trouble("flush", "full")
    assert [record.getMessage() for record in caplog.records] == ["gone", "full"]
