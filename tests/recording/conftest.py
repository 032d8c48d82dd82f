"""What is recorded in these tests, and the clock that they may set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from metrics_collector._recording import decorator, measure, recorder, registry

if TYPE_CHECKING:
    from metrics_collector._recording.recorder import Record


@pytest.fixture(autouse=True)
def entries(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """What is recorded, in order; the buffer gets none of it, and no other test the names."""
    monkeypatch.setattr(registry, "_places", {})
    monkeypatch.setattr(registry, "_contested", {})
    kept: list[Record] = []
    monkeypatch.setattr(recorder, "record", kept.append)
    return kept


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock will show, each once."""
    ahead: list[float] = []
    for module in (decorator, measure):
        monkeypatch.setattr(module, "clock", lambda: ahead.pop(0))
    return ahead
