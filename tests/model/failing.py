"""What happens to Redis, to SQL and on the way between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model import scripts
from tests.model.world import FUNCTIONS, Key, Push, Sql, spent, with_item

if TYPE_CHECKING:
    from tests.model.setup import Setup
    from tests.model.world import Message, Redis, Steps, World


def delivered(setup: Setup, redis: Redis, message: Message) -> Redis:
    """Redis, after a message whose sender no longer waits for the answer."""
    if isinstance(message, Push):
        return scripts.push(setup, redis, message)[0]
    return scripts.acknowledge(setup, redis, message)[0]


def late_message(setup: Setup, world: World) -> Steps:
    """A message arrives that was on its way for long."""
    for index, message in enumerate(world.late):
        rest = world.late[:index] + world.late[index + 1 :]
        redis = delivered(setup, world.redis, message)
        yield f"late: {message}", world._replace(redis=redis, late=rest)


def lease_ends(setup: Setup, world: World) -> Steps:
    """A claim's time is over, or a flush ignores the lease."""
    claims = world.redis.claims
    for index, claim in enumerate(claims):
        if claim.known and claim.leased:
            free = with_item(claims, index, claim._replace(leased=False))
            redis = world.redis._replace(claims=free)
            yield f"the lease of c{claim.token} ends", world._replace(redis=redis)


def key_expires(setup: Setup, world: World) -> Steps:
    """Redis forgets a producer."""
    if world.faults.expiry:
        for who, key in enumerate(world.redis.keys):
            if key != Key():
                redis = world.redis._replace(keys=with_item(world.redis.keys, who, Key()))
                yield f"the key of P{who} expires", spent(world._replace(redis=redis), "expiry")


def evicted(setup: Setup, world: World) -> Steps:
    """Redis loses one key: the list, the count of claims, a claim, or the key of leases."""
    if not world.faults.evicted:
        return
    redis, claims = world.redis, world.redis.claims
    without: dict[str, Redis] = {
        "the list": redis._replace(listed=()),
        "the count of claims": redis._replace(claims_made=0),
        "the leases": redis._replace(claims=tuple(c._replace(known=False) for c in claims)),
    }
    for index, claim in enumerate(claims):
        # The lease stays, until a worker finds nothing there.
        rest = with_item(claims, index, claim._replace(entries=()))
        without[f"c{claim.token}"] = redis._replace(
            claims=tuple(one for one in rest if one.known or one.entries)
        )
    for key, less in without.items():
        if less != redis:
            yield f"Redis loses {key}", spent(world._replace(redis=less, evicted=True), "evicted")


def emptied(setup: Setup, world: World) -> Steps:
    """Redis loses everything."""
    if world.faults.emptied and world.redis != setup.empty_redis:
        yield "Redis is emptied", _lost_redis(world, setup.empty_redis, "emptied")


def replica_syncs(setup: Setup, world: World) -> Steps:
    """A replica takes over the state of Redis."""
    if world.faults.replica and world.faults.failover and world.redis != world.replica:
        yield "the replica syncs", spent(world._replace(replica=world.redis), "replica")


def failover(setup: Setup, world: World) -> Steps:
    """The replica takes the place of Redis, with the state that it had."""
    if world.faults.failover and world.replica is not None and world.redis != world.replica:
        yield "failover", _lost_redis(world, world.replica, "failover")


def copied(setup: Setup, world: World) -> Steps:
    """Somebody makes a copy of the database."""
    if world.faults.copy and world.faults.restored and world.sql != world.copy:
        yield "the database is copied", spent(world._replace(copy=world.sql), "copy")


def restored(setup: Setup, world: World) -> Steps:
    """The copy is put in place of the database."""
    if world.faults.restored and world.copy is not None and world.sql != world.copy:
        yield "the copy is restored", _lost_sql(world, world.copy, "restored")


def deleted(setup: Setup, world: World) -> Steps:
    """The database is deleted; the next one to open it makes a new one."""
    if world.faults.deleted and world.sql.ledger:
        sql = Sql(world.databases, 0, (0,) * FUNCTIONS)
        anew = world._replace(databases=world.databases + 1)
        yield "the database is deleted", _lost_sql(anew, sql, "deleted")


def _lost_redis(world: World, redis: Redis, fault: str) -> World:
    return spent(world._replace(redis=redis, redis_lost=True), fault)


def _lost_sql(world: World, sql: Sql, fault: str) -> World:
    return spent(world._replace(sql=sql, sql_lost=True), fault)


OF_REDIS = (key_expires, evicted, emptied, replica_syncs, failover)
OF_SQL = (copied, restored, deleted)
TRANSITIONS = (late_message, lease_ends, *OF_REDIS, *OF_SQL)
