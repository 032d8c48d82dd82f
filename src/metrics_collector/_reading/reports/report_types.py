"""The shapes of the reports. Moments are aware UTC datetimes, times are seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metrics_collector._core.as_json import iso
from metrics_collector._core.models import FunctionMetrics, figures

if TYPE_CHECKING:
    from datetime import datetime

    from metrics_collector._core.models import HistoryPoint
    from metrics_collector._core.totals import Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time in steps of one length. It may begin a little before what was asked for: steps are whole.

    Attributes:
        since, until: from when to when; `until` is not after now.
        step: seconds of one step; 60, or a multiple of it.
        starts: the moment at which each step begins, in UTC epoch seconds; the last one may be under way.
        before: the moment at which the period before begins, which ends at `since` and is as long, in whole steps.
    """

    since: datetime
    until: datetime
    step: int
    starts: tuple[int, ...]
    before: datetime

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.until - self.since).total_seconds()

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "since": iso(self.since),
            "until": iso(self.until),
            "seconds": self.seconds,
            "step": self.step,
            "starts": [iso(start) for start in self.starts],
            "before": iso(self.before),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionRow:
    """One function in the overview.

    Attributes:
        metrics: its figures in the window.
        totals_before: its totals in the period before.
        calls, errors, times: of each step of the window: calls, errors, and the sum of the calls' seconds.
    """

    metrics: FunctionMetrics
    totals_before: Totals
    calls: tuple[int, ...]
    errors: tuple[int, ...]
    times: tuple[float, ...]

    @property
    def before(self) -> FunctionMetrics:
        """Its figures in the period before; made when they are asked for, as few of a thousand functions are shown."""
        return FunctionMetrics(**figures(self.metrics.func_name, self.totals_before))


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All functions in a window.

    Attributes:
        rows: the functions called in it, those with most total time first.
        total: the figures of all of them together, under the name "".
        total_before: the same for the previous period, without error types.
        functions_before: how many functions were called then.
        left_out: entries waiting in Redis that these figures do not include, because they are too many to be read now.
    """

    window: Window
    rows: tuple[FunctionRow, ...]
    total: FunctionMetrics
    total_before: FunctionMetrics
    functions_before: int
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRow:
    """One type of error of one function in a window.

    Attributes:
        func_name: whose.
        error_type: name of the exception's type.
        count: how often it was raised.
        first_seen_at, last_seen_at: the first and the last in the window, at the beginning of their minute (or hour or
            day, where the minutes are no longer kept).
        counts: of each step of the window.
    """

    func_name: str
    error_type: str
    count: int
    first_seen_at: datetime
    last_seen_at: datetime
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowEntry:
    """One of the slowest calls in a window.

    Attributes:
        created_at: its end.
        execution_time: seconds.
        outcome: "ok", "error", "cancelled", or the name of one that this release does not know.
        error_type: name of the exception's type, or `None`.
    """

    created_at: datetime
    execution_time: float
    outcome: str
    error_type: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionReport:
    """One function in a window.

    Attributes:
        func_name: its full name.
        metrics, metrics_before: its figures in the window and in the period before.
        points: those of each step in which it was called; `start` is the step's. `histogram` gives the heatmap.
        errors: its types of errors, the most frequent first.
        slowest: the slowest entries that are kept, at most 20, the slowest first.
        entries_kept: whether entries of the window may be missing from `slowest`, as older ones are not kept: `False`.
        left_out: as in `Overview`.
        sql: a query that people can give the database themselves, for the slowest entries.
    """

    func_name: str
    window: Window
    metrics: FunctionMetrics
    metrics_before: FunctionMetrics
    points: tuple[HistoryPoint, ...]
    errors: tuple[ErrorRow, ...]
    slowest: tuple[SlowEntry, ...]
    entries_kept: bool
    left_out: int
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """A worker or scheduler process that lives, by its heartbeat.

    Attributes:
        role: "worker" or "scheduler".
        host: name of its machine.
        process: its process id.
        flushed_at: the end of a worker's last flush, or `None`.
        error: why that did not work, or `None`.
    """

    role: str
    host: str
    process: str
    flushed_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisState:
    """Redis as the pipeline finds it.

    Attributes:
        url: without its secrets.
        embedded: it is inside this process; all that follows is then `None` or empty.
        error: why it cannot be used, or `None`; with an error the rest is `None` or empty.
        version: of the server.
        used_memory, maxmemory: bytes; 0 as the latter: no limit.
        dangers: what threatens the entries in it (eviction, nothing kept on disk), a line with the remedy for each.
    """

    url: str
    embedded: bool
    error: str | None
    version: str | None
    used_memory: int | None
    maxmemory: int | None
    dangers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseState:
    """The database as it lies on this machine.

    Attributes:
        path: its absolute path.
        error: why it cannot be read, or written by this user, or `None`.
        exists: whether it is there; without, the rest is `None`.
        size: bytes, the write-ahead log included.
        saved: entries saved since the beginning, those included that are no longer kept.
        oldest_entry_at: the end of the oldest call that is kept as an entry, or `None`.
        rejected: entries in `rejected_entries`.
    """

    path: str
    error: str | None
    exists: bool
    size: int | None
    saved: int | None
    oldest_entry_at: datetime | None
    rejected: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The state of the pipeline now.

    Attributes:
        redis, database: where they wait and where they are saved.
        waiting: entries in Redis that are not saved yet; `None` if it is unknown.
        max_backlog: how many may wait.
        claims: claims that workers have taken and not saved yet.
        lag: seconds since the end of the oldest call that waits; `None` if none does.
        max_waiting_time: seconds between two flush requests of the scheduler, as set here.
        processes: workers and schedulers that live.
        producers: processes that sent something in the last 24 hours.
        dropped: entries that those have dropped.
        problems: what is not well, a line with the remedy for each; empty if all is.
    """

    redis: RedisState
    database: DatabaseState
    waiting: int | None
    max_backlog: int
    claims: int | None
    lag: float | None
    max_waiting_time: int
    processes: tuple[ProcessState, ...]
    producers: int | None
    dropped: int | None
    problems: tuple[str, ...]
