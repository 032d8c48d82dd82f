"""Log lines about trouble."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from metrics_collector._support.rate_limited_log import QUIET_TIME, Notice

if TYPE_CHECKING:
    import pytest


def test_trouble_that_comes_and_goes_is_told_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    notice = Notice(lambda: now)
    caplog.set_level(logging.INFO)
    for _ in range(int(3 * QUIET_TIME)):
        notice.warn("send", "gone")
        notice.over("send", "back")
        now += 1
    assert [record.getMessage() for record in caplog.records] == ["gone", "back"] * 3


def test_one_kind_does_not_silence_another(caplog: pytest.LogCaptureFixture) -> None:
    notice = Notice(lambda: 0.0)
    notice.warn("send", "gone")
    notice.warn("flush", "full")
    assert [record.getMessage() for record in caplog.records] == ["gone", "full"]
