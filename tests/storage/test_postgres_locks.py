"""Tables of days that are made and dropped while others save, read and purge."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._storage.postgres import PostgresStore, partitions
from tests.helpers.pipeline import NOON, foreign
from tests.storage.test_contract import DAY, purge, save

if TYPE_CHECKING:
    from collections.abc import Iterator

EXCLUSIVE = """\
SELECT 1 FROM pg_locks WHERE relation = 'metrics_collector.metrics'::regclass AND mode = 'AccessExclusiveLock'
"""


@pytest.fixture
def store(postgres_url: str) -> PostgresStore:
    return PostgresStore(postgres_url)


@pytest.fixture
def admin(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Another session on the same database."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


async def test_two_purges_at_once_hold_up_nobody(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    await save(store, [foreign()])
    with admin.transaction():  # as one that counts what it is going to drop
        admin.execute(
            "LOCK TABLE metrics_collector.metrics_20231115 IN SHARE UPDATE EXCLUSIVE MODE"
        )
        other = asyncio.create_task(purge(store, entry=NOON + DAY))
        while not other.done():
            assert not admin.execute(EXCLUSIVE).fetchall()
            await asyncio.sleep(0.01)
        assert (await other)[0].entries == 0
    assert (await purge(store, entry=NOON + DAY))[0].entries == 1


async def test_a_table_whose_making_was_cut_off_is_made_by_the_next_save(
    store: PostgresStore, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await save(store, [])
    make = partitions._make

    def cut(driver: psycopg.Connection[Any], day: int) -> None:
        admin.execute("SELECT pg_terminate_backend(%s)", (driver.info.backend_pid,))
        make(driver, day)

    entry = foreign(at=NOON - DAY)
    with monkeypatch.context() as patch:
        patch.setattr(partitions, "_make", cut)
        with pytest.raises(StoreUnavailableError):
            await save(store, [entry], token="a" * 16)
    await save(store, [entry], token="a" * 16)
    where = "SELECT tableoid::regclass::text FROM metrics_collector.metrics"
    assert admin.execute(where).fetchall() == [("metrics_collector.metrics_20231114",)]
