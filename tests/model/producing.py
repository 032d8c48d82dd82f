"""The steps of producers, and of whoever replays what a dead one has left on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model import scripts
from tests.model.setup import Flaw, Setup
from tests.model.world import Push, Reply, bits_of, spent, underway, with_item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.world import Producer, Steps, World


def kept(setup: Setup, producer: Producer, who: int) -> Iterator[int]:
    """The batches of which the bytes are still there, in the process or, after its death, on disk; in order."""
    forgets_sent = (
        Flaw.PRODUCER_FORGETS_WHAT_IS_SENT if producer.alive else Flaw.SPOOL_FORGETS_WHAT_IS_SENT
    )
    gone = ~producer.spool if not producer.alive else producer.given_up
    if setup.flaw is forgets_sent:
        gone |= producer.sent
    for index, batch in enumerate(setup.batches[who][: producer.cut]):
        if not gone & 1 << index and batch.bits & ~producer.known:
            yield index


def following(setup: Setup, producer: Producer, who: int) -> Push | None:
    """The batch to push now, with the number that Redis must have seen, since it acknowledged it."""
    guarded = producer.given_up & ~producer.lost
    need = setup.batches[who][guarded.bit_length() - 1].last if guarded else 0
    for index in kept(setup, producer, who):
        if not producer.sent & 1 << index:
            forced = not producer.alive or bool(producer.forced & 1 << index)
            return Push(who, index, need if producer.alive else 0, force=forced)
        need = setup.batches[who][index].last
    return None


def replied(
    setup: Setup, producer: Producer, who: int, reply: Reply, batch: int | None = None
) -> Producer:
    """What is made of an answer, to a batch or to a look."""
    producer = producer._replace(known=producer.known | reply.saved)
    if not setup.earlier_producers:
        producer = _without_lost(setup, producer, who, reply.lists)
    if batch is not None and reply.kind in {"ok", "skip"}:
        lists = producer.lists or (0,) * len(setup.batches[who])
        return producer._replace(
            sent=producer.sent | 1 << batch,
            forced=producer.forced & ~(1 << batch),
            lists=with_item(lists, batch, reply.lists.stop - 1),
        )
    ignored = not producer.alive or setup.flaw is Flaw.PRODUCER_IGNORES_GAPS
    if reply.kind not in {"gap", "look"} or ignored:
        return producer
    missing = 0
    for index, one in enumerate(setup.batches[who][: producer.cut]):
        if one.last > reply.seen:
            missing |= 1 << index
    lost = producer.lost | producer.given_up & missing
    if setup.flaw is Flaw.PRODUCER_HIDES_WHAT_IT_LET_GO:
        lost = producer.lost
    return producer._replace(
        sent=producer.sent & ~missing, forced=producer.forced & ~missing, lost=lost
    )


def _without_lost(setup: Setup, producer: Producer, who: int, lists: range) -> Producer:
    """What was in a list of which nothing is left is saved, or lost."""
    gone = 0
    for index, number in enumerate(producer.lists):
        if number not in lists and (producer.sent | producer.given_up) & 1 << index:
            gone |= 1 << index
    again = gone & producer.sent & bits_of(kept(setup, producer, who))
    forced = 0 if setup.flaw is Flaw.LOST_BATCH_IS_NOT_FORCED else again
    lost = producer.lost | gone & producer.given_up
    if setup.flaw is Flaw.PRODUCER_HIDES_WHAT_IT_LET_GO:
        lost = producer.lost
    return producer._replace(
        sent=producer.sent & ~again, forced=producer.forced | forced, lost=lost
    )


def cut(setup: Setup, world: World, who: int) -> Steps:
    """A producer makes its next batch."""
    producer = world.producers[who]
    if producer.alive and producer.cut < len(setup.batches[who]):
        made = producer._replace(cut=producer.cut + 1)
        yield f"P{who} makes b{producer.cut}", _with(world, who, made)


def push(setup: Setup, world: World, who: int) -> Steps:
    """A batch is sent, by its producer or by a replay, and with it goes what may go wrong."""
    message = following(setup, world.producers[who], who)
    if message is not None:
        yield from _sent(setup, world, message)


def replay_again(setup: Setup, world: World, who: int) -> Steps:
    """A batch on disk is sent once more, or by somebody else while its producer lives: nobody can see that."""
    producer = world.producers[who]
    if not world.faults.replay:
        return
    for batch in kept(setup, producer, who):
        if producer.alive or producer.sent & 1 << batch:
            redis, _ = scripts.push(setup, world.redis, Push(who, batch, 0, force=True))
            yield f"b{batch} of P{who} is replayed", spent(world._replace(redis=redis), "replay")


def _sent(setup: Setup, world: World, message: Push) -> Steps:
    who, batch = message.producer, message.batch
    label = f"P{who} {'replays' if message.force else 'pushes'} b{batch}, need {message.need}"
    redis, reply = scripts.push(setup, world.redis, message)
    arrived = world._replace(redis=redis)
    producer = replied(setup, world.producers[who], who, reply, batch)
    heard = _with(arrived, who, producer)
    yield f"{label}: {reply.kind}", heard
    if world.faults.lost_reply and redis != world.redis:
        yield f"{label}: {reply.kind}, the reply is lost", spent(arrived, "lost_reply")
    yield from underway(world, message, label, world, heard)


def look(setup: Setup, world: World, who: int) -> Steps:
    """A producer, or a replay, asks what has become of its batches."""
    producer = world.producers[who]
    looked = replied(setup, producer, who, scripts.look(world.redis, who))
    if looked != producer and (producer.alive or producer.spool):
        yield f"P{who} looks", _with(world, who, looked)


def given_up(setup: Setup, world: World, who: int) -> Steps:
    """A producer at its memory limit gives up the bytes of its oldest batch, if Redis has acknowledged that."""
    producer = world.producers[who]
    if not (producer.alive and world.faults.memory_limit):
        return
    oldest = next(kept(setup, producer, who), None)
    if oldest is not None and producer.sent & 1 << oldest:
        less = producer._replace(given_up=producer.given_up | 1 << oldest)
        yield f"P{who} lets b{oldest} go", spent(_with(world, who, less), "memory_limit")


def die(setup: Setup, world: World, who: int) -> Steps:
    """A producer dies, with nothing left or with what it kept on disk."""
    producer = world.producers[who]
    if not producer.alive:
        return
    dead = producer._replace(alive=False, sent=0, forced=0, lists=())
    if world.faults.death:
        yield f"P{who} dies", spent(_with(world, who, dead), "death")
    if world.faults.spooled_death:
        spool = sum(1 << index for index in kept(setup, producer, who))
        spooled = _with(world, who, dead._replace(spool=spool))
        yield f"P{who} spools and dies", spent(spooled, "spooled_death")


def _with(world: World, who: int, producer: Producer) -> World:
    return world._replace(producers=with_item(world.producers, who, producer))


def begin_replay(setup: Setup, world: World, who: int) -> World:
    """What a dead producer has left is sent again, whatever was sent of it."""
    if setup.flaw is Flaw.SPOOL_FORGETS_WHAT_IS_SENT:
        return world
    return _with(world, who, world.producers[who]._replace(sent=0))


TRANSITIONS = (cut, push, replay_again, look, given_up, die)
