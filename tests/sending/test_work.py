"""What sending does, in counts instead of times: calls, instructions, memory that stays, and commands to Redis.

Each is taken at two sizes of a batch, so that what an entry needs stands apart from what a batch needs. An entry's part
is compared with the least that makes the JSON of it, so that the limits hold with every Python.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import pytest
from redis.asyncio import Connection, ConnectionPool, Redis

import metrics_collector as package
from metrics_collector._core.pipeline_types import PushReply
from metrics_collector._redis.connection import RedisConnection
from metrics_collector._redis.producer_commands import ProducerCommands
from metrics_collector._sending.outbox import BATCH as BUFFERED
from metrics_collector._sending.outbox import Outbox
from tests.helpers.pipeline import PRODUCER
from tests.helpers.work import Work, run, undisturbed, work_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from metrics_collector._recording.recorder import Record
    from metrics_collector._sending.batch import Batch

FUNCTIONS = 20
NAMES = [f"shop.orders.function_{number}" for number in range(FUNCTIONS)]
SMALL, LARGE = 600, 1200  # whole slices, and a batch that is full by its bytes has more


class Limit(NamedTuple):
    """The most that something may do: instructions in some unit, and calls.

    They are what was measured, rounded up. A message shows the lines that need most: what is new there goes again, or
    the limit is raised knowingly. One that is far above what is needed is to be lowered, or it would guard nothing.
    """

    instructions: float
    python: float
    c: float

    def check(self, what: str, work: Work, each: int, unit: float) -> None:
        """Compare the work, divided by `each`; its instructions by the unit, too."""
        found = Limit(work.instructions / each / unit, work.python / each, work.c / each)
        text = f"{what} needs {found}, and may need {self}\n{work.table(each)}"
        assert all(one <= most for one, most in zip(found, self, strict=True)), text
        assert found.instructions > 0.85 * self.instructions, f"lower the limit: {text}"


# Of an entry; the unit is what `least` needs for one. Calls are its part of those of a slice.
ENTRY: Final = Limit(1.3, 0.15, 0.9)
# Of a batch of 20 functions, beside its entries; the unit is what `least` needs for a hundred of them.
BATCH: Final = Limit(5.2, 140, 1200)


def records(count: int) -> deque[Record]:
    """Of functions in turn, from 1 to 8 ms long; one of fifty fails."""
    return deque(
        (
            NAMES[number % FUNCTIONS],
            100.0 + number / 1e4,
            100.001 + number / 1e4 + number % 701 / 1e5,
            None if number % 50 else "TimeoutError",
        )
        for number in range(count)
    )


def least(records: deque[Record], offset: float = 1e9) -> bytes:
    """The JSON of records by one f-string each."""
    return "\n".join(
        [
            f'{{"func_name":"{name}","execution_time":{end - start!r},"created_at":{end + offset!r},'
            f'"error_occurred":{int(mark is not None)},"id":"{PRODUCER}-{number}"}}'
            for number, (name, start, end, mark) in enumerate(records, 1)
        ]
    ).encode()


def outbox_of(count: int) -> Outbox:
    return Outbox(records(count), monotonic=lambda: 200.0, wall=lambda: 1e9)


def make(outbox: Outbox, count: int) -> Batch:
    """Make one batch of all that is in the buffer, as the sender does."""
    run(outbox.make_batch(count, count))
    (batch,) = outbox._batches
    return batch


@pytest.fixture(autouse=True)
def nothing_of_others() -> Iterator[None]:
    """Count only what the test does, with what is kept for a name or a duration already there."""
    for size in (SMALL, LARGE):
        make(outbox_of(size), size)
    with undisturbed():
        yield


def test_an_entry_is_encoded_and_counted_with_no_more_than_so_many_instructions() -> None:
    small, large = (work_of(partial(make, outbox_of(size), size)) for size in (SMALL, LARGE))
    unit = work_of(partial(least, records(LARGE))) - work_of(partial(least, records(SMALL)))

    more = LARGE - SMALL
    ENTRY.check("an entry", large - small, more, unit.instructions / more)
    # Of twice the small one, all but the entries' part is that of two batches.
    fixed = Work(2 * small.python, 2 * small.c, small.lines + small.lines) - large
    BATCH.check("a batch", fixed, 1, 100 * unit.instructions / more)


def acknowledged(size: int) -> Outbox:
    outbox = outbox_of(size)
    batch = make(outbox, size)
    outbox.replied(PushReply("ok", size, "", request_flush=False, bad=0, lists=range(1)), batch)
    return outbox


def compacted(size: int) -> Outbox:
    outbox = outbox_of(2 * BUFFERED + size)
    run(outbox.compact())
    return outbox


@pytest.mark.parametrize("waiting", [acknowledged, compacted])
def test_an_entry_that_waits_takes_no_memory_but_its_columns(
    waiting: Callable[[int], Outbox],
) -> None:
    ours = tracemalloc.Filter(inclusive=True, filename_pattern=f"{Path(package.__file__).parent}/*")

    def kept(size: int) -> int:
        """Bytes that our code has asked for, which is not the records in the buffer."""
        tracemalloc.start()
        outbox = waiting(size)
        gc.collect()  # and with it the interpreter's free lists
        found = tracemalloc.take_snapshot().filter_traces([ours]).statistics("filename")
        tracemalloc.stop()
        assert outbox.counts().sent + outbox.counts().buffered >= size
        return sum(one.size for one in found)

    each = (kept(LARGE) - kept(SMALL)) / (LARGE - SMALL)
    # Two times and a function's position, and their part of what a slice takes.
    assert 18 < each < 24


class Loopback(Connection):
    """A connection that answers all that is sent at once, and notes the commands' names."""

    commands: list[bytes]

    async def _connect(self) -> None:
        self.commands = []
        self._reader = asyncio.StreamReader()
        self._writer = cast("Any", self)  # of which it needs no more than the methods below

    def writelines(self, chunks: Iterable[bytes]) -> None:
        sent = b"".join(chunks)
        self.commands.append(sent.split(b"\r\n")[2])
        evaluated = self.commands[-1] == b"EVALSHA"
        assert isinstance(self._reader, asyncio.StreamReader)
        self._reader.feed_data(PUSHED if evaluated else b"+OK\r\n")

    async def drain(self) -> None: ...

    def close(self) -> None: ...

    async def wait_closed(self) -> None: ...


# What `push` answers: nothing is refused; "ok", seen, saved, no flush request, no bad totals, the lists.
PUSHED: Final = b"*2\r\n$0\r\n\r\n*7\r\n$2\r\nok\r\n:1\r\n$0\r\n\r\n:0\r\n:0\r\n:0\r\n:0\r\n"


def test_a_batch_is_one_command_whose_work_does_not_grow_with_its_entries() -> None:
    client = Redis.from_pool(ConnectionPool(connection_class=Loopback, protocol=2))
    producer = ProducerCommands(
        RedisConnection(client, label="here", known_server=True), max_items=1, max_backlog=SMALL
    )
    works = {}
    with asyncio.Runner() as runner:
        for size in (SMALL, SMALL, LARGE):  # the first one connects
            batch = make(outbox_of(size), size)
            push = producer.push(PRODUCER, batch, 0)
            works[size] = work_of(partial(runner.run, push))
        pool: Any = client.connection_pool  # which has no types for this
        connection = runner.run(pool.get_connection())
        runner.run(client.aclose())

    assert connection.commands[-3:] == 3 * [b"EVALSHA"]
    assert b"EVALSHA" not in connection.commands[:-3]
    small, large = works.values()
    assert (large.python, large.c) == (small.python, small.c), (large - small).table()
    assert large.instructions == small.instructions, (large - small).table()
