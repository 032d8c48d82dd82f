"""PostgreSQL: tables of days; servers, databases and users that cannot be used; cancels; several writers."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from metrics_collector._errors import (
    ConfigurationError,
    IncompatibleStoreError,
    StoreUnavailableError,
)
from metrics_collector._storage.base import EntryFilter, StoredEntry
from metrics_collector._storage.postgres import PostgresStore, entry_pages, partitions, schema
from metrics_collector._storage.postgres import session as session_module
from metrics_collector._storage.postgres.session import Use, begin, opened
from metrics_collector._storage.steps import Statement
from tests.helpers import postgres_server
from tests.helpers.cancelling import at_each_await
from tests.helpers.driving import drive
from tests.helpers.pipeline import NOON, Call, batch_of, foreign, lines_of
from tests.helpers.postgres_server import PostgresServer
from tests.helpers.server import free_port
from tests.storage.test_contract import ALL, DAY, LATER, kept, purge, reading, save

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metrics_collector._storage.postgres.session import Steps

MIDNIGHT = int(NOON) // DAY * DAY


@pytest.fixture
def store(postgres_url: str) -> PostgresStore:
    return PostgresStore(postgres_url)


@pytest.fixture
def admin(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Another session on the same database, of a user who may do anything."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def ask(admin: psycopg.Connection[Any], sql: str) -> list[Any]:
    """Have a statement done, and give its rows back."""
    cursor = admin.execute(
        sql.encode()
    )  # bytes, as psycopg takes only texts that stand in the code
    return cursor.fetchall() if cursor.description else []


def tables(admin: psycopg.Connection[Any]) -> dict[str, int]:
    """The tables that have entries, and how many."""
    counted = "SELECT tableoid::regclass::text, count(*) FROM metrics_collector.metrics GROUP BY 1"
    return {name.rpartition(".")[2]: count for name, count in ask(admin, counted)}


# Tables of days


async def test_each_day_has_a_table(store: PostgresStore, admin: psycopg.Connection[Any]) -> None:
    moments = [NOON, MIDNIGHT + DAY - 0.001, MIDNIGHT + DAY, NOON + 2 * DAY, NOON - 399 * DAY]
    wrong = [0.0, 4e9, NOON - 402 * DAY]  # the days of clocks that are wrong need none
    await save(store, [foreign(at=moment) for moment in moments + wrong])
    assert tables(admin) == {
        "metrics_20231115": 2,
        "metrics_20231116": 1,
        "metrics_20231117": 1,
        "metrics_20221012": 1,
        "metrics_default": 3,
    }
    await kept(store)


async def test_tables_are_made_ahead(store: PostgresStore, admin: psycopg.Connection[Any]) -> None:
    await save(store, [])
    await save(store, [], now=NOON + DAY)
    found = ask(admin, "SELECT relname FROM pg_class WHERE relname ~ '^metrics_[0-9]+$' ORDER BY 1")
    assert [name for (name,) in found] == [f"metrics_202311{day}" for day in (15, 16, 17, 18)]


async def test_without_a_table_of_its_day_an_entry_is_saved_all_the_same(
    store: PostgresStore, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await save(store, [])
    with admin.transaction():
        ask(admin, "SELECT count(*) FROM metrics_collector.metrics")  # as a long export does
        await save(store, [foreign(at=NOON - DAY)], token="a" * 16)
        assert tables(admin) == {"metrics_default": 1}
    await save(store, [foreign(at=NOON - DAY)], token="b" * 16)
    assert tables(admin) == {"metrics_default": 2}
    purged, _ = await purge(store, entry=MIDNIGHT)
    assert purged.entries == 2
    monkeypatch.setattr(partitions, "_not_before", {})  # as ten minutes later
    await save(store, [foreign(at=NOON - DAY)], token="c" * 16)
    assert tables(admin) == {"metrics_20231114": 1}


async def test_no_table_comes_while_somebody_saves_nor_goes_while_somebody_reads(
    store: PostgresStore, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await save(store, [foreign(at=NOON), foreign(at=NOON - DAY)])
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "100ms")
    with admin.transaction():
        ask(admin, "SELECT FROM metrics_collector.meta FOR UPDATE")
        async with opened(store._url, schema.check) as (session, _):
            await session.run(making([MIDNIGHT - 2 * DAY]))
    assert not ask(admin, "SELECT 1 FROM pg_class WHERE relname = 'metrics_20231113'")
    async with reading(store) as reader:
        await reader.entries(ALL, None, 1)
        assert (await purge(store, entry=LATER))[0].entries == 0
    assert (await purge(store, entry=LATER))[0].entries == 2


async def test_entries_go_by_whole_days(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    await save(store, [foreign(at=NOON + n * DAY / 2) for n in range(4)])
    with admin.transaction():
        ask(admin, "SELECT count(*) FROM metrics_collector.metrics")
        purged, horizons = await purge(store, entry=LATER)
        assert (purged.entries, horizons["entry"]) == (0, LATER // DAY * DAY)
    purged, horizons = await purge(store, entry=NOON + DAY)
    assert (purged.entries, horizons["entry"]) == (1, LATER // DAY * DAY)
    assert purged.freed_bytes > 0
    assert sum(tables(admin).values()) == 3
    purged, _ = await purge(store, entry=NOON + 3 * DAY)
    assert (purged.entries, tables(admin)) == (3, {})
    await kept_totals(store, 4)


async def kept_totals(store: PostgresStore, calls: int) -> None:
    async with reading(store) as reader:
        assert (await reader.all_totals())["app.f"].totals.counts["call_count"] == calls


async def test_pages_of_many_blocks_while_more_is_saved(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_pages, "_BLOCKS", 1)
    calls = [Call("app.fg"[: 5 + n % 9 // 8], 0.25 * n) for n in range(3000)]
    for day in range(3):
        await save(store, lines_of(batch_of(*calls, first=1 + 3000 * day, at=NOON + day * DAY)))
    for which in (ALL, EntryFilter("app.fg"), EntryFilter(None, NOON + DAY, LATER)):
        found: list[StoredEntry] = []
        cursor: str | None = None
        expected = 0
        for number in count():
            async with reading(store) as reader:
                if not number:
                    expected = await reader.entry_count(which)
                page, cursor = await reader.entries(which, cursor, 700)
            found += page
            if cursor is None:
                break
            more = [foreign("app.fg", at=NOON + number % 3 * DAY)] * 100
            await save(store, more, token=f"{which}{number}")
        assert len(found) == expected > 900
        numbers = [int(one.id.rpartition("-")[2]) for one in found if one.id]
        assert len(set(numbers)) == len(numbers)
        days = [(number - 1) // 3000 for number in numbers]
        assert days == sorted(days)


# What cannot be used


def said(store: PostgresStore) -> str:
    """The one line in which saving is refused."""
    with pytest.raises(StoreUnavailableError) as caught:
        asyncio.run(save(store, [foreign()]))
    message = str(caught.value)
    assert "\n" not in message
    assert "secret" not in message
    return message


def test_a_server_that_is_away() -> None:
    message = said(PostgresStore(f"postgresql://me:secret@127.0.0.1:{free_port()}/metrics"))
    assert "Connection refused" in message
    assert "check that it runs, and host and port in METRICS_DATABASE_URL" in message


def test_a_host_that_nobody_knows() -> None:
    message = said(PostgresStore("postgresql://me:secret@nowhere.invalid/metrics"))
    assert "check that it runs, and host and port in METRICS_DATABASE_URL" in message


def test_a_parameter_that_libpq_does_not_know() -> None:
    store = PostgresStore("postgresql://me@localhost/metrics?pasword=secret")
    with pytest.raises(ConfigurationError, match="libpq cannot read it") as caught:
        asyncio.run(save(store, []))
    assert "secret" not in str(caught.value)


def other(url: str, *, user: str = "", database: str = "") -> str:
    """The same server, by another user or for another database."""
    made = conninfo_to_dict(url)
    port, name = made["port"], database or made["dbname"]
    return f"postgresql://{user or made['user']}:secret@{made['host']}:{port}/{name}"


def test_a_database_that_is_not_there(postgres_url: str) -> None:
    message = said(PostgresStore(other(postgres_url, database="nobody_made_it")))
    assert 'database "nobody_made_it" does not exist' in message
    assert "make it with CREATE DATABASE" in message


def test_a_user_that_is_not_there(postgres_url: str) -> None:
    message = said(PostgresStore(other(postgres_url, user="nobody_made_it")))
    assert "check user and password in METRICS_DATABASE_URL" in message


@pytest.fixture(scope="module")
def strict_server() -> Iterator[PostgresServer]:
    if postgres_server.folder() is None:
        pytest.skip("PostgreSQL is not installed, and this test needs a real one")
    with PostgresServer(strict=True) as server:
        yield server


def test_tls_and_a_password(strict_server: PostgresServer) -> None:
    url = strict_server.new_database()
    checked = f"sslmode=verify-full&sslrootcert={strict_server.certificate}"
    asyncio.run(save(PostgresStore(f"{url}?{checked}"), [foreign()]))
    assert "sslmode=require" in said(PostgresStore(f"{url}?sslmode=disable"))
    assert "check sslmode" in said(PostgresStore(f"{url}?sslmode=verify-full&sslrootcert=system"))
    for wrong in (url.replace("secret", "wrong-secret"), url.replace(":secret", "")):
        message = said(PostgresStore(wrong))
        assert "check user and password in METRICS_DATABASE_URL" in message


def test_several_hosts(postgres_url: str) -> None:
    port = conninfo_to_dict(postgres_url)["port"]
    several = postgres_url.replace(f":{port}", f":{free_port()},127.0.0.1:{port}")
    store = PostgresStore(f"{several}?target_session_attrs=read-write")
    asyncio.run(save(store, [foreign()]))
    assert len(asyncio.run(kept(store)).entries) == 1


@pytest.fixture
def reader_url(postgres_url: str, admin: psycopg.Connection[Any]) -> Iterator[str]:
    """For a user who has no rights yet; the user is of the whole server, and the name of this database."""
    name = f"user_of_{conninfo_to_dict(postgres_url)['dbname']}"
    ask(admin, f'CREATE ROLE "{name}" LOGIN')
    yield other(postgres_url, user=name)
    ask(admin, f'DROP OWNED BY "{name}"')
    ask(admin, f'DROP ROLE "{name}"')


async def test_the_rights_that_it_takes(
    store: PostgresStore, reader_url: str, admin: psycopg.Connection[Any]
) -> None:
    theirs = PostgresStore(reader_url)
    user = conninfo_to_dict(reader_url)["user"]

    async def refused() -> str:
        described = await theirs.describe()
        assert described.error is not None
        with pytest.raises(StoreUnavailableError, match="let this user make tables"):
            await save(theirs, [foreign()])
        return described.error

    remedy = "GRANT CREATE ON DATABASE" + (await refused()).partition("GRANT CREATE ON DATABASE")[2]
    ask(admin, remedy)
    assert (await theirs.describe()).error is None
    await save(theirs, [foreign()])
    await kept(theirs)

    ask(admin, "DROP SCHEMA metrics_collector CASCADE")
    ask(admin, f'CREATE SCHEMA metrics_collector AUTHORIZATION "{user}"')
    database = ask(admin, "SELECT current_database()")[0][0]
    ask(admin, f'REVOKE CREATE ON DATABASE "{database}" FROM "{user}"')
    assert (await theirs.describe()).error is None
    await save(theirs, [foreign()])
    await kept(theirs)


async def test_a_user_who_may_read(
    store: PostgresStore, reader_url: str, admin: psycopg.Connection[Any]
) -> None:
    await save(store, [foreign()])
    user = conninfo_to_dict(reader_url)["user"]
    theirs = PostgresStore(reader_url)
    with pytest.raises(StoreUnavailableError, match="let this user"):
        await kept(theirs)
    ask(admin, f'GRANT USAGE ON SCHEMA metrics_collector TO "{user}"')
    ask(admin, f'GRANT SELECT ON ALL TABLES IN SCHEMA metrics_collector TO "{user}"')
    assert len((await kept(theirs)).entries) == 1
    described = await theirs.describe(try_writing=True)
    assert (described.saved, str(described.server)[:11]) == (1, "PostgreSQL ")
    assert "its tables belong to postgres, and not to user_of_" in str(described.error)

    ask(
        admin,
        f'ALTER DEFAULT PRIVILEGES IN SCHEMA metrics_collector GRANT SELECT ON TABLES TO "{user}"',
    )
    later = NOON + 9 * DAY
    await save(store, [foreign(at=later)], token="b" * 16, now=later)
    assert len((await kept(theirs)).entries) == 2


async def test_tables_of_a_newer_release(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    await save(store, [foreign()])
    ask(admin, "UPDATE metrics_collector.schema_version SET version = version + 1")
    for use in (kept(store), save(store, [foreign()])):
        with pytest.raises(IncompatibleStoreError, match="upgrade metrics-collector here"):
            await use
    described = await store.describe()
    assert (described.exists, "newer release" in str(described.error)) == (None, True)


async def test_a_schema_of_another_program(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    ask(admin, "CREATE SCHEMA metrics_collector")
    ask(admin, "CREATE TABLE metrics_collector.metrics (theirs TEXT)")
    with pytest.raises(IncompatibleStoreError, match="is another program's"):
        await save(store, [foreign()])


async def test_an_encoding_that_has_not_every_name(
    postgres_url: str, admin: psycopg.Connection[Any]
) -> None:
    name = ask(admin, "SELECT current_database()")[0][0] + "_latin"
    ask(admin, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1'")
    with pytest.raises(IncompatibleStoreError, match="ENCODING 'UTF8'"):
        await save(PostgresStore(other(postgres_url, database=name)), [])
    ask(admin, f"DROP DATABASE {name}")


async def test_a_server_that_is_too_old(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "OLDEST_SERVER", 990000)
    with pytest.raises(IncompatibleStoreError, match="metrics-collector needs 99 or newer"):
        await save(store, [])


async def test_a_lock_of_another_session(
    store: PostgresStore, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await save(store, [foreign()])
    monkeypatch.setattr(session_module, "LOCK_TIMEOUT", "100ms")
    with admin.transaction():
        ask(admin, "SELECT FROM metrics_collector.meta FOR UPDATE")
        with pytest.raises(StoreUnavailableError, match="another session holds a lock"):
            await save(store, [foreign()], token="a" * 16)
        assert len((await kept(store)).entries) == 1  # readers wait for nobody
    await save(store, [foreign()], token="a" * 16)
    assert len((await kept(store, "a" * 16)).entries) == 2


async def test_a_statement_that_takes_for_ever(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "PATIENCE", 0.2)
    async with opened(store._url, schema.prepare) as (session, _):
        with pytest.raises(StoreUnavailableError, match="has not answered for 0 seconds"):
            await session.run(sleeping())


def making(days: list[int]) -> Steps[None]:
    yield Use(partial(partitions.make, days=days, now=NOON))


def sleeping() -> Steps[None]:
    yield Statement("SELECT pg_sleep(60)")


async def test_what_is_committed_is_on_the_disk(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    name = ask(admin, "SELECT current_database()")[0][0]
    ask(admin, f"ALTER DATABASE {name} SET synchronous_commit = off")

    def steps() -> Steps[str]:
        yield from begin()
        ((setting,),) = yield Statement("SELECT current_setting('synchronous_commit')")
        return str(setting)

    async with opened(store._url, schema.prepare) as (session, _):
        assert await session.run(steps()) == "on"


async def test_a_copy_is_what_the_server_has_programs_for(store: PostgresStore) -> None:
    await save(store, [])
    async with reading(store) as reader:
        with pytest.raises(StoreUnavailableError, match="is copied by its own means: pg_dump"):
            await reader.copy("/nowhere")


async def test_the_questions_for_people_are_answered(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    await save(store, [foreign("app.it's")])
    for query in (*store.examples.queries, store.examples.slowest("app.it's", NOON - 1, NOON + 1)):
        assert len(ask(admin, query)) == ("error_type, count" not in query)


# Several at once, and cancels


def test_many_make_the_tables_at_once(store: PostgresStore) -> None:
    together = threading.Barrier(8)

    def one(index: int) -> int:
        together.wait()
        alone = PostgresStore(store._url, plain=True)
        return drive(save(alone, [foreign()], token=f"{index:016x}")).saved

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(8))) == [1] * 8
    assert len(asyncio.run(kept(store, *(f"{index:016x}" for index in range(8)))).entries) == 8


async def test_a_cancel_leaves_no_session(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    async def work() -> None:
        await save(store, [foreign()])
        async with reading(store) as reader:
            await reader.entries(ALL, None, 10)

    async for _ in at_each_await(work):
        while ask(
            admin,
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        ):
            await asyncio.sleep(0.01)
    assert len((await kept(store)).entries) == 1


async def test_a_cancel_ends_what_the_server_does(
    store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    running = (
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
    )

    async def wait() -> None:
        async with opened(store._url, schema.prepare) as (session, _):
            await session.run(sleeping())

    task = asyncio.create_task(wait())
    while not ask(admin, running):
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    while ask(admin, running):
        await asyncio.sleep(0.01)
