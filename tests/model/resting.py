"""What must hold in every world, and once all has come to rest."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from tests.model import failing, producing, scripts, working
from tests.model.setup import Flaw, Setup
from tests.model.world import Acknowledging, Faults, bits_of, counted, members

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.model.world import Acknowledgement, Redis, Steps, World

ROUNDS = 20  # in which all must have come to rest
STEPS = 50  # that one party may take in a round


class BrokenPromiseError(AssertionError):
    """A world in which something does not hold; the message says what."""


def check(setup: Setup, world: World) -> None:
    """Look whether all holds that does so at any moment."""
    redis, sql = world.redis, world.sql
    parts = [part.total if part else 0 for part in redis.parts]
    between = tuple(total - part for total, part in zip(redis.live, parts, strict=True))
    if between != counted(redis.pending) and not world.evicted:
        raise BrokenPromiseError(f"T - B is {between}, and {redis.pending} are pending")
    for phase in world.workers:
        if isinstance(phase, Acknowledging):
            _check_heeded(setup, redis, phase.message)
    if world.sql_lost:
        return
    if any(part > rows for part, rows in zip(parts, sql.rows, strict=True)):
        raise BrokenPromiseError(f"B is {parts}, above SQL's {sql.rows}")
    for who, producer in enumerate(world.producers):
        if producer.known & ~sql.ledger:
            raise BrokenPromiseError(f"P{who} believes that SQL has what it has not")
    if not (world.redis_lost or world.evicted):
        there = counted(members(sql.ledger | bits_of(redis.pending)))
        if any(total < count for total, count in zip(redis.live, there, strict=True)):
            raise BrokenPromiseError(f"the totals are {redis.live}, but there are {there}")


def _check_heeded(setup: Setup, redis: Redis, message: Acknowledgement) -> None:
    """Whatever has become of the claim, Redis knows afterwards what SQL has."""
    after, _ = scripts.acknowledge(setup, redis, message)
    for figures in message.figures:
        part = after.parts[figures.function]
        if part is None or (part.db == message.db and part.total < figures.total):
            raise BrokenPromiseError(f"Redis does not heed {message}")


class Rest:
    """Lets worlds come to rest, without faults, and remembers those that did."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._fine: set[World] = set()

    def check(self, world: World) -> None:
        """Let all come to rest, before and after what is still on its way arrives, and look what holds then."""
        passed: list[World] = []
        while True:
            for _ in range(ROUNDS):
                shape = _shape(world)
                if shape in self._fine:
                    self._fine.update(passed)
                    return
                passed.append(shape)
                world = _one_round(self._setup, world)
                check(self._setup, world)
                if _shape(world) == shape:
                    break
            else:
                raise BrokenPromiseError("it never comes to rest")
            _check_at_rest(self._setup, world)
            if not world.late:
                self._fine.update(passed)
                return
            for message in world.late:
                world = world._replace(redis=failing.delivered(self._setup, world.redis, message))
            world = world._replace(late=())


def _shape(world: World) -> World:
    """What decides how a world comes to rest."""
    return world._replace(replica=None, copy=None, claims=0, databases=0, faults=Faults())


def _one_round(setup: Setup, world: World) -> World:
    """Everybody does what there is to do, one after the other."""
    setup, world = setup.at_rest, world._replace(faults=Faults(reconcile=1))
    for who in range(setup.workers):
        world = _while_possible(setup, world, who, working.WORK)
    for who in range(len(world.producers)):
        if not world.producers[who].alive:  # nobody can see whether Redis still has it
            world = producing.begin_replay(setup, world, who)
        world = _while_possible(setup, world, who, (producing.look, producing.push))
    world = _while_possible(setup, world, 0, (_lease_ends, working.claim, *working.WORK))
    if setup.flaw is not Flaw.NO_RECONCILING:
        world = _while_possible(setup, world, 0, (working.begin_reconcile, *working.WORK))
    return world


def _lease_ends(setup: Setup, world: World, who: int) -> Steps:
    if world.workers[who] is None:
        yield from failing.lease_ends(setup, world)


def _while_possible(
    setup: Setup, world: World, who: int, steps: tuple[Callable[[Setup, World, int], Steps], ...]
) -> World:
    for _ in range(STEPS):
        following = chain.from_iterable(step(setup, world, who) for step in steps)
        _, after = next(following, ("", world))
        if after == world:
            break
        world = after
    return world


def _check_at_rest(setup: Setup, world: World) -> None:
    redis, sql = world.redis, world.sql
    if redis.pending:
        raise BrokenPromiseError(f"{redis.pending} stay in Redis")
    if redis.live != sql.rows:
        raise BrokenPromiseError(f"the totals are {redis.live}, SQL has {sql.rows}")
    once = counted(members(sql.ledger))
    if sql.rows != once:
        raise BrokenPromiseError(f"SQL has {sql.rows} rows of {once} entries")
    if world.sql_lost:
        return
    for who, producer in enumerate(world.producers):
        lost = producer.lost if world.redis_lost or world.evicted else 0
        promised = (1 << producer.cut) - 1 if producer.alive else producer.spool
        for index, batch in enumerate(setup.batches[who]):
            if promised & ~lost & 1 << index and batch.bits & ~sql.ledger:
                raise BrokenPromiseError(f"P{who}'s b{index} is lost")
        if next(producing.kept(setup, producer, who), None) is not None:
            raise BrokenPromiseError(f"P{who} never learns that SQL has its batches")
