"""Gives each test a world of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.redis_server import RedisServer


@pytest.fixture
def world(redis_server: RedisServer, tmp_path: Path) -> Iterator[World]:
    """A Redis without persistence, and processes on it."""
    with World(redis_server, tmp_path) as world:
        yield world
