"""The parts, built from settings. Nothing else reads settings."""

from __future__ import annotations

import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from metrics_collector._errors import ConfigurationError
from metrics_collector._redis import keys, server_risks
from metrics_collector._redis.connection import connect
from metrics_collector._redis.store import HotStore
from metrics_collector._saving.flush import Flush
from metrics_collector._saving.purge import Purge
from metrics_collector._saving.worker import Worker
from metrics_collector._sending.spool import Replay, Spool
from metrics_collector._storage.sqlite import SQLiteStore
from metrics_collector._support.settings import mask_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from metrics_collector._storage.base import Store
    from metrics_collector._support.rate_limited_log import RateLimitedLog
    from metrics_collector._support.settings import Settings


def is_embedded(settings: Settings) -> bool:
    """Whether Redis is inside the process."""
    return settings.redis_url.startswith("memory:")


def embedded_server() -> Any:
    """A Redis inside the process, shared by all its clients.

    Raises:
        ConfigurationError: the extra is not installed.
    """
    try:
        import fakeredis
        import lupa  # noqa: F401 - without it fakeredis runs no script
    except ImportError as error:
        raise ConfigurationError(
            "memory:// needs an extra: pip install 'metrics-collector[embedded]'"
        ) from error
    return fakeredis.FakeServer()


def hot_store(settings: Settings, server: Any = None) -> HotStore:
    """Redis, for use on the running loop.

    Args:
        settings: say which Redis.
        server: the embedded one, if there is one.
    """
    if is_embedded(settings):
        import fakeredis

        client: Any = fakeredis.FakeAsyncRedis(server=server)
    else:
        client = connect(settings.redis_url)
    return HotStore(
        client,
        label=mask_url(settings.redis_url),
        max_items=settings.max_items,
        max_backlog=settings.max_backlog,
        lease=settings.claim_lease,
        known_version=is_embedded(settings),
    )


def spool(folder: str, producer: str) -> Spool:
    """What writes to disk what this process can neither send nor hold in memory."""
    return Spool(folder, producer)


def replay(
    folder: str, store: HotStore, log: RateLimitedLog, failed: Callable[[str], None]
) -> Replay:
    """What sends the spool files of processes that have ended."""
    return Replay(folder, store, log=log, failed=failed)


def database(settings: Settings, *, plain: bool = False) -> Store:
    """The durable store.

    Args:
        settings: say which one.
        plain: without threads.
    """
    return SQLiteStore(settings.database_name, plain=plain)


def flush(
    settings: Settings, store: HotStore, log: RateLimitedLog, *, plain: bool = False
) -> Flush:
    """What saves the entries that are in Redis.

    Args:
        settings: say in which database.
        store: Redis.
        log: where trouble is logged.
        plain: without threads.
    """
    return Flush(
        store,
        database(settings, plain=plain),
        ledger_days=settings.ledger_days,
        log=log,
    )


def purge(settings: Settings) -> Purge:
    """What deletes what is no longer to be kept."""
    keep = {
        "entry": settings.retention,
        "minute": settings.retention_minute,
        "hour": settings.retention_hour,
        "day": settings.retention_day,
    }
    return Purge(database(settings), keep)


def heartbeat_key(role: str) -> str:
    """The key of this process's heartbeat as `worker` or `scheduler`."""
    return keys.alive(role, socket.gethostname(), os.getpid())


def worker(settings: Settings, log: RateLimitedLog, store: HotStore | None = None) -> Worker:
    """What runs in a worker process.

    Args:
        settings: of the process.
        log: where trouble is logged.
        store: Redis, which stays open when the worker closes; `None`: it has a connection of its own.
    """
    own = store is None
    store = hot_store(settings) if store is None else store

    async def close() -> None:
        if own:
            await store.aclose()

    async def dangers() -> list[str]:
        if is_embedded(settings):
            return []
        return await server_risks.dangers(store.client, mask_url(settings.redis_url))

    return Worker(
        flush(settings, store, log),
        purge(settings),
        store,
        key=heartbeat_key("worker"),
        every=settings.max_waiting_time,
        log=log,
        dangers=dangers,
        close=close,
    )


@asynccontextmanager
async def store_for_a_while(settings: Settings) -> AsyncIterator[HotStore]:
    """Redis for a command or a heartbeat, closed at the end."""
    store = hot_store(settings)
    try:
        yield store
    finally:
        await store.aclose()
