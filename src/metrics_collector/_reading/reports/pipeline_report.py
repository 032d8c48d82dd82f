"""The state of the pipeline now."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from metrics_collector._errors import IncompatibleStoreError, StoreUnavailableError
from metrics_collector._reading.reports.redis_state import Flow, moment
from metrics_collector._reading.reports.remedies import problems
from metrics_collector._reading.reports.report_types import (
    DatabaseState,
    Pipeline,
    RedisState,
)
from metrics_collector._runtime.assembly import database as open_database
from metrics_collector._runtime.assembly import is_embedded
from metrics_collector._runtime.collector import collector
from metrics_collector._storage.reopening import reopening
from metrics_collector._storage.sqlite import report_queries as ask
from metrics_collector._support import process
from metrics_collector._support.settings import mask_url

if TYPE_CHECKING:
    from metrics_collector._runtime.home import Home
    from metrics_collector._support.settings import Settings

_PATIENCE: Final = 3.0  # seconds that Redis may take


async def pipeline() -> Pipeline:
    """The state of the pipeline now. What cannot be reached is part of the report, not an error.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    return await collector.call(_pipeline)


async def _pipeline(home: Home) -> Pipeline:
    settings = home.settings
    embedded = is_embedded(settings)
    flow = Flow()
    error = None
    try:
        async with asyncio.timeout(_PATIENCE):
            await flow.look(home.store, mask_url(settings.redis_url), embedded=embedded)
    except TimeoutError:
        url = mask_url(settings.redis_url)
        error = f"Redis at {url} did not answer within {_PATIENCE:g} s"
    except (StoreUnavailableError, IncompatibleStoreError) as problem:
        error = str(problem)
    redis = RedisState(
        url=mask_url(settings.redis_url),
        embedded=embedded,
        error=error,
        version=flow.version,
        used_memory=flow.used_memory,
        maxmemory=flow.maxmemory,
        dangers=tuple(flow.dangers),
    )
    database = await _database(settings)
    known = error is None
    report = Pipeline(
        redis=redis,
        database=database,
        waiting=flow.waiting if known else None,
        max_backlog=settings.max_backlog,
        claims=flow.claims if known else None,
        lag=flow.lag,
        max_waiting_time=settings.max_waiting_time,
        processes=tuple(flow.processes),
        producers=flow.producers if known else None,
        dropped=flow.dropped if known else None,
        problems=(),
    )
    return replace(report, problems=tuple(problem.line for problem in problems(report)))


async def _database(settings: Settings) -> DatabaseState:
    path = Path(settings.database_name)
    absolute, size, trouble = await process.aside(lambda: _file(path))
    found: ask.Extent | None = None
    try:
        found = await _extent(settings)
    except (StoreUnavailableError, IncompatibleStoreError) as problem:
        trouble = str(problem)
    return DatabaseState(
        path=absolute,
        error=trouble,
        exists=found is not None,
        size=None if found is None else size,
        saved=None if found is None else found.saved,
        oldest_entry_at=None if found is None else moment(found.oldest),
        rejected=None if found is None else found.rejected,
    )


@reopening
async def _extent(settings: Settings) -> ask.Extent | None:
    async with open_database(settings).reading() as reader:
        return None if reader is None else await reader.run(ask.extent())


def _file(path: Path) -> tuple[str, int, str | None]:
    """The file's absolute path, its size with its log's in bytes, and why this user cannot write it."""
    absolute = str(path.absolute())
    files = (path, path.with_name(path.name + "-wal"))
    size = sum(file.stat().st_size for file in files if file.is_file())
    writable = os.access(path if path.exists() else path.parent, os.W_OK)
    if writable and os.access(path.parent, os.W_OK):
        return absolute, size, None
    return (
        absolute,
        size,
        (
            f"this user cannot write {absolute}, or its folder, which SQLite needs for its log: "
            "give it the right to, or let DATABASE_NAME name a file in another folder"
        ),
    )
