"""Of which files a worker says that they restart it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from metrics_collector import tasks
from metrics_collector._saving import taskiq
from metrics_collector._support.rate_limited_log import RateLimitedLog


@pytest.mark.parametrize(
    ("options", "ignored", "warns"),
    [
        (["--reload"], "", True),
        (["--reload"], "metrics.db*", False),
        (["--reload", "--reload-dir=src"], "", False),
        ([], "", False),
    ],
)
def test_those_that_taskiq_watches(
    options: list[str],
    ignored: str,
    warns: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sys, "argv", ["worker", "metrics_collector.tasks:broker", *options])
    Path(".gitignore").write_text(ignored)

    taskiq.warn_of_reloads([str(Path("metrics.db").absolute())], RateLimitedLog())

    assert ("restarts this worker whenever it saves" in caplog.text) == warns


def test_the_worker_looks_at_its_database(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["worker", "metrics_collector.tasks:broker", "--reload"])

    tasks._worker()

    assert "metrics.db*" in caplog.text
