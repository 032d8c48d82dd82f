"""The worlds that are explored, by name."""

from __future__ import annotations

from typing import Final

from tests.model.setup import Flaw, Setup
from tests.model.world import Faults

# But for spools, databases that are replaced, and messages that come again.
MOST_OF_ALL: Final = Faults(*[1] * len(Faults._fields))._replace(
    spooled_death=0, replay=0, copy=0, restored=0, deleted=0, repeated=0
)

# Each completely, in seconds.
SMALL: Final = {
    "dying": Setup(((1,),), Faults(emptied=1, death=1, reconcile=1)),
    "emptied": Setup(((1, 1),), Faults(emptied=1, lost_reply=1, crash=1)),
    "evicted": Setup(((1, 1),), Faults(evicted=1, crash=1), workers=1),
    "evicted and released": Setup(((1, 1),), Faults(evicted=1, memory_limit=1), workers=1),
    "earlier producers": Setup(
        ((1, 1),), Faults(emptied=1, crash=1), workers=1, earlier_producers=True
    ),
    "earlier workers": Setup(((1, 1),), Faults(evicted=1, crash=1), earlier_workers=True),
    "older": Setup(((1, 1),), Faults(replica=1, failover=1, crash=1), workers=1),
    "late": Setup(((1, 1),), Faults(late=1, expiry=1)),
    "repeated": Setup(((1, 1),), Faults(repeated=1, expiry=1), workers=1),
    "two workers": Setup(((1, 1),), Faults(crash=1, reconcile=1)),
    "chunks": Setup(((2, 1),), Faults(crash=1, reconcile=1), chunks=(1, 2)),
    "two producers": Setup(((1,), (1, 1)), Faults(emptied=1, crash=1), workers=1),
    "full": Setup(((2, 1),), Faults(emptied=1, lost_reply=1), backlog=2),
    "memory limit": Setup(((1, 1, 1),), Faults(memory_limit=1, emptied=1), workers=1),
    "spool": Setup(((1, 1),), Faults(spooled_death=1, replay=1, emptied=1), workers=1),
    "restored": Setup(((1, 1, 1),), Faults(copy=1, restored=1, crash=1), workers=1, claims=3),
    "deleted": Setup(((1, 1),), Faults(deleted=1, crash=1)),
}

# Each as far as one likes: hundreds of thousands of worlds, or millions.
LARGE: Final = {
    "emptied twice": Setup(
        ((1, 1),), Faults(emptied=2, crash=1, reconcile=1, lost_reply=1), claims=3
    ),
    "evicted twice": Setup(((1, 1),), Faults(evicted=2, crash=1, lost_reply=1, late=1), claims=3),
    "evicted chunks": Setup(
        ((2, 1),), Faults(evicted=2, crash=1, reconcile=1), chunks=(1, 2), claims=3
    ),
    "evicted, and older": Setup(
        ((1, 1),), Faults(evicted=1, replica=1, failover=1, expiry=1, crash=1), workers=1
    ),
    "evicted from two": Setup(((1,), (1, 1)), Faults(evicted=2, memory_limit=1, death=1)),
    "evicted spool": Setup(((1, 1),), Faults(evicted=2, spooled_death=1, replay=1, crash=1)),
    "older twice": Setup(
        ((1, 1, 1),), Faults(replica=2, failover=2, crash=1, lost_reply=1), claims=3
    ),
    "all late": Setup(((1, 1),), Faults(late=2, repeated=1, emptied=1, expiry=1), claims=3),
    "late reconciling": Setup(((1, 1),), Faults(late=2, reconcile=2, replica=1, failover=1)),
    "small chunks": Setup(
        ((2, 1),), Faults(crash=2, emptied=1, repeated=1), chunks=(1, 2), claims=3
    ),
    "overlapping chunks": Setup(
        ((3,),), Faults(replica=1, failover=1, crash=2, expiry=1), chunks=(1, 2)
    ),
    "two of each": Setup(((1,), (1, 1)), Faults(emptied=1, crash=1, death=1, late=1)),
    "full and lossy": Setup(
        ((2, 1, 1),), Faults(emptied=1, lost_reply=1, late=1, crash=1), backlog=2, claims=3
    ),
    "memory limit and lossy": Setup(
        ((1, 1, 1),), Faults(memory_limit=2, emptied=1, late=1, lost_reply=1, replica=1, failover=1)
    ),
    "spool and lossy": Setup(
        ((1, 1),), Faults(spooled_death=1, replay=2, emptied=1, lost_reply=1, late=1)
    ),
    "restored twice": Setup(
        ((1, 1, 1),), Faults(copy=1, restored=2, late=1, reconcile=1), claims=3
    ),
    "deleted and lossy": Setup(((1, 1),), Faults(deleted=1, emptied=1, crash=1, late=1), claims=3),
    "everything": Setup(((2,), (1,)), MOST_OF_ALL, chunks=(1, 2)),
}

ALL: Final = SMALL | LARGE

# Without these, producers send again what was lost, as they go by the lists; earlier ones do not.
MADE_GOOD: Final = {
    Flaw.PUSH_WITHOUT_NEED,
    Flaw.FULL_REDIS_HAS_SEEN_IT,
    Flaw.REPLAY_ADVANCES_SEEN,
    Flaw.PRODUCER_IGNORES_GAPS,
    Flaw.ACK_BELIEVES_OLD_SAVED,
}

# In which world each rule of the protocol is missed.
MISSED_IN: Final = {
    Flaw.PUSH_WITHOUT_NEED: "emptied",
    Flaw.FULL_REDIS_HAS_SEEN_IT: "full",
    Flaw.REPLAY_IS_A_PUSH: "spool",
    Flaw.REPLAY_ADVANCES_SEEN: "spool",
    Flaw.SPOOL_FORGETS_WHAT_IS_SENT: "spool",
    Flaw.PRODUCER_FORGETS_WHAT_IS_SENT: "emptied",
    Flaw.PRODUCER_IGNORES_GAPS: "emptied",
    Flaw.PRODUCER_HIDES_WHAT_IT_LET_GO: "memory limit",
    Flaw.CLAIM_OVERWRITES: "two workers",
    Flaw.CLAIM_IS_NEVER_TAKEN_OVER: "two workers",
    Flaw.COMMIT_WITHOUT_LEDGER: "two workers",
    Flaw.LEDGER_AFTER_THE_COMMIT: "two workers",
    Flaw.ACK_WHATEVER_THE_LENGTH: "chunks",
    Flaw.ACK_TAKES_BACK_NEW_ONES_ONLY: "two workers",
    Flaw.ACK_MERGES_ONLY_WITH_THE_CLAIM: "emptied",
    Flaw.ACK_BELIEVES_OLD_TOTALS: "two workers",
    Flaw.ACK_BELIEVES_OLD_SAVED: "chunks",
    Flaw.ACK_ALWAYS_TAKES_THE_SHORT_CUT: "two workers",
    Flaw.ACK_ALWAYS_SETTLES: "two workers",
    Flaw.NO_RECONCILING: "emptied",
    Flaw.NO_NEW_ID_AFTER_A_RESTORE: "restored",
    Flaw.LOST_BATCH_IS_NOT_FORCED: "evicted",
    Flaw.CLAIM_WITHOUT_A_LEASE_STAYS: "evicted",
}
