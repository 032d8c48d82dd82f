"""The shapes of the reports. Moments are aware UTC datetimes, times are seconds."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from metrics_collector._core.as_json import as_json, iso
from metrics_collector._core.models import FunctionMetrics, figures
from metrics_collector._core.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from metrics_collector._core.models import HistoryPoint
    from metrics_collector._reading.missing import Missing


class Comparison(NamedTuple):
    """Two times of one length: from `since` to `until`, which is about the window, and as long before that."""

    before: datetime
    since: datetime
    until: datetime
    unit: str  # "minute", "hour" or "day": both are of whole ones that are over


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The time that is counted, in steps.

    It may begin a little before what was asked for, and end after it: at whole minutes, or hours or days where only
    those are kept.
    """

    since: datetime
    until: datetime  # not after now
    # UTC epoch seconds before which all lies that is counted; `None`: no limit. After now there is what clocks that are
    # ahead have put there; it is in the last step.
    end: int | None
    step: int  # seconds of a step; 60, or a multiple of it
    # Of each step, UTC epoch seconds, at multiples of `step` but for the first. The first and the last one may be half
    # as long, or half as long again.
    starts: tuple[int, ...]
    comparison: Comparison | None  # `None`: what came before is not known

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.until - self.since).total_seconds()

    @property
    def ended(self) -> bool:
        """Whether all of it is over, so that a later look at it shows no other calls."""
        return self.end is not None and self.until.timestamp() >= self.end

    @property
    def lengths(self) -> tuple[float, ...]:
        """Seconds of each step that are over."""
        ends = (*self.starts[1:], self.until.timestamp())
        return tuple(end - start for start, end in zip(self.starts, ends, strict=True))

    def step_at(self, moment: float) -> int:
        """The number of the step in which a moment (or the beginning of a rollup) of the window lies."""
        return max(0, bisect_right(self.starts, moment) - 1)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "since": iso(self.since),
            "until": iso(self.until),
            "seconds": self.seconds,
            "ended": self.ended,
            "step": self.step,
            "starts": [iso(start) for start in self.starts],
            "comparison": None if self.comparison is None else as_json(self.comparison._asdict()),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionRow:
    """One function in the overview.

    Its figures are made as they are asked for, as few of a thousand functions are shown.
    """

    func_name: str  # its full name
    totals: Sequence[Totals]  # in the parts of the window; not to be changed
    totals_compared: Totals | None = None  # in the time that is compared; `None` if none is
    totals_before: Totals | None = None  # in the period before that
    steps: Callable[[str], tuple[int, ...]]  # the calls of a function in each step of the window

    @property
    def total_execution_time(self) -> float:
        """That of `metrics`, in a fraction of the time."""
        return sum(part.execution_time for part in self.totals)

    @property
    def metrics(self) -> FunctionMetrics:
        """Its figures in the window."""
        return self._figures(self.totals[0] if len(self.totals) == 1 else Totals.sum(self.totals))

    @property
    def calls(self) -> tuple[int, ...]:
        """Its calls in each step of the window."""
        return self.steps(self.func_name)

    @property
    def compared(self) -> FunctionMetrics | None:
        """Its figures in the time that is compared with the period before."""
        return None if self.totals_compared is None else self._figures(self.totals_compared)

    @property
    def before(self) -> FunctionMetrics | None:
        """Its figures in the period before."""
        return None if self.totals_before is None else self._figures(self.totals_before)

    def _figures(self, totals: Totals) -> FunctionMetrics:
        return FunctionMetrics(**figures(self.func_name, totals))


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """All functions in one of the times that are compared."""

    metrics: FunctionMetrics  # under the name ""
    functions: int  # how many were called


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All functions in a window."""

    window: Window
    rows: tuple[FunctionRow, ...]  # the functions called in it, those with most total time first
    total: FunctionMetrics  # the figures of all of them together, under the name ""
    calls: tuple[int, ...]  # of all of them together in each step of the window
    errors: tuple[int, ...]
    compared: Together | None  # in the time that is compared; `None` if none is
    before: Together | None  # in the period before that
    missing: Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRow:
    """One type of error of one function in a window."""

    func_name: str
    error_type: str  # name of the exception's type
    count: int  # how often it was raised
    # Both in the window; where the entry is no longer kept, the beginning of its minute (or hour or day, where minutes
    # are not kept either).
    first_seen_at: datetime
    last_seen_at: datetime
    counts: tuple[int, ...]  # of each step of the window


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReport:
    """All errors in a window."""

    window: Window
    rows: tuple[ErrorRow, ...]  # every type of error of every function, the one seen last first
    missing: Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowEntry:
    """One of the slowest calls in a window."""

    created_at: datetime  # its end
    execution_time: float  # seconds
    outcome: str  # "ok", "error", "cancelled", or the name of one that this release does not know
    error_type: str | None  # name of the exception's type, or `None`


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionReport:
    """One function in a window."""

    func_name: str  # its full name
    window: Window
    metrics: FunctionMetrics
    compared: FunctionMetrics | None  # in the time that is compared; `None` if none is
    before: FunctionMetrics | None  # in the period before that
    points: tuple[HistoryPoint, ...]  # of each step in which it was called; `start` is the step's
    errors: tuple[ErrorRow, ...]  # its types of errors, the most frequent first
    slowest: tuple[SlowEntry, ...]  # of the entries that are kept, at most 20, the slowest first
    entries_kept: bool  # `False`: `slowest` may lack entries of the window that are no longer kept
    missing: Missing
    sql: str  # a query that people can give the database themselves, for the slowest entries


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """A worker or scheduler process that lives, by its heartbeat."""

    role: str  # "worker" or "scheduler"
    host: str
    process: str  # its id
    flushed_at: datetime | None  # the end of a worker's last flush, or `None`
    error: str | None  # why that did not work, or `None`
    # The id of the database that a worker saves to, and its path there; `None` if it does not say.
    db: str | None
    path: str | None
    clock_ahead: (
        float | None
    )  # seconds that its clock is ahead of that of Redis; `None` if it does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisState:
    """Redis as the pipeline finds it."""

    url: str  # without its secrets
    embedded: bool  # it is inside this process; all that follows is then `None` or empty
    error: str | None  # why it cannot be used, or `None`; with an error the rest is `None` or empty
    version: str | None  # of the server; `None`, as the next two, if it does not say
    used_memory: int | None  # bytes
    maxmemory: int | None  # bytes; 0: no limit
    dangers: tuple[str, ...]  # what threatens the entries in it, a line with the remedy for each
    dangers_known: bool  # whether the server says enough to be sure that there are no others


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseState:
    """The database."""

    path: str  # its absolute path, or its URL without secrets
    server: str | None  # what serves it, and how that keeps what is committed; `None` for a file
    error: str | None  # why it cannot be read, or written by this user, or `None`
    # Whether it is there, `None` if it cannot be read; without it the rest is `None`.
    exists: bool | None
    size: int | None  # bytes, the write-ahead log included
    free: int | None  # bytes that are left on its disk, if that is known
    saved: int | None  # entries saved since the beginning, those included that are no longer kept
    oldest_entry_at: datetime | None  # the end of the oldest call that is kept as an entry
    rejected: int | None  # entries in `rejected_entries`
    db: str | None  # its id, another one for each database
    warning: str | None  # what will be trouble if it goes on so, with the remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The state of the pipeline now."""

    redis: RedisState
    database: DatabaseState
    # Of what Redis knows `None` is unknown, as it cannot be used.
    waiting: int | None  # entries in Redis that are not saved yet
    max_backlog: int  # how many may wait
    claims: int | None  # claims that workers have taken and not saved yet
    # Seconds since the end of the oldest call that waits; 0 if none does, and `None` also if that is no entry.
    lag: float | None
    max_waiting_time: int  # seconds between two flush requests of the scheduler, as set here
    # Seconds that this process's clock is ahead of that of Redis, and that the latest call that is known to wait ended
    # after now by that of Redis.
    clock_ahead: float | None
    calls_ahead: float | None
    processes: tuple[ProcessState, ...] | None  # workers and schedulers that live
    producers: int | None  # processes that sent something in the last 24 hours
    dropped: int | None  # entries that those have dropped
    problems: tuple[str, ...]  # a line for each problem, with its remedy
