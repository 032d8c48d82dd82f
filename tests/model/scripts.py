"""The scripts that run in Redis, one at a time: `push`, `claim`, `read` and `ack`."""

from __future__ import annotations

from tests.model.setup import Flaw, Setup
from tests.model.world import (
    Acknowledgement,
    Claim,
    Figures,
    Key,
    Part,
    Push,
    Redis,
    Reply,
    counted,
    with_item,
)


def look(redis: Redis, producer: int) -> Reply:
    """What Redis knows of a producer."""
    key = redis.keys[producer]
    return Reply("look", key.seen, key.saved, redis.lists)


def push(setup: Setup, redis: Redis, message: Push) -> tuple[Redis, Reply]:
    """Append a batch, at most once unless it is a replay."""
    batch = setup.batches[message.producer][message.batch]
    key, lists = redis.keys[message.producer], redis.lists
    force = message.force and setup.flaw is not Flaw.REPLAY_IS_A_PUSH
    if not force:
        if batch.last <= key.seen:
            return redis, Reply("skip", key.seen, key.saved, lists)
        if key.seen < message.need and setup.flaw is not Flaw.PUSH_WITHOUT_NEED:
            return redis, Reply("gap", key.seen, key.saved, lists)
    if not force or setup.flaw is Flaw.REPLAY_ADVANCES_SEEN:
        key = key._replace(seen=batch.last)
    keys = with_item(redis.keys, message.producer, key)
    unsaved = len(redis.pending)
    if unsaved and unsaved + len(batch.entries) > setup.backlog:
        if setup.flaw is Flaw.FULL_REDIS_HAS_SEEN_IT:
            redis = redis._replace(keys=keys)
        return redis, Reply("full", redis.keys[message.producer].seen, key.saved, lists)
    live = tuple(had + more for had, more in zip(redis.live, counted(batch.entries), strict=True))
    redis = redis._replace(listed=redis.listed + batch.entries, live=live, keys=keys)
    return redis, Reply("ok", key.seen, key.saved, lists)


def claim(
    setup: Setup, redis: Redis, token: int, *, counted: bool = True
) -> tuple[Redis, int | None]:
    """Take over a claim whose lease has ended, or else all that is listed; the claim's token."""
    claims = redis.claims
    known = [claim for claim in claims if claim.known]
    if known and redis.listed and setup.flaw is Flaw.CLAIM_OVERWRITES:
        claims = ()
    elif known:
        free = next((claim for claim in known if not claim.leased), None)
        if free is None or setup.flaw is Flaw.CLAIM_IS_NEVER_TAKEN_OVER:
            return redis, None
        return _with(redis, free, free._replace(leased=True)), free.token
    if not redis.listed:
        return redis, None
    claims = (*claims, Claim(token, redis.listed, leased=True))
    made = redis.claims_made + counted
    return redis._replace(listed=(), claims=claims, claims_made=made), token


def adopt(setup: Setup, redis: Redis) -> Redis:
    """Have claims found again of which the lease was lost."""
    if setup.flaw is Flaw.CLAIM_WITHOUT_A_LEASE_STAYS:
        return redis
    claims = (c if c.known else c._replace(known=True, leased=False) for c in redis.claims)
    return redis._replace(claims=tuple(claims))


def find(redis: Redis, token: int | None) -> Claim | None:
    """The claim of that name."""
    return next((claim for claim in redis.claims if claim.token == token), None)


def end(redis: Redis, token: int) -> Redis:
    """Remove the lease of a claim of which nothing is left."""
    claim = find(redis, token)
    return redis if claim is None or claim.entries else _with(redis, claim, None)


def _with(redis: Redis, claim: Claim, after: Claim | None) -> Redis:
    changed = (after if one is claim else one for one in redis.claims)
    return redis._replace(claims=tuple(one for one in changed if one is not None))


def read(redis: Redis, token: int, most: int) -> tuple[int, tuple[int, ...]]:
    """The claim's length and its head."""
    claim = find(redis, token)
    return (0, ()) if claim is None else (len(claim.entries), claim.entries[:most])


def acknowledge(
    setup: Setup, redis: Redis, message: Acknowledgement
) -> tuple[Redis, tuple[tuple[int, int], ...]]:
    """Take what SQL has off the claim, and T += (A - B) - d, B = A; where B has seen a later commit, that too."""
    claim = find(redis, message.token)
    length = 0 if claim is None else len(claim.entries)
    mine = length > 0 and (length == message.length or setup.flaw is Flaw.ACK_WHATEVER_THE_LENGTH)
    if mine and claim is not None:
        rest = claim.entries[message.taken :]
        redis = _with(redis, claim, claim._replace(entries=rest, leased=True) if rest else None)
    ahead = []
    for figures in message.figures:
        part = redis.parts[figures.function]
        if part is not None and part.db == message.db and part.total > figures.total:
            ahead.append((figures.function, part.total))
        redis = _merge(setup, redis, message, figures, mine=mine)
    for producer, saved in message.saved:
        key = redis.keys[producer]
        newer = key.db != message.db or key.no < message.no
        if newer or setup.flaw is Flaw.ACK_BELIEVES_OLD_SAVED:
            key = Key(key.seen, saved, message.db, message.no)
            redis = redis._replace(keys=with_item(redis.keys, producer, key))
    return redis, tuple(ahead)


def _merge(
    setup: Setup, redis: Redis, message: Acknowledgement, figures: Figures, *, mine: bool
) -> Redis:
    """Let T and B of one function learn what SQL has."""
    flaw = setup.flaw
    if flaw is Flaw.ACK_MERGES_ONLY_WITH_THE_CLAIM and not mine and message.token is not None:
        return redis
    at, now = figures.function, Part(message.db, figures.total)
    live, part = redis.live[at], redis.parts[at]
    quiet = redis.quiet
    even = figures.previous is not None and part == Part(message.db, figures.previous)
    if flaw is Flaw.ACK_ALWAYS_TAKES_THE_SHORT_CUT:
        even = part is not None
    if mine and even and not quiet:
        return redis._replace(parts=with_item(redis.parts, at, now))
    if mine:
        live -= figures.delta
    newer = part is None or part.db != now.db or part.total < now.total
    if newer or flaw is Flaw.ACK_BELIEVES_OLD_TOTALS:
        live += now.total - (part.total if part else 0)
        part = now
    if (quiet or flaw is Flaw.ACK_ALWAYS_SETTLES) and part is not None:
        live = part.total
    return redis._replace(
        live=with_item(redis.live, at, live), parts=with_item(redis.parts, at, part)
    )
