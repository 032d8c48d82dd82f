"""Gives each test both kinds of session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.storage.runner import Runner


@pytest.fixture(params=[True, False], ids=["plain", "threaded"])
def run(request: pytest.FixtureRequest) -> Iterator[Runner]:
    """Both kinds of session; neither may leave a thread behind."""
    # Not before hypothesis has its settings, which a test has from its module's import on.
    from tests.storage.runner import Runner, assert_no_threads

    yield Runner(plain=request.param)
    assert_no_threads()
