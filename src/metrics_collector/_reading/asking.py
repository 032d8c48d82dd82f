"""Questions to the process's one collector, answered in the sender thread; and some to Redis or a store without it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from metrics_collector._errors import IncompatibleStoreError, StoreFullError, StoreUnavailableError
from metrics_collector._recording import registry
from metrics_collector._runtime.collector import collector
from metrics_collector._storage.reopening import reopening

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from metrics_collector._errors import MetricsCollectorError
    from metrics_collector._reading.query import Query
    from metrics_collector._runtime.sending_pipeline import SendingPipeline
    from metrics_collector._storage.base import Store
    from metrics_collector._support.settings import Settings

T = TypeVar("T")

SEND_TIMEOUT: Final = 5.0  # seconds that `send()`, and all that begins with it, tries


async def read(action: Callable[[Query], Awaitable[T]], *, live: bool = False) -> T:
    """Ask something, after what this process has recorded so far is in Redis, unless that takes no more.

    Args:
        live: it is about live totals, which need Redis; else the answer has to say what it lacks without it.

    Raises:
        StoreUnavailableError, IncompatibleStoreError: the database cannot be used; or Redis, for live totals.
    """
    from metrics_collector._reading.query import PATIENCE, Query
    from metrics_collector._redis.reader_commands import ReaderCommands

    @reopening
    async def ask(pipeline: SendingPipeline) -> T:
        failed: MetricsCollectorError | None = None
        full: StoreFullError | None = None
        try:
            async with asyncio.timeout(None if live else PATIENCE):
                # A full Redis can be read, so nobody waits until it has room.
                await pipeline.sender.send(SEND_TIMEOUT, patient=live, wait_for_room=False)
        except TimeoutError:
            failed = StoreUnavailableError(
                f"Redis at {pipeline.redis.label} did not take this process's entries within {PATIENCE:g} s"
            )
        except StoreFullError as error:
            full = error
        except (StoreUnavailableError, IncompatibleStoreError) as error:
            if live:
                raise
            failed = error
        database = await pipeline.database(live=live)
        reader = ReaderCommands(pipeline.redis)
        return await action(Query(reader, database, registry.names(), failed, full))

    return await collector.call(ask)


async def heartbeats(settings: Settings, role: str) -> dict[str, dict[str, Any]]:
    """The heartbeats of processes in a role (`worker` or `scheduler`), by process (`host:id`)."""
    from metrics_collector._redis.reader_commands import ReaderCommands
    from metrics_collector._runtime import assembly

    async with assembly.redis_for_a_while(settings) as redis:
        return await ReaderCommands(redis).heartbeats(role)


async def functions_in(store: Store) -> list[str] | None:
    """The functions that a store knows; `None` if there is none yet.

    Raises:
        StoreUnavailableError: it cannot be read.
        IncompatibleStoreError: it is another program's, or newer than this code.
    """
    async with store.reading() as reader:
        return None if reader is None else await reader.function_names()
