"""The soak runs, and its oracle is content."""

from __future__ import annotations

import pytest

from tests.faults import soak


@pytest.mark.timeout(300)
def test_a_short_soak(capfd: pytest.CaptureFixture[str]) -> None:
    soak.run(minutes=0.3, kills=6, seed=1)
    assert "lost: 0, twice: 0, reported dropped: 0" in capfd.readouterr().out
