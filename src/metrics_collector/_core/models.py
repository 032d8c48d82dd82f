"""The records that a caller gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core import figures as table
from metrics_collector._core import histogram as buckets
from metrics_collector._core.as_json import figures_as_json, iso
from metrics_collector._core.totals import (
    BUCKET_PREFIX,
    CALLS,
    COUNTS,
    ERROR_PREFIX,
    Totals,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

# Attributes of `FunctionMetrics`, and what they are called in `Totals`.
_COUNTS: Final = [(figure.name, figure.field) for figure in table.STORED if figure.counts]
_NO_ERRORS: Final[Mapping[str, int]] = MappingProxyType({})
_OTHERS: Final = [(figure.name, figure.field) for figure in table.STORED if not figure.counts]


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionMetrics:
    """The figures of one function, over all processes and over the time asked for.

    Times are seconds. `call_count`, `total_execution_time`, the average, the extremes and the percentiles include every
    outcome: ok, error and cancelled. Without calls the counts are 0 and the other figures `None`.

    Attributes:
        func_name: the full name, `module.qualname` or the one given to the decorator.
        call_count: executions that have ended.
        error_count: those that raised an exception.
        cancelled_count: those that were cancelled (or closed).
        total_execution_time: the sum of all times.
        min_execution_time, max_execution_time: the extremes. Over a window of time (`since`, `until`) they are those of
            the minutes, hours and days in it.
        error_types: name of the exception's type → count.
        last_called_at: aware UTC datetime of the last end of a call.
        partial: whether entries are missing: in a window those that are not saved yet, as Redis could not be used; or
            some of this process, as Redis takes no more.
    """

    func_name: str
    call_count: int = 0
    error_count: int = 0
    cancelled_count: int = 0
    total_execution_time: float = 0.0
    min_execution_time: float | None = None
    max_execution_time: float | None = None
    error_types: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    last_called_at: datetime | None = None
    histogram: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    partial: bool = False

    @property
    def error_rate(self) -> float | None:
        """The share of calls that raised, from 0 to 1; `None` without calls."""
        return self.error_count / self.call_count if self.call_count else None

    @property
    def average_execution_time(self) -> float | None:
        """Seconds a call; `None` without calls."""
        return self.total_execution_time / self.call_count if self.call_count else None

    def quantile(self, q: float) -> float | None:
        """The time, in seconds, that the fraction `q` of all calls did not exceed, within 1.1 %.

        The nearest rank's bucket in an exponential histogram of base 2^(1/32), clipped to minimum and maximum.

        Raises:
            ValueError: `q` is not between 0 and 1.
        """
        return buckets.quantile(self.histogram, q, self.min_execution_time, self.max_execution_time)

    @property
    def p50(self) -> float | None:
        """The median, seconds."""
        return self.quantile(0.50)

    @property
    def p90(self) -> float | None:
        """The 90th percentile, seconds."""
        return self.quantile(0.90)

    @property
    def p95(self) -> float | None:
        """The 95th percentile, seconds."""
        return self.quantile(0.95)

    @property
    def p99(self) -> float | None:
        """The 99th percentile, seconds."""
        return self.quantile(0.99)

    def as_report(self) -> dict[str, str | int | float]:
        """The function's report: its name, number of calls, average execution time (seconds) and number of errors."""
        return {
            "Function": self.func_name,
            "Number of calls": self.call_count,
            "Average execution time": self.average_execution_time or 0.0,
            "Number of errors": self.error_count,
        }

    def as_dict(self) -> dict[str, Any]:
        """All figures under the names of their attributes, ready for JSON: moments are ISO 8601 in UTC.

        If they are partial, `partial` is in it, too.
        """
        lacking = {"partial": True} if self.partial else {}
        return {"func_name": self.func_name, **figures_as_json(self), **lacking}


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPoint(FunctionMetrics):
    """The figures of one function in one minute, hour or day, as in `FunctionMetrics`.

    Attributes:
        start: aware UTC datetime at which that minute, hour or day begins.
        resolution: "minute", "hour" or "day". A coarser one than was asked for where that is
            no longer kept.
    """

    start: datetime
    resolution: str

    def as_dict(self) -> dict[str, Any]:
        """As that of `FunctionMetrics`, after `start` and `resolution`."""
        own = {"start": iso(self.start), "resolution": self.resolution}
        return own | FunctionMetrics.as_dict(self)


def figures(func_name: str, totals: Totals) -> dict[str, Any]:
    """The fields of a `FunctionMetrics` or `HistoryPoint` that totals stand for."""
    if not totals.counts.get(CALLS):  # extremes cannot be taken back, but say nothing without calls
        totals = Totals()
    counts = totals.counts
    errors, histogram = _details(counts)
    found: dict[str, Any] = {
        "func_name": func_name,
        "error_types": MappingProxyType(errors) if errors else _NO_ERRORS,
        "histogram": MappingProxyType(histogram),
    }
    # Loops, as dicts in a dict take twice the time, and this is made of each function that is read.
    for name, field_name in _COUNTS:
        found[name] = counts.get(field_name, 0)
    for name, field_name in _OTHERS:
        found[name] = getattr(totals, field_name)
    if totals.last_called_at is not None:
        found["last_called_at"] = datetime.fromtimestamp(totals.last_called_at, UTC)
    return found


def _details(counts: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """The counts of error types, and those of buckets."""
    histogram = dict(counts)
    for field_name in COUNTS:
        histogram.pop(field_name, None)
    errors: dict[str, int] = {}
    # Most have nothing but buckets, one count a call, and none that was taken back: to look at every field takes five
    # times as long.
    if sum(histogram.values()) != counts.get(CALLS) or min(histogram.values(), default=1) <= 0:
        prefix = ERROR_PREFIX
        errors = {
            f.removeprefix(prefix): n for f, n in counts.items() if f.startswith(prefix) and n > 0
        }
        histogram = {f: n for f, n in counts.items() if f.startswith(BUCKET_PREFIX) and n > 0}
    return errors, histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What this process has done with its entries.

    Each is in exactly one place: at any moment `recorded == saved + sent + spooled + buffered + dropped`.

    Attributes:
        recorded: entries of ended calls since the process began (a forked child begins anew).
        buffered: held in this process, not in Redis (or to be sent again).
        sent: in Redis, and not yet known to be saved.
        saved: known to be in SQL.
        spooled: on disk, waiting for Redis.
        dropped: given up because a limit was reached; the oldest first.
        retried: entries that were sent again, because Redis had lost them or did not answer.
        last_error: what last went wrong, `None` if nothing did.
    """

    recorded: int
    buffered: int
    sent: int
    saved: int
    spooled: int
    dropped: int
    retried: int
    last_error: str | None
