"""What a producer asks of Redis: to take its batches, and for news of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metrics_collector._core.intervals import Intervals
from metrics_collector._core.pipeline_types import PushReply
from metrics_collector._redis.keys import PRODUCER_TTL_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from metrics_collector._redis.connection import RedisConnection
    from metrics_collector._sending.batch import Batch


class ProducerCommands:
    """Batches in.

    Args:
        max_items: entries in `metrics_list` at which a flush is requested.
        max_backlog: entries in Redis past which a batch is refused.
    """

    def __init__(self, redis: RedisConnection, *, max_items: int, max_backlog: int) -> None:
        self._redis = redis
        self._keys = redis.keys
        # At a full backlog a flush is requested in any case.
        self._max_items = min(max_items, max_backlog)
        self._max_backlog = max_backlog

    async def push(self, producer: str, batch: Batch, need: int) -> PushReply:
        """Send a batch that is in memory.

        Args:
            producer: whose batch it is.
            batch: the entries.
            need: the last number of the kept batch before it, else 0.
        """
        content = batch.content
        if content is None:
            assert batch.memory_copy is not None  # noqa: S101 - else it is on disk, and is read before it is sent
            content = await batch.memory_copy.read()
        totals = map(self._keys.totals, content.functions)
        arguments = [
            batch.first,
            batch.last,
            need,
            int(batch.force),
            self._max_backlog,
            self._max_items,
            PRODUCER_TTL_MS,
            len(batch),
            content.payload,
            content.deltas,
        ]
        return await self._push(producer, totals, arguments)

    async def look(self, producer: str) -> PushReply:
        """Ask what Redis has seen of a producer and what SQL has saved of it."""
        return await self._push(producer, (), [0, 0, 0, 0, 0, 0, PRODUCER_TTL_MS, 0])

    async def _push(
        self, producer: str, totals: Iterable[str], arguments: Sequence[Any]
    ) -> PushReply:
        keys = self._keys
        own = [keys.metrics_list, keys.producer(producer), keys.claimed, keys.flush_requested]
        own += [keys.claims, keys.claims_made]
        reply = await self._redis.run("push", [*own, *totals], arguments)
        kind, seen, saved, request_flush, bad, oldest, newest = reply
        lists = range(oldest, newest + 1)
        return PushReply(kind.decode(), seen, saved.decode(), bool(request_flush), bad, lists)

    async def store_dropped(self, producer: str, count: int) -> None:
        """Let others know how many entries a producer has dropped so far, for as long as it is known here."""
        key = self._keys.producer(producer)
        await self._redis.execute_all(
            ("HSET", key, "dropped", count), ("PEXPIRE", key, PRODUCER_TTL_MS), atomic=True
        )

    async def given(self, producer: str) -> Intervals:
        """Which numbers of a producer Redis was given by replays."""
        fields = await self._redis.execute("HGETALL", self._keys.producer(producer))
        numbers = Intervals()
        for field, last in fields.items():
            name, _, first = field.partition(b":")
            if name == b"given":
                numbers.add(int(first), int(last))
        return numbers
