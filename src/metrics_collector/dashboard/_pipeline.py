"""The state of the pipeline now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.as_json import as_json
from metrics_collector._reading import reports

if TYPE_CHECKING:
    from metrics_collector._reading.reports import Pipeline
    from metrics_collector.dashboard._reads import Reads

_FRESH: Final = 2.0  # seconds that a report serves the notices of all pages


class RecentPipeline:
    """The pipeline's state for the notices on every page: read anew after two seconds."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._report: Pipeline | None = None
        self._read_at = 0.0

    async def get(self) -> Pipeline:
        """The report, at most two seconds old."""
        report = self._report
        if report is None or time.monotonic() - self._read_at > _FRESH:
            report = await self.renew()
        return report

    async def renew(self) -> Pipeline:
        """The report of now."""
        report = await self._reads.once(self, reports.pipeline)
        self._report, self._read_at = report, time.monotonic()
        return report


def is_beginning(report: Pipeline) -> bool:
    """Whether nothing was ever recorded, as far as is known."""
    reachable = report.redis.error is None and report.database.error is None
    return reachable and not report.waiting and not report.database.saved


def show(report: Pipeline) -> dict[str, Any]:
    """What the page of the pipeline shows."""
    flushes = [one.flushed_at for one in report.processes or () if one.flushed_at is not None]
    return {**as_json(report), "last_flush_at": as_json(max(flushes, default=None))}
