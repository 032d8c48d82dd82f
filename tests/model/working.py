"""The steps of workers: claim, read, commit, acknowledge; and reconcile."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from tests.model import scripts
from tests.model.setup import Flaw, Setup
from tests.model.world import (
    FUNCTIONS,
    Acknowledgement,
    Acknowledging,
    Doubting,
    Figures,
    Reading,
    Reconciling,
    Saving,
    bits_of,
    counted,
    spent,
    underway,
    with_item,
)

if TYPE_CHECKING:
    from tests.model.world import Phase, Sql, Steps, World


def claim(setup: Setup, world: World, who: int) -> Steps:
    """An idle worker asks for work."""
    if world.workers[who] is not None:
        return
    for counts in (True, False) if setup.earlier_workers else (True,):
        redis, token = scripts.claim(setup, world.redis, world.claims, counted=counts)
        if token is None or world.claims + (token == world.claims) > setup.claims:
            return
        claimed = world._replace(redis=redis, claims=max(world.claims, token + 1))
        yield f"W claims c{token}", _with(claimed, who, Reading(token))


def read(setup: Setup, world: World, who: int) -> Steps:
    """A worker reads the head of its claim."""
    phase = world.workers[who]
    if not isinstance(phase, Reading):
        return
    length, _ = scripts.read(world.redis, phase.token, 0)
    if not length:
        ended = world._replace(redis=scripts.end(world.redis, phase.token))
        yield f"W finds c{phase.token} gone", _with(ended, who, None)
    for most in setup.chunks:
        if length and (most <= length or most == setup.chunks[0]):
            _, chunk = scripts.read(world.redis, phase.token, most)
            saving = Saving(phase.token, length, chunk)
            yield f"W reads {chunk} of c{phase.token}", _with(world, who, saving)


def commit(setup: Setup, world: World, who: int) -> Steps:
    """A worker saves what it has read: rows, totals and ledger in one transaction."""
    phase = world.workers[who]
    if isinstance(phase, Saving):
        sql, message = saved(setup, world.sql, phase)
        if setup.flaw is Flaw.LEDGER_AFTER_THE_COMMIT:
            sql = sql._replace(ledger=world.sql.ledger)
        then = Acknowledging(message, len(phase.chunk) == phase.length)
        yield f"W commits {phase.chunk}", _with(world._replace(sql=sql), who, then)


def saved(setup: Setup, sql: Sql, phase: Saving) -> tuple[Sql, Acknowledgement]:
    """The database with a chunk in it, and what Redis is to be told."""
    ledger = sql.ledger
    fresh: list[int] = []
    again: list[int] = []
    for entry in phase.chunk:
        known = ledger >> entry & 1 and setup.flaw is not Flaw.COMMIT_WITHOUT_LEDGER
        (again if known else fresh).append(entry)
        ledger |= 1 << entry
    new, deltas = counted(fresh), counted(phase.chunk)
    if setup.flaw is Flaw.ACK_TAKES_BACK_NEW_ONES_ONLY:
        deltas = new
    rows = tuple(had + more for had, more in zip(sql.rows, new, strict=True))
    touched = {entry % FUNCTIONS for entry in phase.chunk}
    uneven = {entry % FUNCTIONS for entry in again}
    figures = tuple(
        Figures(f, deltas[f], rows[f], sql.rows[f] if f not in uneven else None)
        for f in sorted(touched)
    )
    chunk = bits_of(phase.chunk)
    producers = tuple(
        (who, ledger & own) for who, own in enumerate(setup.entries_of) if chunk & own
    )
    sql = sql._replace(ledger=ledger, rows=rows)
    message = Acknowledgement(
        phase.token, phase.length, len(phase.chunk), figures, producers, sql.db, sql.no
    )
    return sql, message


def acknowledge(setup: Setup, world: World, who: int) -> Steps:
    """A worker tells Redis what SQL has now, and with it goes what may go wrong."""
    phase = world.workers[who]
    if not isinstance(phase, Acknowledging):
        return
    message = phase.message
    length, _ = scripts.read(world.redis, message.token or 0, 0)
    done = phase.emptied and length == message.length
    after = None if done else Reading(message.token or 0)
    arrived = told(setup, world, who, message, after)
    if setup.flaw is Flaw.LEDGER_AFTER_THE_COMMIT:
        ledger = reduce(or_, (entries for _, entries in message.saved), world.sql.ledger)
        arrived = arrived._replace(sql=world.sql._replace(ledger=ledger))
    yield from _carried(world, arrived, who, message, f"W acknowledges c{message.token}")


def begin_reconcile(setup: Setup, world: World, who: int) -> Steps:
    """An idle worker looks for lost claims, and reads the totals of all functions."""
    if world.workers[who] is None and world.faults.reconcile:
        found = world._replace(redis=scripts.adopt(setup, world.redis))
        yield "W begins to reconcile", spent(_with(found, who, reconciling(world.sql)), "reconcile")


def reconciling(sql: Sql) -> Reconciling:
    """The first step of telling Redis what SQL has."""
    return Reconciling(0, sql.rows, sql.db, sql.no)


def reconcile(setup: Setup, world: World, who: int) -> Steps:
    """A worker tells Redis what SQL had of the next function."""
    phase = world.workers[who]
    if not isinstance(phase, Reconciling):
        return
    at = phase.function
    figures = (Figures(at, 0, phase.totals[at], None),)
    message = Acknowledgement(None, 0, 0, figures, (), phase.db, phase.no)
    after = phase._replace(function=at + 1) if at + 1 < FUNCTIONS else None
    arrived = told(setup, world, who, message, after)
    yield from _carried(world, arrived, who, message, f"W reconciles f{at}")


def told(
    setup: Setup, world: World, who: int, message: Acknowledgement, after: Phase | None
) -> World:
    """The message has arrived, and the worker has the reply."""
    redis, ahead = scripts.acknowledge(setup, world.redis, message)
    if ahead:
        after = Doubting(message.token, message.db, ahead)
    return _with(world._replace(redis=redis), who, after)


def doubt(setup: Setup, world: World, who: int) -> Steps:
    """A worker looks whether SQL really lacks what Redis has seen, and gives a restored copy a new id then."""
    phase = world.workers[who]
    if not isinstance(phase, Doubting):
        return
    sql = world.sql
    restored = any(count > sql.rows[function] for function, count in phase.ahead)
    if restored and sql.db == phase.db and setup.flaw is not Flaw.NO_NEW_ID_AFTER_A_RESTORE:
        sql = sql._replace(db=world.databases)
        world = world._replace(sql=sql, databases=world.databases + 1)
    after: Phase | None = None
    if phase.token is not None:
        after = Reading(phase.token)
    elif restored:
        after = reconciling(sql)
    yield "W compares SQL and Redis", _with(world, who, after)


def crash(setup: Setup, world: World, who: int) -> Steps:
    """A worker dies between two steps."""
    if world.workers[who] is not None and world.faults.crash:
        yield "W crashes", spent(_with(world, who, None), "crash")


def _carried(world: World, arrived: World, who: int, message: Acknowledgement, label: str) -> Steps:
    yield label, arrived
    # A worker without an answer gives up.
    yield from underway(world, message, label, _with(world, who, None), arrived)


def _with(world: World, who: int, phase: Phase | None) -> World:
    return world._replace(workers=with_item(world.workers, who, phase))


WORK = (read, commit, acknowledge, reconcile, doubt)  # what a worker does once it has begun
TRANSITIONS = (claim, begin_reconcile, *WORK, crash)
