"""The problems of the pipeline, each with its remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from metrics_collector._core.units import count, counted
from metrics_collector._reading.roles import STARTED_BY
from metrics_collector._redis.clocks import agree, difference
from metrics_collector._saving.split import Place, databases, split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metrics_collector._reading.reports.report_types import Pipeline

_ROOM: Final = (
    32_000_000  # bytes that a flush of 40,000 entries takes, in the log and then in the file
)
_LATE: Final = 10.0  # seconds beyond the waiting time after which entries should have been saved


class Problem(NamedTuple):
    """One problem of the pipeline."""

    # Where: redis, persistence, database, worker, scheduler, clocks, backlog, lag, producers or rejected.
    part: str
    # Whether entries are not saved, or not taken, or not where the others are; otherwise it is a warning.
    grave: bool
    line: str  # what it is, with the remedy


def problems(report: Pipeline) -> Iterator[Problem]:
    """Each problem, the gravest first."""
    yield from _of_the_parts(report)
    yield from _of_the_processes(report)
    yield from _of_the_clocks(report)
    yield from _of_the_flow(report)


def _of_the_parts(report: Pipeline) -> Iterator[Problem]:
    redis, database = report.redis, report.database
    if redis.error is not None:
        yield _grave(
            "redis", f"{redis.error}; entries of processes that meet the same wait in these"
        )
    for danger in redis.dangers:
        yield _warning("persistence", danger)
    if database.error is not None:
        setting = "METRICS_DATABASE_URL" if "://" in database.path else "DATABASE_NAME"
        named = "" if setting in database.error else f" ({setting})"
        yield _grave("database", f"{database.error}{named}")
    elif database.free is not None and database.free < _ROOM:
        yield _warning(
            "database",
            f"only {count(database.free)} bytes are left on the disk of {database.path}, and one flush may take more: "
            "make room",
        )


def _of_the_processes(report: Pipeline) -> Iterator[Problem]:
    if report.processes is None:  # then Redis has an error
        return
    saved_to = databases(Place(one.host, one.path, one.db) for one in report.processes)
    if (line := split(saved_to)) is not None:
        yield _grave("database", line)
    database = report.database
    if saved_to and (database.exists is False or database.db not in {None, *saved_to}):
        yield _warning(
            "database",
            f"{database.path} here is not the database that workers save to ({' or '.join(saved_to.values())}), so "
            "windows and history lack what is there: read with that DATABASE_NAME, on that machine, or with that "
            "METRICS_DATABASE_URL",
        )
    if not report.redis.embedded:
        for role, command in STARTED_BY.items():
            if not any(one.role == role for one in report.processes):
                # Workers have a timer of their own.
                problem = _grave if role == "worker" else _warning
                yield problem(role, f"no live {role}: run `{command}`")
    for one in report.processes:
        if one.error is not None:
            line = f"the {one.role} on {one.host} (process {one.process}) cannot save: {one.error}"
            yield _grave(one.role, line)


def _of_the_clocks(report: Pipeline) -> Iterator[Problem]:
    ahead = {f"the {one.role} on {one.host}": one.clock_ahead for one in report.processes or ()}
    ahead["this machine"] = report.clock_ahead
    for whose, by in ahead.items():
        if by is not None and not agree(by):
            yield _warning(
                "clocks",
                f"the clock of {whose} is {difference(by)}: set right whichever is wrong; until then a worker there "
                "deletes nothing by its age, and calls there count at a wrong time",
            )
    if report.calls_ahead is not None and not agree(report.calls_ahead):
        yield _warning(
            "clocks",
            f"the clock of a producer is {difference(report.calls_ahead)}, by a call that waits: set it right",
        )


def _of_the_flow(report: Pipeline) -> Iterator[Problem]:
    if report.waiting is not None and report.waiting >= report.max_backlog:
        yield _grave(
            "backlog",
            f"the backlog is full ({report.waiting} entries of METRICS_MAX_BACKLOG={report.max_backlog}): producers "
            "keep what they record, and in the end drop the oldest; run more workers, or find out why they are slow",
        )
    if report.lag is not None and report.lag > report.max_waiting_time + _LATE:
        yield _warning(
            "lag",
            f"the oldest entry has waited {report.lag:.0f} s, more than MAX_WAITING_TIME={report.max_waiting_time}: "
            "check whether the worker runs and keeps up",
        )
    if report.dropped:
        yield _warning(
            "producers",
            f"{report.dropped} entries of the last 24 hours were dropped, as Redis took none and METRICS_MAX_BUFFERED "
            "was reached, or Redis has lost them; METRICS_SPOOL_DIR keeps the ones, and noeviction in Redis the others",
        )
    if report.database.rejected:
        malformed = counted(report.database.rejected, "malformed entry", "malformed entries")
        yield _warning("rejected", f"{malformed} in metrics_list: see the table rejected_entries")
    if report.database.warning is not None:
        yield _warning("database", report.database.warning)


def _grave(part: str, line: str) -> Problem:
    return Problem(part, grave=True, line=line)


def _warning(part: str, line: str) -> Problem:
    return Problem(part, grave=False, line=line)
