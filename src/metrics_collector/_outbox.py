"""A producer's batches: numbered, kept until SQL has them, and given up only when a bound says so.

No I/O here. The sender asks what to push, and says what Redis answered; the protocol's rules for a producer are these.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from metrics_collector import _entries
from metrics_collector._intervals import Intervals

if TYPE_CHECKING:
    from collections.abc import Callable

    from metrics_collector._recorder import Record
    from metrics_collector._records import PushReply
    from metrics_collector._totals import Totals

SLICE: Final = 200  # records encoded between two pauses for the loop
BATCH: Final = 2000  # entries sent in one go


class Batch:
    """A run of entries, `first` to `last`, whose bytes and deltas never change.

    `sent` tells whether Redis has acknowledged it, and has not lost it since.
    """

    __slots__ = ("deltas", "first", "functions", "last", "payload", "sent")

    def __init__(self, first: int, lines: list[str], totals: dict[str, Totals]) -> None:
        self.first = first
        self.last = first + len(lines) - 1
        self.payload = "\n".join(lines).encode()
        self.functions = tuple(totals)
        self.deltas = "[" + ",".join(t.dumps() for t in totals.values()) + "]"
        self.sent = False

    def __len__(self) -> int:
        return self.last - self.first + 1


class Counts(NamedTuple):
    """Where the entries are; the fields are those of `Statistics`."""

    recorded: int
    buffered: int
    sent: int
    saved: int
    dropped: int
    retried: int


class Outbox:
    """The entries of one producer, from the recorder's buffer until SQL has them.

    Args:
        buffer: the recorder's.
        monotonic, wall: the clocks.
    """

    def __init__(
        self,
        buffer: deque[Record],
        *,
        monotonic: Callable[[], float] = time.perf_counter,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.producer = secrets.token_hex(8)
        self._buffer = buffer
        self._monotonic = monotonic
        self._wall = wall
        # Invariant under the lock: an entry drained from the buffer is counted in exactly one of `_lines` (numbered,
        # its batch still open), `_batches`, `_unguarded`, `_lost`, `_known` and `_dropped`, of which a number that is
        # `_known` counts as that alone. Reentrant, because a signal handler or a finaliser may count in the midst.
        self._lock = threading.RLock()
        self._dropped = 0
        self._retried = 0
        self._lines: list[str] = []
        self._totals: dict[str, Totals] = {}
        self._last = 0  # number of the newest entry
        self._batches: deque[Batch] = deque()  # kept ones, in order
        self._unguarded = Intervals()  # acknowledged, their bytes given up at the bound
        self._lost = Intervals()  # were that, and Redis has lost them since
        self._known = Intervals()  # saved, says SQL
        self._known_text = ""
        self._in_flight: Batch | None = None

    @property
    def mark(self) -> int:
        """How many records there were until now."""
        with self._lock:
            return self._drained + len(self._buffer)

    @property
    def open(self) -> bool:
        """Whether a batch is being filled."""
        return bool(self._lines)

    @property
    def kept(self) -> bool:
        """Whether anything waits for Redis or for SQL."""
        with self._lock:
            return bool(self._batches or self._lines) or any(
                not self._known.covers(first, last) for first, last in self._unguarded
            )

    @property
    def unsent(self) -> bool:
        """Whether anything is not in Redis."""
        with self._lock:
            return bool(
                self._buffer or self._lines or any(not batch.sent for batch in self._batches)
            )

    def has_before(self, mark: int) -> bool:
        """Whether the buffer holds records that were there at the `mark`."""
        with self._lock:
            return bool(self._buffer) and self._drained < mark

    def fill(self, batch: int = BATCH) -> bool:
        """Encode a slice of the buffer into the open batch; whether that has its `batch` entries now."""
        offset = self._wall() - self._monotonic()
        with self._lock:
            records: list[Record] = []
            try:
                for _ in range(min(SLICE, batch - len(self._lines), len(self._buffer))):
                    records.append(self._buffer.popleft())  # noqa: PERF401 - Ctrl-C may come in between
                lines = _entries.encode(
                    records, self.producer, self._last + 1, offset, self._totals
                )
            except BaseException as error:
                self._totals = _entries.totals_of(self._lines)  # without the part of this slice
                if isinstance(error, Exception):  # it would fail again
                    self._dropped += len(records)
                else:
                    self._buffer.extendleft(reversed(records))
                raise
            self._lines += lines
            self._last += len(lines)
            return len(self._lines) >= batch

    def close_batch(self) -> None:
        """Make the open batch one that can be sent."""
        with self._lock:
            if self._lines:
                batch = Batch(self._last - len(self._lines) + 1, self._lines, self._totals)
                self._batches.append(batch)
                self._lines, self._totals = [], {}

    def next(self) -> tuple[Batch, int] | None:
        """The batch to push now, and the number that Redis must have seen, since it acknowledged it; or 0."""
        with self._lock:
            *_, (_, need) = (0, 0), *self._unguarded
            for batch in self._batches:
                if not batch.sent:
                    if batch is self._in_flight:
                        self._retried += len(batch)
                    self._in_flight = batch
                    return batch, need
                need = batch.last
            return None

    def replied(self, reply: PushReply, batch: Batch | None = None) -> int:
        """Take in what Redis answered to the batch, or to a look.

        Returns:
            How many entries turn out to be lost: Redis has them no more, and here they were let go.
        """
        with self._lock:
            if reply.saved != self._known_text:
                self._known.update(Intervals.parse(reply.saved))
                self._known_text = reply.saved
                self._batches = deque(
                    kept for kept in self._batches if not self._known.covers(kept.first, kept.last)
                )
            if batch is not None:
                self._in_flight = None
            if reply.kind in {"ok", "skip"}:
                if batch is not None:
                    batch.sent = True
            elif reply.kind in {"gap", "look"}:
                return self._resend_above(reply.seen)
            return 0

    def _resend_above(self, seen: int) -> int:
        for batch in self._batches:
            if batch.sent and batch.last > seen:
                batch.sent = False
                self._retried += len(batch)
        before = self._count_lost()
        unguarded, self._unguarded = self._unguarded, Intervals()
        for first, last in unguarded:
            if first <= seen:
                self._unguarded.add(first, min(last, seen))
            if last > seen:
                self._lost.add(max(first, seen + 1), last)
        return self._count_lost() - before

    def _count_lost(self) -> int:
        return sum(last - first + 1 - self._known.count(first, last) for first, last in self._lost)

    def enforce(self, most: int) -> int:
        """Hold at most `most` entries: let go of acknowledged batches first, then drop the oldest unnumbered entries.

        Returns:
            How many entries were dropped.
        """
        if len(self._buffer) + self._last < most:  # the usual case, without a lock
            return 0
        with self._lock:
            excess = len(self._buffer) + len(self._lines) + sum(map(len, self._batches)) - most
            while excess > 0 and self._batches and self._batches[0].sent:
                batch = self._batches.popleft()
                self._unguarded.add(batch.first, batch.last)
                excess -= len(batch)
            dropped = min(excess, len(self._buffer)) if excess > 0 else 0
            for _ in range(dropped):
                self._buffer.popleft()
            self._dropped += dropped
            return dropped

    def counts(self) -> Counts:
        """Where all entries are at this moment; safe from any thread."""
        with self._lock:
            waiting = len(self._buffer)
            known = self._known
            unsent = sum(
                len(batch) - known.count(batch.first, batch.last)
                for batch in self._batches
                if not batch.sent
            )
            saved = known.count(1, self._last)
            lost = self._count_lost()
            return Counts(
                recorded=self._drained + waiting,
                buffered=waiting + len(self._lines) + unsent,
                sent=self._last - len(self._lines) - saved - unsent - lost,
                saved=saved,
                dropped=self._dropped + lost,
                retried=self._retried,
            )

    def abandon(self) -> None:
        """Forget everything: after a fork the parent has it, and whoever still uses this here is to do nothing.

        Without the lock, which a thread of the parent may have held.
        """
        self._buffer = deque()
        self._lines, self._totals = [], {}
        self._batches = deque()

    @property
    def _drained(self) -> int:
        return self._last + self._dropped
