"""What a reader asks of Redis; nothing of it changes anything there."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.pipeline_types import Live, Waiting
from metrics_collector._core.totals import Totals

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from metrics_collector._redis.connection import RedisConnection

_PAGE: Final = 1000  # elements in one go
_CLAIMS: Final = 100  # of which the oldest entry is asked for
_LONGEST_BEAT: Final = 60_000  # milliseconds; no process says for so long that it is alive


class ReaderCommands:
    """Live totals, what is pending, and who is there."""

    def __init__(self, redis: RedisConnection) -> None:
        self.label = redis.label
        self._redis = redis
        self._keys = redis.keys

    async def live(self, func_names: Iterable[str]) -> dict[str, Live]:
        """The live totals of those of the functions that Redis knows."""
        names = list(func_names)
        found = await self._redis.hashes([*map(self._keys.totals, names)], _live)
        return {name: live for name, live in zip(names, found, strict=True) if live is not None}

    async def function_names(self) -> set[str]:
        """The functions that have live totals."""
        return await self._redis.names(self._keys.totals(""))

    async def saved_function_names(self) -> set[str]:
        """The functions of which Redis holds SQL's part."""
        return await self._redis.names(self._keys.saved(""))

    async def pending(self) -> AsyncIterator[Waiting]:
        """Every element that is in `metrics_list` or in a claim, in no special order.

        An element moves from the list into a claim, and off the claim's head once SQL has it. So the list is read
        before the claims are, and these from their ends: what moves meanwhile is met twice, or saved, but not missed.
        """
        seen = 0
        while page := await self._range(self._keys.metrics_list, seen, seen + _PAGE - 1):
            for raw in page:
                seen += 1
                yield Waiting(raw, "", seen)
        for token in await self._claims():
            seen = 0
            while page := await self._range(self._keys.claim(token), -seen - _PAGE, -seen - 1):
                for raw in reversed(page):
                    seen += 1
                    yield Waiting(raw, token, seen)

    async def _range(self, key: str, start: int, stop: int) -> list[bytes]:
        elements: list[bytes] = await self._redis.execute("LRANGE", key, start, stop)
        return elements

    async def _claims(self) -> list[str]:
        tokens = await self._redis.execute("ZRANGE", self._keys.claims, 0, -1)
        return [token.decode() for token in tokens]

    async def waiting(self) -> int:
        """How many entries are in Redis and not yet saved."""
        listed, claimed = await self._redis.execute_all(
            ("LLEN", self._keys.metrics_list), ("GET", self._keys.claimed)
        )
        return int(listed) + int(claimed or 0)

    async def oldest(self) -> tuple[int, list[bytes]]:
        """How many claims there are, and the oldest element of `metrics_list` and of each of the first claims."""
        tokens = await self._claims()
        lists = [self._keys.metrics_list, *map(self._keys.claim, tokens[:_CLAIMS])]
        heads = await self._redis.execute_all(*(("LINDEX", key, 0) for key in lists))
        return len(tokens), [head for head in heads if head is not None]

    async def dropped(self) -> dict[str, int]:
        """How many entries each producer has dropped, or Redis lost, that sent something in the last 24 hours.

        A producer that lives counts those that Redis lost with those that it has dropped.
        """
        producers = await self._redis.names(self._keys.producer(""))
        counts = await self._redis.execute_all(
            *(("HMGET", self._keys.producer(producer), "dropped", "lost") for producer in producers)
        )
        return {
            producer: max(map(_count, both))
            for producer, both in zip(producers, counts, strict=True)
        }

    async def heartbeats(self, role: str) -> dict[str, dict[str, Any]]:
        """The heartbeats of processes in a role (`worker` or `scheduler`), by process (`host:id`).

        Anybody can write a key of that name; one that has no state with a moment is no heartbeat. One that would go on
        for long is from before Redis's clock was set back, and was not repeated since.
        """
        processes = await self._redis.names(self._keys.heartbeat(role, ""))
        if not processes:
            return {}
        keys = [self._keys.heartbeat(role, process) for process in processes]
        states, *rests = await self._redis.execute_all(
            ("MGET", *keys), *(("PTTL", key) for key in keys)
        )
        found = {
            process: _state(state)
            for process, state, rest in zip(processes, states, rests, strict=True)
            if state is not None and rest <= _LONGEST_BEAT
        }
        return {process: state for process, state in found.items() if state is not None}


def _live(pairs: Sequence[bytes]) -> Live:
    return Live(*Totals.from_hash(pairs))


def _count(raw: bytes | None) -> int:
    try:
        return int(raw or 0)
    except ValueError:  # anybody can write a key of that name
        return 0


def _state(raw: bytes) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads(raw)
        if (flushed_at := state.get("flushed_at")) is not None:
            datetime.fromtimestamp(flushed_at, UTC)
        timedelta(seconds=state.get("clock_ahead") or 0)
        if not all(isinstance(state.get(name) or "", str) for name in ("db", "path")):
            return None
    except (AttributeError, ValueError, TypeError, OverflowError, OSError, RecursionError):
        return None
    return state
