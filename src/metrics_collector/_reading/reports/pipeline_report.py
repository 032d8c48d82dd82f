"""The state of the pipeline now."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from metrics_collector._errors import IncompatibleStoreError, StoreUnavailableError
from metrics_collector._reading.query import PATIENCE, unanswered
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


async def pipeline(*, try_writing: bool = False) -> Pipeline:
    """The state of the pipeline now. What cannot be reached is part of the report, not an error.

    `try_writing`: find out whether the database's disk takes more by writing something beside it.
    """
    return await collector.call(partial(_pipeline, try_writing=try_writing))


async def _pipeline(sending: SendingPipeline, *, try_writing: bool) -> Pipeline:
    settings = sending.settings
    embedded = is_embedded(settings)
    url = mask_url(settings.redis_url)
    flow = Flow()
    error = None
    try:
        async with asyncio.timeout(PATIENCE):
            await flow.look(sending.redis, embedded=embedded)
    except TimeoutError:
        error = str(unanswered(url))
    except (StoreUnavailableError, IncompatibleStoreError) as problem:
        error = str(problem)
    if error is not None:
        flow = Flow()
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
    report = Pipeline(
        redis=redis,
        database=await _database(open_database(settings), try_writing=try_writing),
        waiting=flow.waiting,
        max_backlog=settings.max_backlog,
        claims=flow.claims,
        lag=flow.lag,
        max_waiting_time=settings.max_waiting_time,
        clock_ahead=flow.clock_ahead,
        calls_ahead=flow.calls_ahead,
        processes=flow.processes,
        producers=flow.producers,
        dropped=flow.dropped,
        problems=(),
    )
    return replace(report, problems=tuple(problem.line for problem in problems(report)))


async def _database(store: Store, *, try_writing: bool) -> DatabaseState:
    found = (await store.describe(try_writing=try_writing))._asdict()
    return DatabaseState(path=store.label, oldest_entry_at=moment(found.pop("oldest")), **found)
