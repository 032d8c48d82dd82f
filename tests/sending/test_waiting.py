"""What waits: without a number in the buffer and as columns, and in batches until SQL has it, as columns, too."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_collector._core import entries as entry_codec
from metrics_collector._core.decoding import decode
from metrics_collector._core.entries import END_OF_TIME
from metrics_collector._sending.memory_limit import MemoryLimit
from metrics_collector._sending.outbox import BATCH, COMPACTED, Outbox
from metrics_collector._sending.sender import USUAL_MAX_BUFFERED, keep_entries
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.core.test_entries import clocks, marks, names
from tests.helpers.jumping_loop import jumping
from tests.helpers.pipeline import content_in
from tests.sending.test_outbox import acknowledge, driven, filled, record, reply, waiting_in

if TYPE_CHECKING:
    from metrics_collector._recording.recorder import Record
    from metrics_collector._sending.batch import Batch

usual_clocks = st.floats(0, 1e6)
any_records = st.lists(
    st.tuples(names, usual_clocks, usual_clocks, marks) | st.tuples(names, clocks, clocks, marks),
    min_size=1,
    max_size=12,
)


def again(batch: Batch) -> object:
    """The content of a batch, made again."""
    assert batch.memory_copy is not None
    return driven(batch.memory_copy.read())


@given(records=any_records, size=st.integers(1, 12), room=st.sampled_from([1, 500, 10**6]))
def test_what_is_made_again_is_the_same_to_the_byte(
    records: list[Record], size: int, room: int
) -> None:
    outbox = Outbox(deque(records), monotonic=lambda: 5.0, wall=lambda: 1.7e9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry_codec, "MAX_BATCH_BYTES", room)
        for gathered in range(len(records)):
            outbox._waiting.gather(gathered % 3, kept=True)
        filled(outbox, *[size] * len(records))

    assert not outbox._waiting
    assert sum(map(len, outbox._batches)) == len(records)
    for batch in outbox._batches:
        content = content_in(batch)
        assert again(batch) == content
        assert batch.memory_copy is not None
        assert batch.memory_copy.payload == content.payload


def test_what_redis_took_is_kept_as_columns_until_it_is_sent_again() -> None:
    outbox = Outbox(deque(record(f"f{n}") for n in range(5)))
    one, two = filled(outbox, 3, 2)
    contents = [one.content, two.content]
    acknowledge(outbox, [one, two])
    assert (one.content, two.content) == (None, None)
    assert (outbox.counts().sent, outbox.unsaved) == (5, True)

    outbox.replied(reply("look", 0))

    assert outbox.next() == (one, 0)
    assert [again(one), again(two)] == contents
    assert outbox.counts().buffered == 5


def test_figures_are_the_same_again_though_they_were_counted_before_the_batch_was_full() -> None:
    outbox = Outbox(deque(("f", 0.0, seconds, None) for seconds in (0.1, 0.2, 0.3)))
    outbox.fill(2)
    outbox._tally.count(9)  # as of a call that was cancelled then
    (batch,) = filled(outbox, 3)

    assert again(batch) == batch.content


def test_a_long_buffer_becomes_columns_and_stays_in_order() -> None:
    most = 2 * BATCH
    buffer = deque(record(f"f{n}") for n in range(most + 500))
    outbox = Outbox(buffer)
    limit = MemoryLimit(outbox, most + 300, log=RateLimitedLog(), failed=lambda _: None)

    asyncio.run(limit.enforce())

    assert len(buffer) <= most
    assert waiting_in(outbox) == [f"f{n}" for n in range(200, most + 500)]
    counts = outbox.counts()
    assert (counts.recorded, counts.buffered, counts.dropped) == (most + 500, most + 300, 200)
    assert outbox.count_volatile(embedded=False) == most + 300
    assert outbox.enforce(most) == 300  # the oldest of the columns
    assert waiting_in(outbox) == [f"f{n}" for n in range(500, most + 500)]


def test_all_that_came_since_the_last_look_becomes_columns_and_is_held_to_the_limit_meanwhile() -> (
    None
):
    buffer = deque([record()] * (2 * BATCH + 2 * COMPACTED))
    outbox = Outbox(buffer)
    limit = MemoryLimit(outbox, len(buffer), log=RateLimitedLog(), failed=lambda _: None)

    async def enforce_and_record() -> None:
        enforcing = asyncio.ensure_future(limit.enforce())
        await asyncio.sleep(0)
        buffer.append(record())
        await enforcing

    asyncio.run(enforce_and_record())

    assert len(buffer) <= 2 * BATCH
    counts = outbox.counts()
    assert (counts.dropped, counts.buffered) == (1, 2 * BATCH + 2 * COMPACTED)


def test_the_moment_of_what_waits_is_that_of_its_call_though_the_clock_is_set() -> None:
    clock = iter([100.0, 5000.0])
    buffer = deque([record(), record()])
    outbox = Outbox(buffer, monotonic=lambda: 0.0, wall=lambda: next(clock))
    outbox._waiting.gather(1, kept=True)

    (batch,) = filled(outbox, 2)

    lines = content_in(batch).payload.split(b"\n")
    assert [decode(line).created_at for line in lines] == [101.0, 5001.0]


@jumping
async def test_what_cannot_become_a_column_is_dropped_and_the_limit_still_enforced() -> None:
    odd: Any = ("odd", "when", "then", None)  # no clock gives that
    buffer = deque([odd, *(record() for _ in range(2 * BATCH))])
    outbox = Outbox(buffer)
    errors: list[str] = []
    keeping = keep_entries(outbox, OSError("no"), log=RateLimitedLog(), failed=errors.append)
    holding = asyncio.create_task(keeping)
    await asyncio.sleep(10.0)
    assert "TypeError" in errors[1]
    buffer.extend(record() for _ in range(USUAL_MAX_BUFFERED))
    await asyncio.sleep(10.0)
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)

    counts = outbox.counts()
    assert counts.buffered == USUAL_MAX_BUFFERED
    assert counts.recorded == counts.buffered + counts.dropped == 2 * BATCH + 1 + USUAL_MAX_BUFFERED


@pytest.mark.parametrize(("end", "moment"), [(-2e-6, 0.0), (3e11, END_OF_TIME), (2e10, 2e10)])
def test_a_moment_that_no_date_can_hold_is_the_closest_that_one_can(
    end: float, moment: float
) -> None:
    outbox = Outbox(deque([("f", end, end, None)]), monotonic=lambda: 0.0, wall=lambda: 0.0)

    (batch,) = filled(outbox, 1)

    assert decode(content_in(batch).payload).created_at == pytest.approx(moment)
