"""A pipeline in which all is well; a test lets one thing go wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from metrics_collector._reading.reports import (
    DatabaseState,
    Pipeline,
    ProcessState,
    RedisState,
)

NOW = datetime(2026, 5, 17, 9, 30, tzinfo=UTC)
REDIS = RedisState(
    url="redis://localhost:6379/0",
    embedded=False,
    error=None,
    version="7.0.15",
    used_memory=1_500_000,
    maxmemory=0,
    dangers=(),
    dangers_known=True,
)
DATABASE = DatabaseState(
    server=None,
    path="/data/metrics.db",
    error=None,
    exists=True,
    size=12_300_000,
    free=50_000_000_000,
    saved=1234,
    oldest_entry_at=NOW - timedelta(days=3),
    rejected=0,
    db="aaaaaaaaaaaaaaaa",
    warning=None,
)
WORKER = ProcessState(
    role="worker",
    host="box",
    process="1",
    flushed_at=NOW - timedelta(seconds=5),
    error=None,
    db=DATABASE.db,
    path=DATABASE.path,
    clock_ahead=0.25,
)
SCHEDULER = replace(WORKER, role="scheduler", process="2", flushed_at=None, db=None, path=None)
PIPELINE = Pipeline(
    redis=REDIS,
    database=DATABASE,
    waiting=12,
    max_backlog=100,
    claims=0,
    lag=69.0,
    max_waiting_time=60,
    clock_ahead=-1.5,
    calls_ahead=0.0,
    processes=(WORKER, SCHEDULER),
    producers=2,
    dropped=0,
    problems=(),
)
