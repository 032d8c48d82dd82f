"""`doctor`: checks each part of the pipeline: a line for each, with the remedy for each problem."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from rich.filesize import decimal as size
from rich.table import Table
from rich.text import Text

from metrics_collector._core.units import count, counted
from metrics_collector._errors import StoreUnavailableError
from metrics_collector._reading import reports
from metrics_collector.cli import _times
from metrics_collector.cli._console import console
from metrics_collector.cli._reading import run as read
from metrics_collector.cli._text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metrics_collector._reading.reports import Pipeline, ProcessState, RedisState

_LIMIT: Final = 30.0  # seconds; each part has a shorter one of its own
_STYLES: Final = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}


class Check(NamedTuple):
    """One line: how it is, of what, and what to do."""

    state: Literal["ok", "warn", "FAIL"]
    what: str
    line: str


def run() -> int:
    """Run the command; returns the exit status: 1 if a check has failed."""
    checks = list(judge(read(_look()), datetime.now(UTC)))
    width = max(len(check.what) for check in checks)
    for check in checks:
        state = Text(f"{check.state:<5}", style=_STYLES[check.state])
        begin = Text.assemble(state, f"{check.what:<{width}}  ")
        if console.is_terminal:  # wrapped at words, beside the name
            row = Table.grid()
            row.add_column(no_wrap=True)
            row.add_column()
            row.add_row(begin, printable(check.line))
            console.print(row)
        else:
            console.print(begin.append(printable(check.line)), soft_wrap=True)
    return int(any(check.state == "FAIL" for check in checks))


async def _look() -> Pipeline:
    try:
        async with asyncio.timeout(_LIMIT):
            return await reports.pipeline(try_writing=True)
    except TimeoutError as error:
        raise StoreUnavailableError(
            f"no answer within {_LIMIT:g} s; check Redis (REDIS_URL) and the database "
            "(DATABASE_NAME, or METRICS_DATABASE_URL)"
        ) from error


def judge(state: Pipeline, now: datetime) -> Iterator[Check]:
    """What the state of the pipeline at a moment says of each part."""
    problems = list(reports.problems(state))
    for part, fact in _facts(state, now):
        found = [problem for problem in problems if problem.part == part]
        for problem in found:
            yield Check("FAIL" if problem.grave else "warn", part, problem.line)
        if not found and fact is not None:
            yield fact if isinstance(fact, Check) else Check("ok", part, fact)


def _facts(state: Pipeline, now: datetime) -> Iterator[tuple[str, Check | str | None]]:
    """The parts that can be looked at, and what is said where there is no problem."""
    redis = state.redis
    if redis.embedded:
        yield "redis", "inside each process (memory://), which saves its own entries"
    else:
        limit = f" of {size(redis.maxmemory)}" if redis.maxmemory else ""
        used = "" if redis.used_memory is None else f", {size(redis.used_memory)}{limit} used"
        version = "unknown version" if redis.version is None else f"version {redis.version}"
        yield "redis", f"{version} at {redis.url}{used}"
        if redis.error is None:
            yield "persistence", _persistence(redis)
            yield "worker", _worker(_alive(state, "worker"), now)
            yield "scheduler", _processes(_alive(state, "scheduler"))
            yield "clocks", _clocks(state)
            yield from _traffic(state)
    yield from _database(state, now)


def _persistence(redis: RedisState) -> Check | str:
    if redis.dangers_known:
        return "kept on disk and not evicted, as far as the server reports"
    line = (
        "the server does not tell, as INFO or CONFIG is refused: see to it that it keeps data on disk, and that its "
        "maxmemory-policy is noeviction"
    )
    return Check("warn", "persistence", line)


def _alive(state: Pipeline, role: str) -> list[ProcessState]:
    return [one for one in state.processes or () if one.role == role]


def _worker(alive: list[ProcessState], now: datetime) -> str:
    flushes = [one.flushed_at for one in alive if one.flushed_at is not None]
    last = f"{_times.span(_age(max(flushes), now))} ago" if flushes else "not yet"
    return f"{_processes(alive)}; last flush: {last}"


def _processes(alive: list[ProcessState]) -> str:
    hosts = sorted({one.host for one in alive})
    return f"{counted(len(alive), 'process', 'processes')} alive on {', '.join(hosts)}"


def _clocks(state: Pipeline) -> Check | str:
    known = [one.clock_ahead for one in state.processes or ()]
    if state.clock_ahead is None:
        line = "cannot be compared, as Redis does not tell its time: allow +time in the ACL of this user"
        return Check("warn", "clocks", line)
    of = counted(len([one for one in known if one is not None]), "process", "processes")
    furthest = max(abs(one) for one in (state.clock_ahead, *known) if one is not None)
    return f"this machine's and those of {of} are within {math.ceil(furthest)} s of that of Redis"


def _traffic(state: Pipeline) -> Iterator[tuple[str, str]]:
    waiting = counted(state.waiting or 0, "entry waits", "entries wait")
    yield "backlog", f"{waiting}, of at most {count(state.max_backlog)}"
    if not state.waiting:
        yield "lag", "no entries waiting"
    elif state.lag is None:
        yield "lag", "unknown: what waits longest is no entry"
    else:
        yield "lag", f"the oldest entry that waits is {_times.span(state.lag)} old"
    sent = counted(state.producers or 0, "process has", "processes have")
    yield "producers", f"{sent} sent something in 24 h and dropped nothing"


def _database(state: Pipeline, now: datetime) -> Iterator[tuple[str, Check | str | None]]:
    database = state.database
    if not database.exists:
        line = (
            f"there is none at {database.path} yet; if the worker saves elsewhere, set DATABASE_NAME or "
            "METRICS_DATABASE_URL to that"
        )
        yield "database", Check("warn", "database", line)
        return
    kept = database.oldest_entry_at
    oldest = "no entry kept" if kept is None else f"oldest entry {_times.span(_age(kept, now))} old"
    saved = counted(database.saved or 0, "entry", "entries")
    free = "" if database.free is None else f"; {size(database.free)} left on its disk"
    server = "" if database.server is None else f"{database.server}: "
    yield (
        "database",
        f"{server}{database.path} can be written; {size(database.size or 0)}, {saved} saved, {oldest}{free}",
    )
    yield "rejected", None


def _age(moment: datetime, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds())
