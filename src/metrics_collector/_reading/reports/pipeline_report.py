"""The state of the pipeline now."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from metrics_collector._errors import IncompatibleStoreError, StoreUnavailableError
from metrics_collector._reading.reports.redis_state import Flow, moment
from metrics_collector._reading.reports.remedies import problems
from metrics_collector._reading.reports.report_types import DatabaseState, Pipeline, RedisState
from metrics_collector._runtime.assembly import database as open_database
from metrics_collector._runtime.assembly import is_embedded
from metrics_collector._runtime.collector import collector
from metrics_collector._support.settings import mask_url

if TYPE_CHECKING:
    from metrics_collector._runtime.sending_pipeline import SendingPipeline
    from metrics_collector._storage.base import Store

_PATIENCE: Final = 3.0  # seconds that Redis may take


async def pipeline() -> Pipeline:
    """The state of the pipeline now. What cannot be reached is part of the report, not an error."""
    return await collector.call(_pipeline)


async def _pipeline(sending: SendingPipeline) -> Pipeline:
    settings = sending.settings
    embedded = is_embedded(settings)
    url = mask_url(settings.redis_url)
    flow = Flow()
    error = None
    try:
        async with asyncio.timeout(_PATIENCE):
            await flow.look(sending.redis, embedded=embedded)
    except TimeoutError:
        error = f"Redis at {url} did not answer within {_PATIENCE:g} s"
    except (StoreUnavailableError, IncompatibleStoreError) as problem:
        error = str(problem)
    redis = RedisState(
        url=url,
        embedded=embedded,
        error=error,
        version=flow.version,
        used_memory=flow.used_memory,
        maxmemory=flow.maxmemory,
        dangers=tuple(flow.dangers),
        dangers_known=flow.dangers_known,
    )
    known = error is None
    report = Pipeline(
        redis=redis,
        database=await _database(open_database(settings)),
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


async def _database(store: Store) -> DatabaseState:
    found = (await store.describe())._asdict()
    return DatabaseState(path=store.label, oldest_entry_at=moment(found.pop("oldest")), **found)
