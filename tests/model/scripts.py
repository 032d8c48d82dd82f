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
    return Reply("look", key.seen, key.saved)


def push(setup: Setup, redis: Redis, message: Push) -> tuple[Redis, Reply]:
    """Append a batch, at most once unless it is a replay."""
    batch = setup.batches[message.producer][message.batch]
    key = redis.keys[message.producer]
    force = message.force and setup.flaw is not Flaw.REPLAY_IS_A_PUSH
    if not force:
        if batch.last <= key.seen:
            return redis, Reply("skip", key.seen, key.saved)
        if key.seen < message.need and setup.flaw is not Flaw.PUSH_WITHOUT_NEED:
            return redis, Reply("gap", key.seen, key.saved)
    if not force or setup.flaw is Flaw.REPLAY_ADVANCES_SEEN:
        key = key._replace(seen=batch.last)
    keys = with_item(redis.keys, message.producer, key)
    unsaved = len(redis.pending)
    if unsaved and unsaved + len(batch.entries) > setup.backlog:
        if setup.flaw is Flaw.FULL_REDIS_HAS_SEEN_IT:
            redis = redis._replace(keys=keys)
        return redis, Reply("full", redis.keys[message.producer].seen, key.saved)
    live = tuple(had + more for had, more in zip(redis.live, counted(batch.entries), strict=True))
    redis = redis._replace(listed=redis.listed + batch.entries, live=live, keys=keys)
    return redis, Reply("ok", key.seen, key.saved)


def claim(setup: Setup, redis: Redis, token: int) -> tuple[Redis, int | None]:
    """Take over a claim whose lease has ended, or else all that is listed; the claim's token."""
    had = redis.claim
    if had is not None and not (redis.listed and setup.flaw is Flaw.CLAIM_OVERWRITES):
        if had.leased or setup.flaw is Flaw.CLAIM_IS_NEVER_TAKEN_OVER:
            return redis, None
        return redis._replace(claim=had._replace(leased=True)), had.token
    if not redis.listed:
        return redis, None
    return redis._replace(listed=(), claim=Claim(token, redis.listed, leased=True)), token


def read(redis: Redis, token: int, most: int) -> tuple[int, tuple[int, ...]]:
    """The claim's length and its head."""
    if redis.claim is None or redis.claim.token != token:
        return 0, ()
    return len(redis.claim.entries), redis.claim.entries[:most]


def acknowledge(
    setup: Setup, redis: Redis, message: Acknowledgement
) -> tuple[Redis, tuple[tuple[int, int], ...]]:
    """Take what SQL has off the claim, and T += (A - B) - d, B = A; where B has seen a later commit, that too."""
    length, _ = read(redis, message.token, 0) if message.token is not None else (0, ())
    mine = length > 0 and (length == message.length or setup.flaw is Flaw.ACK_WHATEVER_THE_LENGTH)
    if mine and redis.claim is not None:
        rest = redis.claim.entries[message.taken :]
        claim = Claim(redis.claim.token, rest, leased=True) if rest else None
        redis = redis._replace(claim=claim)
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
    quiet = not redis.pending
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
