"""`migrate`: from the SQLite file to PostgreSQL, and what it says where it cannot."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from metrics_collector._storage.sqlite import SQLiteStore
from tests.helpers.pipeline import foreign
from tests.storage.test_contract import save

if TYPE_CHECKING:
    from tests.cli.conftest import Complaint, Output


@pytest.fixture(autouse=True)
def saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that was made just now, and is saved into the file."""
    monkeypatch.setenv("REDIS_URL", "memory://")
    asyncio.run(save(SQLiteStore("metrics.db"), [foreign("shop.checkout", at=time.time())]))


def test_what_was_saved_is_in_postgres(
    output: Output, complaint: Complaint, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICS_DATABASE_URL", postgres_url)
    said = "1 entry of 1 function moved: start the workers with METRICS_DATABASE_URL\n"
    assert output("migrate") == said
    assert "shop.checkout" in output("stats --since 1h")
    assert "were moved to PostgreSQL" in complaint("migrate", status=1)


def test_it_takes_a_database_to_move_to(complaint: Complaint) -> None:
    assert "METRICS_DATABASE_URL is not set" in complaint("migrate")
