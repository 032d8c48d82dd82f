"""The outbox against a model of Redis and SQL in which all goes wrong that the protocol allows for."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter, deque
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from metrics_collector._core import encoding
from metrics_collector._core.decoding import decode
from metrics_collector._core.entries import MAX_BATCH_BYTES
from metrics_collector._core.intervals import Intervals
from metrics_collector._core.pipeline_types import PushReply
from metrics_collector._sending.batch import SLICE, content_of
from metrics_collector._sending.outbox import MOST_LOSSES, Outbox
from tests.helpers.pipeline import content_in, figures_in
from tests.helpers.threads import working

if TYPE_CHECKING:
    from collections.abc import Iterable

    from metrics_collector._recording.recorder import Record
    from metrics_collector._sending.batch import Batch, Content, HasPayload

counts_of_records = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, SLICE + 1])
sizes = st.sampled_from([1, 2, 3, 5, 8])
fates = st.sampled_from(["answered", "answered", "answer lost", "lost", "full"])


class DiskCopy:
    """A copy on disk, which may be lost."""

    def __init__(self, batch: Batch, content: HasPayload) -> None:
        self.batch = batch
        self.payload = content.payload
        self.lost = False
        self.discarded = False

    def read(self) -> Content:
        assert not self.lost
        assert not self.discarded
        return content_of(self.payload)

    def discard(self) -> None:
        assert not self.discarded
        self.discarded = True


def record(name: str = "f") -> Record:
    return name, 0.0, 1.0, None


def outbox_of(count: int) -> Outbox:
    return Outbox(deque(record() for _ in range(count)))


def reply(kind: str, seen: int, saved: str = "", lists: range = range(1)) -> PushReply:
    return PushReply(kind, seen, saved, request_flush=False, bad=0, lists=lists)


def filled(outbox: Outbox, *sizes: int) -> list[Batch]:
    """Batches of these sizes, as they come."""
    for size in sizes:
        while not outbox.fill(size) and outbox._waiting:
            pass
        outbox.close_batch()
    return list(outbox._batches)


def acknowledge(outbox: Outbox, batches: Iterable[Batch], saved: str = "") -> None:
    for batch in batches:
        outbox.replied(reply("ok", batch.last, saved), batch)


def waiting_in(outbox: Outbox) -> list[str]:
    """The functions of what has no number yet, the oldest first."""
    waiting = outbox._waiting
    slices = [one.func_names[function] for one in waiting.slices for function in one.functions]
    return [*slices, *(name for name, *_ in waiting._buffer)]


def driven(coroutine: Any) -> Any:
    """What a coroutine returns that waits for nothing but its turn."""
    try:
        while True:
            assert coroutine.send(None) is None
    except StopIteration as end:
        return end.value


def numbers_in(batches: Iterable[Batch]) -> set[int]:
    return {number for batch in batches for number in range(batch.first, batch.last + 1)}


class OutboxAndTheWorld(RuleBasedStateMachine):
    """Records are named by number, so that each can be followed; Redis and SQL are sets of entries' numbers."""

    @initialize()
    def begin(self) -> None:
        self.buffer: deque[Record] = deque()
        self.outbox = Outbox(self.buffer, monotonic=lambda: 5.0, wall=lambda: 1e9)
        self.recorded = 0
        self.overflown = 0  # dropped before they had a number
        # Redis: what it says of the producer, what it holds, and a replica that lags behind.
        self.seen = 0
        self.saved_text = ""
        self.listed = frozenset[int]()
        self.claim = frozenset[int]()
        self.claims_made = 0
        self.replica = (0, "", self.listed, self.claim, 0)
        self.sql: set[int] = set()
        self.told = Intervals()  # what the outbox was told to be saved
        self.given_up: set[int] = set()
        self.contents: dict[int, tuple[int, Content]] = {}
        self.copies: list[DiskCopy] = []

    @rule(count=counts_of_records)
    def record(self, count: int) -> None:
        for _ in range(count):
            self.recorded += 1
            self.buffer.append(record(f"f{self.recorded}"))

    @rule(batch=sizes, close=st.booleans())
    def fill(self, batch: int, *, close: bool) -> None:
        names = waiting_in(self.outbox)
        slices = self.outbox._waiting.slices
        before = slices[0].count if slices else len(names)
        held = self.outbox._open
        full = self.outbox.fill(batch)

        taken = len(names) - len(self.outbox._waiting)
        assert taken == max(0, min(SLICE, batch - held, before))
        assert waiting_in(self.outbox) == names[taken:]
        assert full == (held + taken >= batch)
        if close:
            self.outbox.close_batch()
            assert not self.outbox.open

    @rule(size=sizes)
    def compact(self, size: int) -> None:
        names = waiting_in(self.outbox)
        self.outbox._waiting.gather(size)
        assert waiting_in(self.outbox) == names

    @rule(fates=st.lists(fates, min_size=1, max_size=4), size=sizes)
    def push(self, fates: list[str], size: int) -> None:
        for fate in fates:
            if self.outbox.next() is None:
                # Hypothesis leaves rules out of a run; without anything to push, the others would have nothing to do.
                self.record(size)
                self.fill(size, close=True)
            following = self.next_in_memory()
            if following is not None:
                self.push_one(*following, fate)

    def next_in_memory(self) -> tuple[Batch, int] | None:
        """What to push now, read from the disk if it is there alone, and passed over if that has lost it."""
        while following := self.outbox.next():
            batch = following[0]
            if batch.content is not None:
                return following
            if batch.memory_copy is not None:
                batch.content = driven(batch.memory_copy.read())
                return following
            copy = batch.disk_copy
            assert isinstance(copy, DiskCopy)
            if copy.lost:
                self.given_up |= numbers_in([batch])
                self.outbox.lose(batch)
            else:
                batch.content = copy.read()
                return following
        return None

    def push_one(self, batch: Batch, need: int, fate: str) -> None:
        assert need == self.need(batch)
        # Its bytes and deltas never change.
        parts = (batch.last, content_in(batch))
        assert self.contents.setdefault(batch.first, parts) == parts
        if fate == "lost":
            return
        answer, lists = "full", self.lists()
        if fate != "full":
            answer = self.take(batch, need)
        if fate != "answer lost":
            self.hear(answer, batch, lists)
        if answer == "gap" and fate != "answer lost":
            again = [b for b in self.outbox._batches if b.last > self.seen or b.force]
            assert self.outbox.next() == ((again[0], self.need(again[0])) if again else None)

    def take(self, batch: Batch, need: int) -> str:
        """What the script `push` does."""
        if not batch.force:
            if batch.last <= self.seen:
                return "skip"
            if self.seen < need:
                return "gap"
            self.seen = batch.last
        self.listed |= numbers_in([batch])
        return "ok"

    def lists(self) -> range:
        """Those of which Redis holds something, by number."""
        oldest = -1 if self.claim else 0 if self.listed else 1
        return range(self.claims_made + oldest, self.claims_made + 1)

    def need(self, batch: Batch) -> int:
        """What Redis has acknowledged before the batch, and not lost as far as the outbox knows."""
        kept = [b.last for b in self.outbox._batches if b.last < batch.first]
        released = chain.from_iterable(self.outbox._only_in_redis.values())
        only_in_redis = [last for _, last in released]
        return max([*kept, *only_in_redis], default=0)

    def hear(self, kind: str, batch: Batch | None, lists: range) -> None:
        before = {kept.first: kept for kept in self.outbox._batches}
        lost_before = self.outbox._count_lost()
        lost = self.outbox.replied(reply(kind, self.seen, self.saved_text, lists), batch)

        self.told.update(Intervals.parse(self.saved_text))
        for first, kept in before.items():  # discarded exactly when `saved` covers it
            still = any(b.first == first for b in self.outbox._batches)
            assert still != self.told.covers(kept.first, kept.last)
        if kind in ("gap", "look"):
            assert all(not b.sent for b in self.outbox._batches if b.last > self.seen)
        assert lost >= self.outbox._count_lost() - lost_before
        others = [kept for kept in self.outbox._batches if kept is not batch]
        assert not any(kept.sent and kept.list_number not in lists for kept in others)
        self.tidy()

    def tidy(self) -> None:
        for copy in self.outbox.released():
            assert isinstance(copy, DiskCopy)
            copy.discard()

    @rule()
    def look(self) -> None:
        self.hear("look", None, self.lists())

    @rule(data=st.data())
    def save(self, data: st.DataObject) -> None:
        """A worker saves some of what Redis holds, and says so there."""
        if not self.claim and self.listed:
            self.listed, self.claim = self.claim, self.listed
            self.claims_made += 1
        some = data.draw(st.sets(st.sampled_from(sorted(self.claim)))) if self.claim else set()
        self.sql |= some
        self.claim -= some
        saved = Intervals()
        for number in sorted(self.sql):
            saved.add(number)
        self.saved_text = saved.text()

    @rule(what=st.sampled_from(["replicates", "fails over", "is emptied", "forgets the producer"]))
    def redis_does(self, what: str) -> None:
        if what == "replicates":
            self.replica = (
                self.seen,
                self.saved_text,
                self.listed,
                self.claim,
                self.claims_made,
            )
        elif what == "fails over":
            self.seen, self.saved_text, self.listed, self.claim, self.claims_made = self.replica
        else:
            self.seen, self.saved_text = 0, ""
            if what == "is emptied":
                self.evict({"listed", "claim", "claims_made"})

    @rule(keys=st.sets(st.sampled_from(["listed", "claim", "claims_made"]), min_size=1))
    def evict(self, keys: set[str]) -> None:
        if "listed" in keys:
            self.listed = frozenset()
        if "claim" in keys:
            self.claim = frozenset()
        if "claims_made" in keys:
            self.claims_made = 0

    @rule(keep=st.sampled_from([0, 2, 8]), sent=st.booleans(), count=st.integers(0, 3))
    def shelve(self, keep: int, count: int, *, sent: bool) -> None:
        """The disk takes some of it; twice, as when a writer was cancelled and went on all the same."""
        volatile = self.outbox.only_in_memory(keep, sent=sent)
        assert sent or not any(batch.sent for batch, _ in volatile)
        stays = [b for b in self.outbox._batches if b.disk_copy is None]
        stays = [b for b in stays if (sent or not b.sent) and b not in [one for one, _ in volatile]]
        assert len(numbers_in(stays)) <= keep  # the oldest ones, and no more than that
        assert not volatile or all(b.last < volatile[0][0].first for b in stays)
        for batch, content in volatile[:count]:
            for _ in range(2):
                self.copies.append(DiskCopy(batch, content))
                self.outbox.spooled(batch, self.copies[-1])
        self.tidy()

    @rule(data=st.data())
    def disk_loses(self, data: st.DataObject) -> None:
        if self.copies:
            data.draw(st.sampled_from(self.copies)).lost = True

    @rule(most=st.sampled_from([1, 5, 20, 250]))
    def enforce(self, most: int) -> None:
        batches = list(self.outbox._batches)
        names = waiting_in(self.outbox)
        dropped = self.outbox.enforce(most)

        self.overflown += dropped
        assert waiting_in(self.outbox) == names[dropped:]  # the oldest went
        gone = [batch for batch in batches if batch not in self.outbox._batches]
        copies = [batch for batch in batches if batch.sent and not batch.disk_copy]
        assert gone == copies[: len(gone)]
        self.given_up |= numbers_in(gone)
        in_memory = [batch for batch in self.outbox._batches if batch.in_memory]
        held = len(self.outbox._waiting) + self.outbox._open + len(numbers_in(in_memory))
        needed = self.outbox._open + len(
            numbers_in(b for b in in_memory if not b.sent or b.disk_copy)
        )
        assert held <= max(most, needed)
        if gone:  # no more than had to
            assert held + len(gone[-1]) + dropped > most
        if dropped:  # everything else had gone before
            assert not any(batch.sent and not batch.disk_copy for batch in self.outbox._batches)

    @invariant()
    def every_batch_is_in_memory_or_on_disk(self) -> None:
        for batch in self.outbox._batches:
            if batch.disk_copy is not None:
                assert isinstance(batch.disk_copy, DiskCopy)
                assert not batch.disk_copy.discarded
            else:
                assert batch.memory_copy is not None
            if batch.content is not None:  # the JSON is there only while it is sent
                assert not batch.sent

    @invariant()
    def every_entry_is_in_one_place(self) -> None:
        counts = self.outbox.counts()
        assert counts.recorded == self.recorded
        where = counts.saved + counts.sent + counts.buffered + counts.spooled + counts.dropped
        assert counts.recorded == where
        assert min(counts) >= 0
        on_disk = numbers_in(b for b in self.outbox._batches if b.disk_copy and not b.sent)
        assert counts.spooled == sum(n not in self.told for n in on_disk)
        assert counts.saved == len(self.told)

    @invariant()
    def what_has_a_number_is_dropped_only_where_it_was_released(self) -> None:
        last = self.outbox._last
        held = numbers_in(self.outbox._batches)
        open_ones = set(range(last - self.outbox._open + 1, last + 1))
        safe = held | open_ones | {n for n in range(1, last + 1) if n in self.told}
        assert set(range(1, last + 1)) <= safe | self.given_up
        assert self.outbox.counts().dropped - self.overflown <= len(self.given_up - safe)

    @invariant()
    def it_says_what_it_waits_for(self) -> None:
        counts = self.outbox.counts()
        assert counts.buffered + counts.spooled == 0 or self.outbox.unsent
        assert (
            counts.buffered + counts.spooled + counts.sent == 0
            or self.outbox.unsaved
            or self.outbox._waiting
        )
        assert self.outbox.recorded == self.recorded

    def teardown(self) -> None:
        """Once all is well again, SQL has what was not dropped, and has it once."""
        if not hasattr(self, "outbox"):
            return
        while self.outbox._waiting or self.outbox.open:
            self.outbox.fill()
            self.outbox.close_batch()
        self.look()
        for _ in range(2):  # what was lost behind a claim is noticed once that is saved
            self.send_and_save_all()
        counts = self.outbox.counts()
        assert (counts.buffered, counts.spooled, counts.sent) == (0, 0, 0)
        assert counts.saved == counts.recorded - counts.dropped == len(self.sql)
        assert not self.outbox.unsaved
        assert all(copy.discarded for copy in self.copies)

    def send_and_save_all(self) -> None:
        for _ in range(500):
            following = self.next_in_memory()
            if following is None:
                break
            lists = self.lists()
            self.hear(self.take(*following), following[0], lists)
        self.sql |= self.listed | self.claim
        self.listed = self.claim = frozenset()
        saved = Intervals()
        for number in sorted(self.sql):
            saved.add(number)
        self.saved_text = saved.text(limit=10**6)
        self.look()


OutboxAndTheWorld.TestCase.settings = settings(stateful_step_count=25)
TestOutboxAndTheWorld = OutboxAndTheWorld.TestCase


def test_a_batch_is_what_its_records_say() -> None:
    outbox = Outbox(
        deque([("f", 1.0, 1.5, None), ("g", 1.0, 2.0, "KeyError"), ("f", 1.0, 3.0, "")]),
        monotonic=lambda: 10.0,
        wall=lambda: 1_000_010.0,
    )
    (batch,) = filled(outbox, 10)

    entries = [decode(line) for line in content_in(batch).payload.split(b"\n")]
    assert [e.created_at for e in entries] == [1_000_001.5, 1_000_002.0, 1_000_003.0]
    assert [e.entry_id for e in entries] == [f"{outbox.producer}-{n}" for n in (1, 2, 3)]
    assert (batch.first, batch.last, len(batch)) == (1, 3, 3)
    assert content_in(batch).functions == ("f", "g")
    f, g = figures_in(content_in(batch))
    assert (f["call_count"], f["cancelled_count"], f["execution_time"]) == (2, 1, 2.5)
    assert g["error:KeyError"] == 1


@pytest.mark.parametrize("length", [100, 1000])
def test_a_batch_is_full_by_its_bytes_too(length: int) -> None:
    names = ["\N{SNAIL}" * length, *(f"{n:06}" + "n" * (length - 6) for n in range(4000))]
    outbox = Outbox(deque(record(name) for name in names))
    while outbox.holds_before(len(names)):
        asyncio.run(outbox.make_batch(len(names)))
    contents = list(map(content_in, outbox._batches))
    assert all(len(content.payload) < 1.01 * MAX_BATCH_BYTES for content in contents)
    full = [content for content in contents[:-1] if len(content.payload) > 0.98 * MAX_BATCH_BYTES]
    assert len(full) == len(contents) - 1
    lines = [line for content in contents for line in content.payload.decode().split("\n")]
    found = list(map(json.loads, lines))
    assert [entry["func_name"] for entry in found] == names
    assert [entry["id"] for entry in found] == [
        f"{outbox.producer}-{n}" for n in range(1, len(names) + 1)
    ]


def test_no_two_outboxes_are_the_same_producer() -> None:
    producers = Counter(outbox_of(0).producer for _ in range(100))

    assert len(producers) == 100
    assert all(len(producer) == 16 and int(producer, 16) >= 0 for producer in producers)


def test_a_clock_that_is_set_shifts_only_what_comes_later() -> None:
    clock = iter([100.0, 5000.0])
    outbox = Outbox(deque([record(), record()]), monotonic=lambda: 0.0, wall=lambda: next(clock))

    (first, second) = filled(outbox, 1, 1)

    assert decode(content_in(first).payload).created_at == 101.0
    assert decode(content_in(second).payload).created_at == 5001.0


def test_a_resend_is_counted_as_retried() -> None:
    outbox = outbox_of(5)
    first, second = filled(outbox, 3, 2)

    for _ in range(3):  # no answer to the first two
        outbox.next()
    assert outbox.counts().retried == 6

    acknowledge(outbox, [first, second])
    outbox.replied(reply("look", 3))
    assert outbox.next() == (second, 3)
    assert outbox.counts().retried == 8


def test_full_is_not_retried_but_tried() -> None:
    outbox = outbox_of(3)
    (batch,) = filled(outbox, 3)

    for _ in range(4):
        assert outbox.next() == (batch, 0)
        outbox.replied(reply("full", 0), batch)

    assert outbox.counts().retried == 0


def test_a_gap_goes_back_to_what_redis_has_not_seen() -> None:
    outbox = outbox_of(6)
    one, two, three = filled(outbox, 2, 2, 2)
    acknowledge(outbox, [one, two])
    assert outbox.next() == (three, 4)

    outbox.replied(reply("gap", 2), three)

    assert outbox.next() == (two, 2)
    counts = outbox.counts()
    assert (counts.sent, counts.buffered, counts.retried) == (2, 4, 2)


def test_at_the_bound_copies_go_first_and_only_as_many_as_must() -> None:
    outbox = outbox_of(13)
    batches = filled(outbox, 3, 3, 3)
    acknowledge(outbox, batches)

    assert outbox.enforce(8) == 0

    assert list(outbox._batches) == batches[2:]
    assert outbox.enforce(2) == 2  # of the four in the buffer
    assert not outbox._batches
    counts = outbox.counts()
    assert (counts.sent, counts.buffered, counts.dropped) == (9, 2, 2)


def test_what_is_being_pushed_stays_in_memory_when_the_disk_has_it_too() -> None:
    outbox = outbox_of(6)
    one, two = filled(outbox, 3, 3)
    assert outbox.next() == (one, 0)

    for batch, content in outbox.only_in_memory(0):
        outbox.spooled(batch, DiskCopy(batch, content))

    assert (one.content is None, two.content is None) == (False, True)
    assert outbox.counts().spooled == 6
    outbox.replied(reply("ok", 3), one)
    assert one.content is None  # should Redis lose it, it can be read again
    outbox.replied(reply("look", 0))
    assert outbox.next() == (one, 0)
    assert outbox.counts().spooled == 6


def test_redis_must_have_seen_what_was_released_though_the_disk_has_older_ones() -> None:
    outbox = outbox_of(9)
    one, two, three = filled(outbox, 3, 3, 3)
    outbox.spooled(one, DiskCopy(one, content_in(one)))
    acknowledge(outbox, [one, two])
    assert outbox.release_acknowledged(3) == 0
    assert list(outbox._batches) == [one, three]

    assert outbox.next() == (three, 6)


def test_what_was_released_and_then_lost_is_counted_at_the_next_push() -> None:
    outbox = outbox_of(5)
    one, _ = filled(outbox, 3, 2)
    acknowledge(outbox, [one])
    assert outbox.enforce(2) == 0
    assert outbox.counts().sent == 3

    following = outbox.next()
    assert following is not None
    batch, need = following
    assert need == 3  # else Redis could not tell that it has lost something
    assert outbox.replied(reply("gap", 1), batch) == 2
    assert outbox.replied(reply("look", 1)) == 0  # known by now

    counts = outbox.counts()
    assert (counts.sent, counts.dropped, counts.buffered) == (1, 2, 2)
    assert outbox.next() == (batch, 1)


def test_what_seemed_lost_may_turn_out_to_be_saved() -> None:
    outbox = outbox_of(3)
    acknowledge(outbox, filled(outbox, 3))
    outbox.enforce(1)
    outbox.replied(reply("look", 0))
    assert outbox.counts().dropped == 3

    outbox.replied(reply("look", 0, "1-2"))

    assert (outbox.counts().saved, outbox.counts().dropped) == (2, 1)


def test_what_redis_lost_of_a_list_is_sent_again_by_force() -> None:
    outbox = outbox_of(6)
    one, two, three = filled(outbox, 1, 2, 3)
    for batch, number in ((one, 4), (two, 5)):
        outbox.replied(reply("ok", batch.last, lists=range(4, number + 1)), batch)
    outbox.replied(reply("full", 3, lists=range(5, 7)), three)  # a claim of the list 5
    assert outbox.next() == (one, 0)
    assert (one.force, two.sent, outbox.counts().retried) == (True, True, 1)
    outbox.replied(reply("ok", 3, lists=range(5, 7)), one)
    assert (one.sent, one.force, one.list_number) == (True, False, 6)
    outbox.replied(reply("look", 3, lists=range(3)))  # the count was lost, and began anew
    assert [one.force, two.force] == [True, True]
    outbox.replied(reply("look", 0))
    assert [one.force, two.force] == [False, False]  # Redis has not seen them any more


def test_what_was_sent_to_an_empty_redis_may_be_gone_at_the_next_look() -> None:
    outbox = outbox_of(1)
    (batch,) = filled(outbox, 1)
    nothing = range(1, 1)
    outbox.replied(reply("ok", 1, lists=nothing), batch)
    assert batch.sent
    outbox.replied(reply("look", 1, lists=nothing))
    assert batch.force


def test_what_is_lost_again_and_again_is_counted_as_dropped() -> None:
    outbox = outbox_of(4)
    one, two = filled(outbox, 3, 1)
    nothing = range(1, 1)
    lost = 0
    for _ in range(MOST_LOSSES + 1):
        assert lost == 0
        outbox.replied(reply("ok", 4, lists=nothing), one)
        lost = outbox.replied(reply("look", 4, lists=nothing))
    assert (lost, outbox.counts().dropped, list(outbox._batches)) == (3, 3, [two])


def test_what_was_released_and_lost_with_its_list_is_counted() -> None:
    outbox = outbox_of(5)
    one, two = filled(outbox, 2, 3)
    outbox.replied(reply("ok", 2, lists=range(1)), one)
    outbox.replied(reply("ok", 5, lists=range(2)), two)
    outbox.enforce(0)
    assert outbox.replied(reply("look", 5, "1-1", lists=range(1, 3))) == 1
    assert outbox.counts()[2:6] == (3, 1, 0, 1)  # sent, saved, spooled, dropped
    assert outbox.replied(reply("look", 5, "1-1", lists=range(3, 3))) == 3


def test_what_was_released_is_looked_after_until_it_is_saved() -> None:
    outbox = outbox_of(3)
    acknowledge(outbox, filled(outbox, 3))
    outbox.enforce(1)
    assert outbox.unsaved

    outbox.replied(reply("look", 3, "1-3"))

    assert not outbox.unsaved


def test_counting_from_a_signal_handler_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = outbox_of(3)
    counted: list[object] = []
    real = encoding._head

    def text(name: str) -> str:  # as if a signal came in the midst of encoding, under the lock
        counted.append(outbox.counts())
        return real(name)

    monkeypatch.setattr(encoding, "_head", text)
    filled(outbox, 3)

    assert counted


def test_counts_add_up_while_another_thread_records() -> None:
    buffer: deque[Record] = deque()
    outbox = Outbox(buffer)
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            buffer.extend(record() for _ in range(10))
            outbox.enforce(1_000)

    before = 0
    with working(*[work] * 4):
        for _ in range(100):
            outbox.fill()
            outbox.close_batch()
            if following := outbox.next():
                batch, _ = following
                outbox.replied(reply("ok", batch.last, f"1-{batch.last}"), batch)
            counts = outbox.counts()
            assert counts.recorded == counts.saved + counts.sent + counts.buffered + counts.dropped
            assert counts.recorded >= before
            before = counts.recorded
        over.set()


def test_an_abandoned_outbox_has_nothing_to_do_even_if_its_lock_is_held() -> None:
    outbox = outbox_of(500)
    filled(outbox, 100, 100)
    outbox.fill(100)
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with outbox._lock:
            held.set()
            over.wait()

    with working(hold):
        held.wait()
        outbox.abandon()
        over.set()

    assert outbox.next() is None
    assert not outbox.unsent
    assert not outbox.unsaved
    assert outbox.fill() is False
