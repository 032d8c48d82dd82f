"""A producer's batches: numbered, kept until SQL has them, and given up earlier only at the memory limit.

No I/O here. The sender asks what to push and what to write to disk, and reports the result; the protocol's rules for a
producer are implemented here.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from metrics_collector._core import encoding, entries
from metrics_collector._core.intervals import Intervals
from metrics_collector._core.totals import Tally
from metrics_collector._sending import batch as batches
from metrics_collector._sending.batch import SLICE, Batch, MemoryCopy
from metrics_collector._sending.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from metrics_collector._core.columns import Columns
    from metrics_collector._core.pipeline_types import PushReply
    from metrics_collector._recording.recorder import Record
    from metrics_collector._sending.batch import DiskCopy, HasPayload

BATCH: Final = 2000  # entries sent in one go
COMPACTED: Final = 10_000  # entries between two looks at the memory limit
# Of one batch. What Redis has taken and lost so often is perhaps what SQL cannot have, as an entry that is too long.
MOST_LOSSES: Final = 100


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
    """The entries of one producer, from the recorder's buffer until SQL has them; calls are timed by `monotonic`."""

    def __init__(
        self,
        buffer: deque[Record],
        *,
        monotonic: Callable[[], float] = time.perf_counter,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.producer = os.urandom(8).hex()  # an id, new in each process
        # Invariant under the lock: an entry drained from the buffer is counted in exactly one of `_waiting` (without a
        # number, or dropped), `_slices` (numbered, its batch still open), `_batches`, `_only_in_redis`, `_lost` and
        # `_saved`, of which a number that is `_saved` counts as that alone. Reentrant, as a signal handler or a
        # finaliser may interrupt and count.
        self._lock = threading.RLock()
        self._waiting = Waiting(buffer, monotonic, wall)
        self._retried = 0
        self._slices: list[tuple[Columns, bytes]] = []  # of the open batch, each with its JSON
        self._tally = Tally()  # of `_slices`
        self._open = 0  # entries in `_slices`
        self._size = 0  # bytes of JSON in `_slices`
        self._last = 0  # number of the newest entry
        self._batches: deque[Batch] = deque()  # those to be sent, or sent again, in order
        # Acknowledged, and removed from memory at its limit; by the number of their list (`PushReply.lists`).
        self._only_in_redis: dict[int, Intervals] = {}
        self._lists = range(1)  # that Redis holds
        self._lost = Intervals()  # were that, and Redis has lost them since
        self._saved = Intervals()  # SQL has them
        self._saved_text = ""
        self._in_flight: Batch | None = None  # stays in memory: the sender is using it
        self._released: list[DiskCopy] = []  # of batches that are not needed any more

    @property
    def recorded(self) -> int:
        """How many calls were recorded until now."""
        with self._lock:
            return self._drained + len(self._waiting)

    @property
    def open(self) -> bool:
        """Whether a batch is being filled."""
        return bool(self._open)

    @property
    def unsaved(self) -> bool:
        """Whether anything waits for Redis or for SQL."""
        with self._lock:
            return bool(self._batches or self._open) or any(
                map(self._count_unsaved, self._only_in_redis.values())
            )

    @property
    def unsent(self) -> bool:
        """Whether anything is not in Redis."""
        with self._lock:
            return bool(
                self._waiting or self._open or any(not batch.sent for batch in self._batches)
            )

    @property
    def ahead(self) -> bool:
        """Whether another batch is ready behind the one that is to be sent first."""
        with self._lock:
            return sum(not batch.sent for batch in self._batches) > 1

    def holds_before(self, until: int) -> bool:
        """Whether some of the first `until` records wait for a number."""
        with self._lock:
            return self._last + self._waiting.dropped < until and bool(self._waiting)

    def fill(self, batch: int = BATCH) -> bool:
        """Encode a slice of what waits into the open batch; whether that is full now, by `batch` entries or bytes."""
        with self._lock:
            waiting = self._waiting
            columns = waiting.oldest(min(SLICE, batch - self._open))
            if columns is None:  # it is full since a call that was interrupted, or another took all
                return self._open >= batch
            try:
                if self._tally.begun:  # so that figures, too, are the same whenever they are made
                    self._tally = self._noted_anew()
                room = entries.MAX_BATCH_BYTES - self._size
                payload, (columns, *rest) = encoding.encode(
                    columns, self.producer, self._last + 1, self._tally, room=room
                )
                count = columns.count
                last, held = self._last + count, self._open + count
                size, left = self._size + len(payload) + 1, waiting.held - count
                # From here on without a call, and so without a Ctrl-C in between. First what may find no memory.
                self._slices += ((columns, payload),)
            except BaseException as error:
                self._tally = self._noted_anew()  # without the part of this slice
                if isinstance(error, Exception):  # it would fail again
                    waiting.drop(columns.count)
                raise
            waiting.slices[:1] = rest
            self._last, self._open, self._size, waiting.held = last, held, size, left
            return held >= batch or bool(rest)

    def close_batch(self) -> None:
        """Make the open batch one that can be sent."""
        with self._lock:
            if self._open:
                with self._counting():
                    slices, texts = zip(*self._slices, strict=True)
                    content = batches.content(b"\n".join(texts), self._tally)
                    copy = MemoryCopy(self.producer, self._last - self._open + 1, slices)
                    made = Batch(copy.first, self._last, content, copy)
                    empty: tuple[list[Any], Tally, int, int] = [], Tally(), 0, 0
                # Again without any call. First what may find no memory, so that the entries are in one of the two.
                self._batches += (made,)
                self._slices, self._tally, self._open, self._size = empty

    async def compact(self) -> bool:
        """Keep as columns some of the buffer but for the newest; whether that leaves more. With pauses as below."""
        for _ in range(0, min(self._waiting.buffered - 2 * BATCH, COMPACTED), SLICE):
            await asyncio.sleep(0)
            with self._lock:
                self._waiting.gather(SLICE, kept=True)
        return self._waiting.buffered > 2 * BATCH

    async def make_batch(self, until: int, batch: int = BATCH) -> None:
        """Make a batch of the oldest records: at most `batch` of the first `until`, as `recorded` counts them.

        In slices, with a pause before each, in which other threads have the interpreter's lock: so the lag of an
        application's loop stays below the time that one slice takes.
        """
        full = False
        while self.holds_before(until) and not full:
            await asyncio.sleep(0)
            full = self.fill(batch)
        with self._counting():
            await batches.count(self._tally)
        await asyncio.sleep(0)
        self.close_batch()

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Count the figures of the open batch anew if a Ctrl-C interrupts."""
        try:
            yield
        except BaseException:
            self._tally = self._noted_anew()
            raise

    def _noted_anew(self) -> Tally:
        tally = Tally()
        for columns, _ in self._slices:
            numbers = columns.numbers()
            tally.add_all(columns.func_names, columns.functions, *numbers, columns.marks)
        return tally

    def next(self) -> tuple[Batch, int] | None:
        """The batch to push now, and the highest number before it that Redis has acknowledged, or 0.

        If Redis has not seen that one, it has lost data.
        """
        with self._lock:
            released = chain.from_iterable(self._only_in_redis.values())
            need = max((last for _, last in released), default=0)
            for batch in self._batches:
                if not batch.sent:
                    if batch is self._in_flight:
                        self._retried += len(batch)
                    self._in_flight = batch
                    return batch, need
                need = max(need, batch.last)
            return None

    def replied(self, reply: PushReply, batch: Batch | None = None) -> int:
        """Process a reply to the push of a batch, or to a look.

        Returns:
            How many entries turn out to be lost: Redis has lost them, and they are not in memory any more.
        """
        with self._lock:
            if reply.saved != self._saved_text:
                self._saved.update(Intervals.parse(reply.saved))
                self._saved_text = reply.saved
                self._replace_batches(
                    kept for kept in self._batches if not self._saved.covers(kept.first, kept.last)
                )
            if batch is not None:
                self._in_flight = None
            before = self._count_lost()
            self._resend_lost(reply.lists)
            if reply.kind in {"ok", "skip"}:
                if batch is not None:
                    batch.sent, batch.force = True, False
                    batch.list_number = reply.lists.stop - 1
                    batch.shrink()  # should Redis lose it, it can be made again
            elif reply.kind in {"gap", "look"}:
                self._resend_above(reply.seen)
            return self._count_lost() - before

    def _replace_batches(self, batches: Iterable[Batch]) -> None:
        before, self._batches = self._batches, deque(batches)
        kept = set(map(id, self._batches))
        self._released += [
            batch.disk_copy
            for batch in before
            if batch.disk_copy is not None and id(batch) not in kept
        ]

    def released(self) -> list[DiskCopy]:
        """The copies on disk that are not needed any more, each returned once."""
        with self._lock:
            released, self._released = self._released, []
            return released

    def only_in_memory(self, keep: int, *, sent: bool = False) -> list[tuple[Batch, HasPayload]]:
        """The batches that are not on disk, nor in Redis unless `sent`; but for the oldest `keep` entries."""
        with self._lock:
            held = 0
            found: list[tuple[Batch, HasPayload]] = []
            for batch in self._batches:
                in_redis, source = batch.sent and not sent, batch.content or batch.memory_copy
                if source is not None and batch.disk_copy is None and not in_redis:
                    held += len(batch)
                    if held > keep:
                        found.append((batch, source))
            return found

    def spooled(self, batch: Batch, copy: DiskCopy) -> None:
        """Note that a batch is on disk; safe from any thread."""
        with self._lock:
            if batch.disk_copy is not None or not any(batch is kept for kept in self._batches):
                self._released.append(copy)  # another copy was faster, or SQL has it meanwhile
                return
            batch.disk_copy = copy
            if batch is not self._in_flight:
                batch.shrink()

    def lose(self, batch: Batch) -> None:
        """Give a batch up, which cannot be read from disk or was lost too often."""
        with self._lock:
            self._lost.add(batch.first, batch.last)
            self._replace_batches(kept for kept in self._batches if kept is not batch)

    def _resend_lost(self, lists: range) -> None:
        """Send again what Redis has seen and lost before SQL had it: a key was evicted, or deleted."""
        if lists == self._lists and lists:  # with none left, what was sent since may be gone, too
            return
        self._lists = lists
        given_up: list[Batch] = []
        for batch in self._batches:
            if batch.sent and batch.list_number not in lists:
                batch.sent, batch.force = False, True
                batch.losses += 1
                self._retried += len(batch)
                if batch.losses > MOST_LOSSES:
                    given_up.append(batch)
        for batch in given_up:
            self.lose(batch)
        for number in self._only_in_redis.keys() - set(lists):
            self._lost.update(self._only_in_redis.pop(number))

    def _resend_above(self, seen: int) -> None:
        for batch in self._batches:
            if batch.last > seen:
                batch.force = False
                if batch.sent:
                    batch.sent = False
                    self._retried += len(batch)
        before, self._only_in_redis = self._only_in_redis, {}
        for list_number, numbers in before.items():
            for first, last in numbers:
                if first <= seen:
                    self._only_redis_has(list_number, first, min(last, seen))
                if last > seen:
                    self._lost.add(max(first, seen + 1), last)

    def _only_redis_has(self, list_number: int, first: int, last: int) -> None:
        self._only_in_redis.setdefault(list_number, Intervals()).add(first, last)

    def _count_lost(self) -> int:
        return self._count_unsaved(self._lost)

    def _count_unsaved(self, numbers: Intervals) -> int:
        return sum(last - first + 1 - self._saved.count(first, last) for first, last in numbers)

    def release_acknowledged(self, most: int) -> int:
        """Remove acknowledged batches from memory, the oldest first, down to `most` entries; how many more are left."""
        if len(self._waiting) + self._last < most:  # the usual case, without a lock
            return 0
        with self._lock:
            excess = len(self._waiting) + self._open - most
            excess += sum(len(batch) for batch in self._batches if batch.in_memory)
            kept: list[Batch] = []
            for batch in self._batches:
                if excess > 0 and batch.sent and batch.disk_copy is None:
                    self._only_redis_has(batch.list_number, batch.first, batch.last)
                    excess -= len(batch)
                else:
                    kept.append(batch)
            self._batches = deque(kept)
            return max(0, excess)

    def enforce(self, most: int) -> int:
        """Have at most `most` entries in memory: remove acknowledged batches, then drop; how many were dropped."""
        if not self.release_acknowledged(most):
            return 0
        with self._lock:
            dropped = min(self.release_acknowledged(most), len(self._waiting))
            self._waiting.drop(dropped)
            return dropped

    def counts(self) -> Counts:
        """Where all entries are at this moment; safe from any thread."""
        with self._lock:
            waiting = len(self._waiting)
            unsent = spooled = 0
            for batch in self._batches:
                if not batch.sent:
                    count = len(batch) - self._saved.count(batch.first, batch.last)
                    unsent += count
                    spooled += count if batch.disk_copy is not None else 0
            saved = self._saved.count(1, self._last)
            lost = self._count_lost()
            return Counts(
                recorded=self._drained + waiting,
                buffered=waiting + self._open + unsent - spooled,
                sent=self._last - self._open - saved - unsent - lost,
                saved=saved,
                spooled=spooled,
                dropped=self._waiting.dropped + lost,
                retried=self._retried,
            )

    def count_volatile(self, *, embedded: bool) -> int:
        """How many entries would be lost if the process, or with `embedded` Redis in it as well, ended now."""
        with self._lock:
            volatile = len(self._waiting) + self._open
            volatile += sum(len(batch) for batch, _ in self.only_in_memory(0, sent=embedded))
            released = self._only_in_redis.values()
            return volatile + (sum(map(self._count_unsaved, released)) if embedded else 0)

    def abandon(self) -> None:
        """Forget everything, in a forked child: the parent has it, and whoever still uses this is to send nothing.

        The lock is not taken: a thread of the parent may have held it.
        """
        self._waiting, self._batches = Waiting(deque(), time.perf_counter, time.time), deque()
        self._slices, self._tally, self._open, self._size = [], Tally(), 0, 0

    @property
    def _drained(self) -> int:
        return self._last + self._waiting.dropped
