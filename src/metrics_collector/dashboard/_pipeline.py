"""The state of the pipeline now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._reading import reports
from metrics_collector.dashboard import _shown

if TYPE_CHECKING:
    from metrics_collector._reading.reports import Pipeline

_FRESH: Final = 2.0  # seconds that a report serves the notices of all pages


class RecentPipeline:
    """The pipeline's state for the notices on every page: read anew after two seconds."""

    def __init__(self) -> None:
        self._report: Pipeline | None = None
        self._read_at = 0.0

    async def get(self) -> Pipeline:
        """The report, at most two seconds old; raises as `_reports.pipeline`."""
        report = self._report
        if report is None or time.monotonic() - self._read_at > _FRESH:
            report = await self.renew()
        return report

    async def renew(self) -> Pipeline:
        """The report of now; raises as `_reports.pipeline`."""
        report = await reports.pipeline()
        self._report, self._read_at = report, time.monotonic()
        return report


def is_beginning(report: Pipeline) -> bool:
    """Whether nothing was ever recorded, as far as can be told."""
    reachable = report.redis.error is None and report.database.error is None
    return reachable and not report.waiting and not report.database.saved


def show(report: Pipeline) -> dict[str, Any]:
    """What the page of the pipeline shows."""
    flushes = [one.flushed_at for one in report.processes if one.flushed_at is not None]
    redis, database = report.redis, report.database
    return {
        "problems": list(report.problems),
        "waiting": report.waiting,
        "max_backlog": report.max_backlog,
        "claims": report.claims,
        "lag": report.lag,
        "last_flush_at": _shown.moment(max(flushes, default=None)),
        "max_waiting_time": report.max_waiting_time,
        "producers": report.producers,
        "dropped": report.dropped,
        "processes": [
            {
                "role": one.role,
                "host": one.host,
                "process": one.process,
                "flushed_at": _shown.moment(one.flushed_at),
                "error": one.error,
            }
            for one in report.processes
        ],
        "redis": {
            "url": redis.url,
            "embedded": redis.embedded,
            "error": redis.error,
            "version": redis.version,
            "used_memory": redis.used_memory,
            "maxmemory": redis.maxmemory,
            "dangers": list(redis.dangers),
        },
        "database": {
            "path": database.path,
            "error": database.error,
            "exists": database.exists,
            "size": database.size,
            "saved": database.saved,
            "oldest_entry_at": _shown.moment(database.oldest_entry_at),
            "rejected": database.rejected,
        },
    }
