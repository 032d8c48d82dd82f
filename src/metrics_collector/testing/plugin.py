"""The pytest plugin, which pytest finds by itself: the fixture `recorded_metrics`, and nothing that acts on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from metrics_collector.testing import RecordedMetrics


@pytest.fixture
def recorded_metrics(tmp_path: Path) -> Iterator[RecordedMetrics]:
    """What decorated functions record in this test: `recorded_metrics["app.f"].call_count == 3`.

    The test has a collector of its own, on a Redis inside the process. See `metrics_collector.testing`.
    """
    from metrics_collector.testing._recorded import recording

    with recording(tmp_path) as recorded:
        yield recorded
