"""What there is at a moment. Everything here is hashable, as each world is looked at once.

Tuples of different kinds are equal if their contents are, so no two phases of a worker, and no two messages, have the
same shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

Bits: TypeAlias = int  # a set of entries, or of a producer's batches
Counts: TypeAlias = tuple[int, ...]  # by function

FUNCTIONS = 2  # entry e is a call of function e % FUNCTIONS


def counted(entries: Iterable[int]) -> Counts:
    """How many of the entries are calls of each function."""
    counts = [0] * FUNCTIONS
    for entry in entries:
        counts[entry % FUNCTIONS] += 1
    return tuple(counts)


def bits_of(members: Iterable[int]) -> Bits:
    """The set of them."""
    bits = 0
    for member in members:
        bits |= 1 << member
    return bits


def members(bits: Bits) -> Iterator[int]:
    """The members of a set, in order."""
    return (member for member in range(bits.bit_length()) if bits & 1 << member)


def with_item(items: tuple[T, ...], index: int, item: T) -> tuple[T, ...]:
    """The tuple with another item in one place."""
    return (*items[:index], item, *items[index + 1 :])


# Redis


class Claim(NamedTuple):
    """A claim; `leased` until its lease has ended. There is one, but for those of which Redis has lost the lease."""

    token: int
    entries: tuple[int, ...]
    leased: bool
    known: bool = True


class Part(NamedTuple):
    """B: what of a function's live total is SQL's. A total grows with each commit, so it is the commit's number too."""

    db: int
    total: int


class Key(NamedTuple):
    """What Redis keeps of a producer, until it expires."""

    seen: int = 0
    saved: Bits = 0
    db: int = 0
    no: int = 0


class Redis(NamedTuple):
    """`metrics_list`, the claims, T and B by function, the producers' keys, and how many claims were made."""

    listed: tuple[int, ...]
    claims: tuple[Claim, ...]
    live: Counts
    parts: tuple[Part | None, ...]
    keys: tuple[Key, ...]
    claims_made: int

    @property
    def pending(self) -> tuple[int, ...]:
        """All elements that are not known to be saved."""
        return sum((claim.entries for claim in self.claims), self.listed)

    @property
    def quiet(self) -> bool:
        """Whether nothing waits that a worker would find."""
        return not (self.listed or any(claim.known for claim in self.claims))

    @property
    def lists(self) -> range:
        """The numbers of the lists of which there may be something."""
        newest = self.claims_made
        if any(claim.known for claim in self.claims):
            return range(newest - 1, newest + 1)
        return range(newest if self.listed else newest + 1, newest + 1)


# SQL


class Sql(NamedTuple):
    """The database: its id, the ledger, and the rows of each function."""

    db: int
    ledger: Bits
    rows: Counts

    @property
    def no(self) -> int:
        """The number of the last commit; one that added no row says nothing new, and is not counted here."""
        return sum(self.rows)


# Messages


class Push(NamedTuple):
    """A batch on its way to Redis."""

    producer: int
    batch: int
    need: int
    force: bool


class Reply(NamedTuple):
    """What Redis answers to a batch or a look: `ok`, `skip`, `gap`, `full` or `look`."""

    kind: str
    seen: int
    saved: Bits
    lists: range  # as they were before


class Figures(NamedTuple):
    """What an acknowledgement says of one function: d, A, and A before if all of d was newly saved."""

    function: int
    delta: int
    total: int
    previous: int | None


class Acknowledgement(NamedTuple):
    """What SQL has committed of a claim, or (without a token) what it has of some functions."""

    token: int | None
    length: int
    taken: int
    figures: tuple[Figures, ...]
    saved: tuple[tuple[int, Bits], ...]  # producer, its entries in SQL
    db: int
    no: int


# Processes


class Producer(NamedTuple):
    """A process that records; its batches are made, sent, let go and lost."""

    cut: int = 0  # how many it has made
    sent: Bits = 0  # those that Redis has acknowledged, and has not lost since
    given_up: Bits = 0  # those whose bytes it gave up at its memory limit
    lost: Bits = 0  # those let go that Redis has lost since
    forced: Bits = 0  # those that Redis has seen and lost, to be sent again
    lists: tuple[int, ...] = ()  # of each that was sent, the number of its list, or one before
    known: Bits = 0  # the entries that SQL has, as far as it was told
    alive: bool = True
    spool: Bits = 0  # after its death: those on disk that wait for another process


class Reading(NamedTuple):
    """A worker that is about to read its claim."""

    token: int


class Saving(NamedTuple):
    """A worker that has read the head of its claim, and is about to commit it."""

    token: int
    length: int
    chunk: tuple[int, ...]


class Acknowledging(NamedTuple):
    """A worker that has committed, and is about to tell Redis."""

    message: Acknowledgement
    emptied: bool  # the chunk was all of the claim


class Reconciling(NamedTuple):
    """A worker that has read SQL's totals, and tells Redis those of one function after the other."""

    function: int
    totals: Counts
    db: int
    no: int


class Doubting(NamedTuple):
    """A worker to which Redis has shown a later commit than its own: (function, count) pairs."""

    token: int | None
    db: int
    ahead: tuple[tuple[int, int], ...]


Phase: TypeAlias = Reading | Saving | Acknowledging | Reconciling | Doubting
Message: TypeAlias = Push | Acknowledgement


class Faults(NamedTuple):
    """How often each fault may still happen."""

    crash: int = 0  # a worker's
    death: int = 0  # a producer's
    spooled_death: int = 0  # the same, with what it kept on disk
    lost_reply: int = 0
    late: int = 0  # a message arrives, after its sender has given it up
    repeated: int = 0  # a message arrives, and later once more
    emptied: int = 0  # Redis
    replica: int = 0  # takes over the state of Redis
    failover: int = 0  # to that replica
    expiry: int = 0  # of a producer's key
    evicted: int = 0  # another key alone
    memory_limit: int = 0  # a producer lets its oldest batch go
    replay: int = 0  # of a spooled batch that was sent already
    reconcile: int = 0  # no fault, but as free in time
    copy: int = 0  # of the database
    restored: int = 0  # that copy
    deleted: int = 0  # the database


class World(NamedTuple):
    """All of it."""

    redis: Redis
    replica: Redis | None
    sql: Sql
    copy: Sql | None
    producers: tuple[Producer, ...]
    workers: tuple[Phase | None, ...]
    late: tuple[Message, ...]
    claims: int  # how many there were, for their names
    databases: int  # the same of databases
    redis_lost: bool  # data, some time
    evicted: bool  # a key of it
    sql_lost: bool
    faults: Faults


Steps: TypeAlias = "Iterator[tuple[str, World]]"  # what may come next, by name


def spent(world: World, fault: str) -> World:
    """The world in which a fault may happen once less."""
    left = getattr(world.faults, fault) - 1
    return world._replace(faults=world.faults._replace(**{fault: left}))


def underway(world: World, message: Message, label: str, unheard: World, heard: World) -> Steps:
    """The worlds in which a message arrives late, and in which it does so once more, if they may."""
    if message not in world.late:
        late = (*world.late, message)
        if world.faults.late:
            yield f"{label}: on its way", spent(unheard, "late")._replace(late=late)
        if world.faults.repeated:
            yield f"{label}, and again", spent(heard, "repeated")._replace(late=late)
