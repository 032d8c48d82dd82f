"""What a world begins with, and how the protocol may be spoilt in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property
from typing import NamedTuple

from tests.model.world import FUNCTIONS, Bits, Faults, Key, Producer, Redis, Sql, World, bits_of


class Flaw(Enum):
    """One rule of the protocol left out."""

    PUSH_WITHOUT_NEED = auto()
    FULL_REDIS_HAS_SEEN_IT = auto()
    REPLAY_IS_A_PUSH = auto()
    REPLAY_ADVANCES_SEEN = auto()
    SPOOL_FORGETS_WHAT_IS_SENT = auto()
    PRODUCER_FORGETS_WHAT_IS_SENT = auto()
    PRODUCER_IGNORES_GAPS = auto()
    PRODUCER_HIDES_WHAT_IT_LET_GO = auto()
    CLAIM_OVERWRITES = auto()
    CLAIM_IS_NEVER_TAKEN_OVER = auto()
    COMMIT_WITHOUT_LEDGER = auto()
    LEDGER_AFTER_THE_COMMIT = auto()
    ACK_WHATEVER_THE_LENGTH = auto()
    ACK_TAKES_BACK_NEW_ONES_ONLY = auto()
    ACK_MERGES_ONLY_WITH_THE_CLAIM = auto()
    ACK_BELIEVES_OLD_TOTALS = auto()
    ACK_BELIEVES_OLD_SAVED = auto()
    ACK_ALWAYS_TAKES_THE_SHORT_CUT = auto()
    ACK_ALWAYS_SETTLES = auto()
    NO_RECONCILING = auto()
    LOST_BATCH_IS_NOT_FORCED = auto()
    CLAIM_WITHOUT_A_LEASE_STAYS = auto()
    NO_NEW_ID_AFTER_A_RESTORE = auto()


class Batch(NamedTuple):
    """A run of a producer's entries, and the number of the last one."""

    entries: tuple[int, ...]
    bits: Bits
    last: int


@dataclass(frozen=True)
class Setup:
    """A small world to explore."""

    sizes: tuple[tuple[int, ...], ...]  # of each producer's batches
    faults: Faults
    workers: int = 2
    chunks: tuple[int, ...] = (99,)  # how many elements a worker may read in one go
    claims: int = 2  # how many there may be in all
    backlog: int = 99  # entries in Redis past which a batch is refused
    earlier_producers: bool = False  # which do not go by the lists
    earlier_workers: bool = False  # beside the others, which do not count their claims
    flaw: Flaw | None = None

    @cached_property
    def batches(self) -> tuple[tuple[Batch, ...], ...]:
        """Each producer's; entries are numbered through all of them."""
        batches, entry = [], 0
        for sizes in self.sizes:
            own, last = [], 0
            for size in sizes:
                entries = tuple(range(entry, entry + size))
                entry, last = entry + size, last + size
                own.append(Batch(entries, bits_of(entries), last))
            batches.append(tuple(own))
        return tuple(batches)

    @cached_property
    def entries_of(self) -> tuple[Bits, ...]:
        """All entries of each producer."""
        return tuple(sum(batch.bits for batch in own) for own in self.batches)

    @cached_property
    def empty_redis(self) -> Redis:
        """As at the start, or after it has lost everything."""
        producers = len(self.sizes)
        return Redis((), (), (0,) * FUNCTIONS, (None,) * FUNCTIONS, (Key(),) * producers, 0)

    @cached_property
    def beginning(self) -> World:
        """Nothing has happened."""
        return World(
            redis=self.empty_redis,
            replica=None,
            sql=Sql(0, 0, (0,) * FUNCTIONS),
            copy=None,
            producers=(Producer(),) * len(self.sizes),
            workers=(None,) * self.workers,
            late=(),
            claims=0,
            databases=1,
            redis_lost=False,
            evicted=False,
            sql_lost=False,
            faults=self.faults,
        )

    @cached_property
    def at_rest(self) -> Setup:
        """The same, where all work is done until there is none."""
        return replace(self, claims=10**9, chunks=self.chunks[-1:])
