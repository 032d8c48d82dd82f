"""A producer's batches: numbered, kept until SQL has them, and given up only at the memory limit.

No I/O here. The sender asks what to push and what to put on disk, and says what came of it; the protocol's rules for a
producer are these.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from contextlib import contextmanager
from itertools import repeat, starmap
from typing import TYPE_CHECKING, Final, NamedTuple

from metrics_collector._core import entries
from metrics_collector._core.intervals import Intervals
from metrics_collector._core.totals import Tally
from metrics_collector._sending.batch import Batch
from metrics_collector._sending.batch import content as encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from metrics_collector._core.pipeline_types import PushReply
    from metrics_collector._recording.recorder import Record
    from metrics_collector._sending.batch import Content, Place

SLICE: Final = 150  # records encoded between two pauses for other threads
BATCH: Final = 2000  # entries sent in one go


class Counts(NamedTuple):
    """Where the entries are; the fields are those of `Statistics`."""

    recorded: int
    buffered: int
    sent: int
    saved: int
    spooled: int
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
        self.producer = os.urandom(8).hex()
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
        self._tally = Tally()  # of `_lines`
        self._last = 0  # number of the newest entry
        self._batches: deque[Batch] = deque()  # kept ones, in order
        self._unguarded = Intervals()  # acknowledged, their bytes given up at the memory limit
        self._lost = Intervals()  # were that, and Redis has lost them since
        self._known = Intervals()  # saved, says SQL
        self._known_text = ""
        self._in_flight: Batch | None = None  # never without its content once it has that
        self._released: list[Place] = []  # of batches that are kept no more

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

    @property
    def ahead(self) -> bool:
        """Whether a batch is made already beside the one that is to be sent first."""
        with self._lock:
            return sum(not batch.sent for batch in self._batches) > 1

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
                count = min(SLICE, batch - len(self._lines), len(self._buffer))
                # In one call, within which no Ctrl-C comes: so each record is in one of the two.
                records.extend(starmap(self._buffer.popleft, repeat((), count)))
                lines = entries.encode(records, self.producer, self._last + 1, offset, self._tally)
                last = self._last + len(lines)
            except BaseException as error:
                self._tally = entries.tally_of(self._lines)  # without the part of this slice
                if isinstance(error, Exception):  # it would fail again
                    self._dropped += len(records)
                else:
                    self._buffer.extendleft(reversed(records))
                raise
            # Without any call, and so without a Ctrl-C in between.
            self._lines += lines
            self._last = last
            return len(self._lines) >= batch

    def close_batch(self) -> None:
        """Make the open batch one that can be sent."""
        with self._lock:
            if self._lines:
                with self._counting():
                    content = encoded(self._lines, self._tally)
                    made = Batch(self._last - len(self._lines) + 1, self._last, content)
                    tally = Tally()
                # Again, no Ctrl-C comes before the call is over.
                self._lines, self._tally = [], tally
                self._batches.append(made)

    async def make_batch(self, mark: int, batch: int = BATCH) -> None:
        """Make a batch of what was recorded before the mark, of `batch` entries at most.

        In slices, with a pause before each, in which other threads have the interpreter's lock: so the lag of an
        application's loop stays below the time that one slice takes.
        """
        full = False
        while self.has_before(mark) and not full:
            await asyncio.sleep(0)
            full = self.fill(batch)
        uncounted = True
        while uncounted:
            await asyncio.sleep(0)
            with self._lock, self._counting():
                uncounted = self._tally.count(SLICE)
        await asyncio.sleep(0)
        self.close_batch()

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Begin anew with the open batch's figures if a Ctrl-C comes in between."""
        try:
            yield
        except BaseException:
            self._tally = entries.tally_of(self._lines)
            raise

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
                need = max(need, batch.last)
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
                self._keep(
                    kept for kept in self._batches if not self._known.covers(kept.first, kept.last)
                )
            if batch is not None:
                self._in_flight = None
            if reply.kind in {"ok", "skip"}:
                if batch is not None:
                    batch.sent = True
                    if batch.place is not None:  # should Redis lose it, it can be read again
                        batch.content = None
            elif reply.kind in {"gap", "look"}:
                return self._resend_above(reply.seen)
            return 0

    def _keep(self, batches: Iterable[Batch]) -> None:
        before, self._batches = self._batches, deque(batches)
        kept = set(map(id, self._batches))
        self._released += [
            batch.place for batch in before if batch.place is not None and id(batch) not in kept
        ]

    def released(self) -> list[Place]:
        """The places on disk that are needed no more, each given once."""
        with self._lock:
            released, self._released = self._released, []
            return released

    def loose(self, keep: int, *, sent: bool = False) -> list[tuple[Batch, Content]]:
        """The batches that are in memory alone, without the oldest ones that make up `keep` entries.

        Args:
            keep: entries that may stay in memory.
            sent: also those that Redis has acknowledged.
        """
        with self._lock:
            held = 0
            found: list[tuple[Batch, Content]] = []
            for batch in self._batches:
                if batch.content is None or batch.place is not None or (batch.sent and not sent):
                    continue
                held += len(batch)
                if held > keep:
                    found.append((batch, batch.content))
            return found

    def shelved(self, batch: Batch, place: Place) -> None:
        """The batch is on disk now; safe from any thread."""
        with self._lock:
            if batch.place is not None or not any(batch is kept for kept in self._batches):
                self._released.append(place)  # another copy was faster, or SQL has it meanwhile
                return
            batch.place = place
            if batch is not self._in_flight:
                batch.content = None

    def lose(self, batch: Batch) -> None:
        """What stood on disk of the batch is gone."""
        with self._lock:
            self._lost.add(batch.first, batch.last)
            self._keep(kept for kept in self._batches if kept is not batch)

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
        return self._count_unknown(self._lost)

    def _count_unknown(self, numbers: Intervals) -> int:
        return sum(last - first + 1 - self._known.count(first, last) for first, last in numbers)

    def let_go(self, most: int) -> int:
        """Let go of acknowledged batches, the oldest first, until at most `most` entries are in memory.

        Returns:
            How many are there beyond that all the same.
        """
        if len(self._buffer) + self._last < most:  # the usual case, without a lock
            return 0
        with self._lock:
            excess = len(self._buffer) + len(self._lines) - most
            excess += sum(len(batch) for batch in self._batches if batch.content is not None)
            kept: list[Batch] = []
            for batch in self._batches:
                if excess > 0 and batch.sent and batch.place is None:
                    self._unguarded.add(batch.first, batch.last)
                    excess -= len(batch)
                else:
                    kept.append(batch)
            self._batches = deque(kept)
            return max(0, excess)

    def enforce(self, most: int) -> int:
        """Have at most `most` entries in memory: let go of acknowledged batches, then drop the oldest unnumbered ones.

        Returns:
            How many entries were dropped.
        """
        if not self.let_go(most):
            return 0
        with self._lock:
            dropped = min(self.let_go(most), len(self._buffer))
            for _ in range(dropped):
                self._buffer.popleft()
            self._dropped += dropped
            return dropped

    def counts(self) -> Counts:
        """Where all entries are at this moment; safe from any thread."""
        with self._lock:
            waiting = len(self._buffer)
            known = self._known
            unsent = spooled = 0
            for batch in self._batches:
                if not batch.sent:
                    unknown = len(batch) - known.count(batch.first, batch.last)
                    unsent += unknown
                    spooled += unknown if batch.place is not None else 0
            saved = known.count(1, self._last)
            lost = self._count_lost()
            return Counts(
                recorded=self._drained + waiting,
                buffered=waiting + len(self._lines) + unsent - spooled,
                sent=self._last - len(self._lines) - saved - unsent - lost,
                saved=saved,
                spooled=spooled,
                dropped=self._dropped + lost,
                retried=self._retried,
            )

    def exposed(self, *, embedded: bool) -> int:
        """How many entries end with the process: those in memory alone; `embedded`: Redis is there, too."""
        with self._lock:
            exposed = len(self._buffer) + len(self._lines)
            exposed += sum(len(batch) for batch, _ in self.loose(0, sent=embedded))
            return exposed + (self._count_unknown(self._unguarded) if embedded else 0)

    def abandon(self) -> None:
        """Forget everything: after a fork the parent has it, and whoever still uses this here is to do nothing.

        Without the lock, which a thread of the parent may have held.
        """
        self._buffer = deque()
        self._lines, self._tally = [], Tally()
        self._batches = deque()

    @property
    def _drained(self) -> int:
        return self._last + self._dropped
