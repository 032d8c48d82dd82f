"""Saving into PostgreSQL beside SQLite, and what `history` asks, in a database with many entries."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from tests.benchmarks import history
from tests.benchmarks.harness import Line, Run, Target, interleaved, line, surroundings
from tests.benchmarks.saving import save, save_into
from tests.helpers.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

SAVED = 100_000
ENTRIES = 10_000_000
DAYS = 2


def lines(run: Run) -> Iterator[Line]:
    """All of them; the server writes to the disk as one that people use does."""
    with PostgresServer(fsync="on", full_page_writes="on", shared_buffers="128MB") as server:
        yield _saving(run, server)
        url = server.new_database()
        database = history.Database({"database_url": url}, "psycopg", partial(_connect, url))
        fill = partial(_fill, database, run.pick(ENTRIES, SAVED))
        yield from asyncio.run(history.questions(run, database, fill))


def _saving(run: Run, server: PostgresServer) -> Line:
    count = run.pick(SAVED, SAVED // 10)

    def into_postgres() -> float:
        url = server.new_database()
        return count / asyncio.run(save_into({"database_url": url}, redis, count))

    with surroundings() as (redis, place):
        subjects = {
            "postgres": into_postgres,
            "sqlite": lambda: count / asyncio.run(save(redis, place, count)),
        }
        samples = interleaved(run.pick(9, 1), subjects, warm_up=not run.quick)
    aim = Target("ratio", 0.9, at_least=True)
    ours, sqlite = samples["postgres"], samples["sqlite"]
    return line("one worker into PostgreSQL", ours, "into SQLite", sqlite, "/s", target=aim)


class _Cursor(psycopg.ClientCursor[Any]):
    """One that takes `?`, as SQLite's does."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        return super().execute(query.replace("?", "%s"), params, **options)

    def executemany(self, query: Any, params_seq: Any, **options: Any) -> None:
        super().executemany(query.replace("?", "%s"), params_seq, **options)


@contextmanager
def _connect(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, cursor_factory=_Cursor) as connection:
        connection.execute("SET search_path TO metrics_collector")
        yield connection


def _fill(database: history.Database, entries: int) -> None:
    """Entries of the same functions, in the days before now."""
    since = time.time() - DAYS * 86400
    with database.connect() as connection:
        connection.execute(
            "INSERT INTO metrics (func_name, execution_time, created_at, id) "
            "SELECT ? || lpad(mod(n, ?)::text, 4, '0'), random() / 10, "
            "?::float8 + n * ?::float8, 'benchmark-' || n FROM generate_series(1, ?) AS n",
            (history.name_of(0)[:-4], history.MANY, since, DAYS * 86400 / entries, entries),
        )
        connection.commit()
