"""The parts that several users need, built from settings."""

from __future__ import annotations

import os
import socket
from contextlib import aclosing
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from metrics_collector._errors import ConfigurationError
from metrics_collector._redis import server_risks
from metrics_collector._redis.connection import RedisConnection, connect
from metrics_collector._redis.heartbeat import Heartbeat
from metrics_collector._redis.producer_commands import ProducerCommands
from metrics_collector._redis.reader_commands import ReaderCommands
from metrics_collector._redis.worker_commands import WorkerCommands
from metrics_collector._saving.flush import Flush
from metrics_collector._saving.purge import Purge
from metrics_collector._saving.split import Place, databases
from metrics_collector._saving.split import split as split_of
from metrics_collector._saving.worker import Worker
from metrics_collector._storage.postgres import PostgresStore
from metrics_collector._storage.sqlite import SQLiteStore
from metrics_collector._support.settings import mask_url

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from metrics_collector._storage.base import Store
    from metrics_collector._storage.move import Moved
    from metrics_collector._support.rate_limited_log import RateLimitedLog
    from metrics_collector._support.settings import Settings


def is_embedded(settings: Settings) -> bool:
    """Whether Redis is inside the process."""
    return settings.redis_url.startswith("memory:")


def embedded_server() -> Any:
    """A Redis inside the process, shared by all its clients.

    Raises:
        ConfigurationError: the extra for it is missing.
    """
    try:
        import fakeredis
        import lupa  # noqa: F401 - without it fakeredis runs no script
    except ImportError as error:
        raise ConfigurationError(
            "memory:// needs an extra: pip install 'metrics-collector[embedded]'"
        ) from error
    return fakeredis.FakeServer()


def on_stores_of(pinned: Settings, settings: Settings) -> Settings:
    """The settings, but with the Redis and the database of `pinned`."""
    urls = ("redis_url", "taskiq_broker_url", "taskiq_result_backend_url", "database_url")
    names = (*urls, "database_name")
    return settings.model_copy(update={name: getattr(pinned, name) for name in names})


def redis_connection(settings: Settings, server: Any = None) -> RedisConnection:
    """Redis, or the embedded server, for use on the running loop."""
    if is_embedded(settings):
        import fakeredis

        client: Any = fakeredis.FakeAsyncRedis(server=server)
    else:
        client = connect(settings.redis_url)
    label = mask_url(settings.redis_url)
    return RedisConnection(client, label=label, known_server=is_embedded(settings))


def redis_for_a_while(settings: Settings) -> AbstractAsyncContextManager[RedisConnection]:
    """Redis for a command or a heartbeat, closed at the end."""
    return aclosing(redis_connection(settings))


def producer_commands(settings: Settings, redis: RedisConnection) -> ProducerCommands:
    """What a producer asks of Redis."""
    return ProducerCommands(redis, max_items=settings.max_items, max_backlog=settings.max_backlog)


def database(settings: Settings, *, plain: bool = False) -> Store:
    """The durable store; `plain`: without threads.

    Raises:
        ConfigurationError: the extra for it is missing.
    """
    if settings.database_url is None:
        return SQLiteStore(settings.database_name, plain=plain)
    _need_postgres()
    return PostgresStore(settings.database_url, plain=plain)


async def move(file: str, url: str, report: Callable[[int, int], None]) -> Moved:
    """As `_storage.move`.

    Raises:
        ConfigurationError: the extra for it is missing.
    """
    _need_postgres()
    from metrics_collector._storage.move import move as move_all

    return await move_all(file, url, report)


def _need_postgres() -> None:
    if find_spec("psycopg") is None:
        raise ConfigurationError(
            "METRICS_DATABASE_URL needs an extra: pip install 'metrics-collector[postgres]'"
        )


def worker_commands(settings: Settings, redis: RedisConnection) -> WorkerCommands:
    """What a worker asks of Redis."""
    return WorkerCommands(redis, lease=settings.claim_lease)


def flush(
    settings: Settings, redis: RedisConnection, log: RateLimitedLog, *, plain: bool = False
) -> Flush:
    """What saves the entries that are in Redis; `plain`: without threads."""
    return Flush(
        worker_commands(settings, redis),
        database(settings, plain=plain),
        ledger_days=settings.ledger_days,
        log=log,
    )


def kept(settings: Settings) -> dict[str, float | None]:
    """For how many days entries, and rollups by resolution, are kept; `None`: for ever."""
    return {
        "entry": settings.retention,
        "minute": settings.retention_minute,
        "hour": settings.retention_hour,
        "day": settings.retention_day,
    }


def heartbeat(role: str, redis: RedisConnection, path: str | None = None) -> Heartbeat:
    """This process's heartbeat as `worker`, which saves to the database at a path, or as `scheduler`."""
    return Heartbeat(redis, role, f"{socket.gethostname()}:{os.getpid()}", path)


async def split(settings: Settings, redis: RedisConnection, saving: Flush, host: str) -> str | None:
    """What is wrong if live workers, and this flush on this host, save to different databases; else `None`."""
    if is_embedded(settings):
        return None
    beats = await ReaderCommands(redis).heartbeats("worker")
    places = [
        Place(process.rpartition(":")[0], state.get("path"), state.get("db"))
        for process, state in beats.items()
    ]
    return split_of(databases([*places, Place(host, database(settings).label, saving.db)]))


def worker(settings: Settings, log: RateLimitedLog, redis: RedisConnection | None = None) -> Worker:
    """What runs in a worker process, on a connection that stays open when the worker closes, or on one of its own."""
    used = redis_connection(settings) if redis is None else redis

    async def close() -> None:
        if redis is None:
            await used.aclose()

    async def dangers() -> list[str]:
        return [] if is_embedded(settings) else (await server_risks.risks(used)).dangers

    saving = flush(settings, used, log)
    store = database(settings)
    return Worker(
        saving,
        Purge(store, kept(settings), saving.clocks),
        heartbeat("worker", used, store.label),
        every=settings.max_waiting_time,
        log=log,
        dangers=dangers,
        split=partial(split, settings, used, saving, socket.gethostname()),
        close=close,
    )
