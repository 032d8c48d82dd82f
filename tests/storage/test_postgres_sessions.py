"""Sessions with PostgreSQL while the process forks, past PgBouncer, and with a server that hangs."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from metrics_collector._errors import ConfigurationError, StoreUnavailableError
from metrics_collector._storage.postgres import PostgresStore
from tests.helpers import pgbouncer as bouncer
from tests.helpers import postgres_server
from tests.helpers.chunks import chunk_of
from tests.helpers.driving import drive
from tests.helpers.forking import fork
from tests.helpers.pipeline import NOON, Call, batch_of, foreign, lines_of
from tests.helpers.postgres_server import PostgresServer
from tests.storage.test_contract import ALL, DAY, kept, purge, reading, save

if TYPE_CHECKING:
    from collections.abc import Iterator

FORKS = 6


def saved_by_child(url: str, token: str) -> bool:
    """Save in a child, which frees on the way what it has inherited."""
    gc.collect()
    return drive(save(PostgresStore(url, plain=True), [foreign()], token=token)).saved == 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # which is what is tested
@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
async def test_parent_and_child_go_on_after_a_fork(postgres_url: str) -> None:
    store = PostgresStore(postgres_url)
    await save(store, [foreign()])
    async with reading(store) as reader, store.writing() as writer:
        assert await reader.entry_count(ALL) == 1
        for number in range(FORKS):
            fork(partial(saved_by_child, postgres_url, f"{number:016x}"))
            assert await reader.entry_count(ALL) == 1
            batch = lines_of(batch_of(Call(), first=1 + number))
            done = await writer.save(chunk_of("a" * 16, 1, batch), NOON)
            assert done is not None
            assert done.saved == 1
    assert len((await kept(store)).entries) == 1 + 2 * FORKS


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # which is what is tested
@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_forks_while_another_thread_saves(postgres_url: str) -> None:
    ended = threading.Event()
    saved = 0

    def go_on() -> None:
        nonlocal saved
        while not ended.is_set():
            alone = PostgresStore(postgres_url, plain=True)
            saved += drive(save(alone, [foreign()], token=f"a{saved:015x}")).saved

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        for number in range(FORKS):
            fork(partial(saved_by_child, postgres_url, f"b{number:015x}"))
    finally:
        ended.set()
        thread.join()
    assert saved
    assert len(asyncio.run(kept(PostgresStore(postgres_url))).entries) == saved + FORKS


async def test_days_get_tables_and_lose_them_while_all_others_go_on(postgres_url: str) -> None:
    store = PostgresStore(postgres_url)
    await save(store, [])
    saved = 0

    async def go_on(number: int) -> None:
        nonlocal saved
        for day in range(12):
            at = NOON - (day + number % 2) * DAY
            token = f"{number:02x}{day:014x}"
            done = await save(store, [foreign(at=at)] * 500, token=token)
            saved += done.saved

    async def read() -> None:
        cursor: str | None = None
        while not all(saving.done() for saving in savings):
            async with reading(store) as reader:
                _, cursor = await reader.entries(ALL, cursor, 100)

    async with asyncio.TaskGroup() as group:
        savings = [group.create_task(go_on(number)) for number in range(3)]
        group.create_task(read())
        while not all(saving.done() for saving in savings):
            await purge(store, now=NOON, entry=NOON - 3 * DAY)
    async with reading(store) as reader:
        totals = await reader.all_totals()
    assert totals["app.f"].totals.counts["call_count"] == saved == 3 * 12 * 500


async def test_past_pgbouncer(postgres_server: PostgresServer) -> None:
    if bouncer.binary() is None:
        pytest.skip("PgBouncer is not installed, and this test needs it")
    url = await asyncio.to_thread(postgres_server.new_database)
    with bouncer.pgbouncer(postgres_server) as port:
        store = PostgresStore(url.replace(str(postgres_server.port), str(port)))
        tokens = [f"{number:016x}" for number in range(6)]
        done = await asyncio.gather(*(save(store, [foreign()] * 50, token=one) for one in tokens))
        assert [one.saved for one in done] == [50] * 6
        async with reading(store) as reader:
            assert await reader.entry_count(ALL) == 300
            await save(store, [foreign(at=NOON + DAY)], token="b" * 16)
            assert await reader.entry_count(ALL) == 300
        assert len((await kept(store, *tokens)).entries) == 301
        assert (await purge(store, entry=NOON + DAY))[0].entries == 300


@pytest.fixture
def hanging_server() -> Iterator[PostgresServer]:
    """One that takes connections, and says nothing."""
    if postgres_server.folder() is None:
        pytest.skip("PostgreSQL is not installed, and this test needs a real one")
    with PostgresServer() as server:
        os.kill(server.pid, signal.SIGSTOP)
        yield server
        os.kill(server.pid, signal.SIGCONT)


async def test_a_server_that_hangs_is_given_up(hanging_server: PostgresServer) -> None:
    store = PostgresStore(f"{hanging_server.url}?connect_timeout=2")
    with pytest.raises(StoreUnavailableError, match="timeout expired"):
        await save(store, [foreign()])
    described = await store.describe()
    assert described.exists is None
    assert "check that it runs" in str(described.error)


async def test_a_driver_without_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("psycopg")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(
        sys.modules, "metrics_collector._storage.postgres.connection", raising=False
    )
    for name in ("psycopg_binary", "psycopg_c"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("ctypes.util.find_library", lambda _name: None)
    with pytest.raises(ConfigurationError, match="pip install") as caught:
        await save(PostgresStore("postgresql://localhost/metrics"), [])
    assert "no pq wrapper available" in str(caught.value)
    assert "\n" not in str(caught.value)
