"""What a worker asks of Redis: claims, and to forget what SQL has."""

from __future__ import annotations

import secrets
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from metrics_collector._core.entries import MAX_ENTRY_BYTES, MAX_REQUEST_BYTES
from metrics_collector._core.intervals import MOST_INTERVALS, Intervals
from metrics_collector._core.pipeline_types import Acknowledged, Claim, FunctionState
from metrics_collector._redis import clocks
from metrics_collector._redis.keys import PRODUCER_TTL_MS
from metrics_collector._support.groups import in_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from metrics_collector._core.pipeline_types import Numbered
    from metrics_collector._redis.clocks import Clocks
    from metrics_collector._redis.connection import RedisConnection

_BYTES_READ: Final = 8_000_000  # of a claim in one go, and up to 100 elements more
_PRODUCERS: Final = 1000  # asked about in one go
_FUNCTIONS: Final = 100  # reconciled in one call of the script
_OVERHEAD: Final = 80  # bytes of a key beside the name in it, and of a number or two


class _Part(NamedTuple):
    """Of an acknowledgement what is about one function; `size` in bytes."""

    func_name: str
    keys: tuple[str, str]
    arguments: tuple[str, str, int, int | str]
    size: int


class WorkerCommands:
    """Claims out, each left to its worker for `lease` seconds, and what SQL has into the live totals."""

    def __init__(self, redis: RedisConnection, *, lease: float) -> None:
        self._redis = redis
        self._keys = redis.keys
        self._lease_ms = int(lease * 1000)

    async def claim(self, *, ignore_leases: bool = False) -> Claim:
        """Take over an expired claim, or else all that is in `metrics_list`."""
        token = secrets.token_hex(8)
        keys = self._keys
        reply = await self._redis.run(
            "claim",
            [
                keys.metrics_list,
                keys.claims,
                keys.claimed,
                keys.life,
                keys.claim(token),
                keys.claims_made,
            ],
            [token, self._lease_ms, int(ignore_leases), secrets.token_hex(8)],
        )
        return Claim(reply[0].decode(), reply[1].decode(), reply[0].decode() == token)

    async def clocks(self, wall: Callable[[], float]) -> Clocks:
        """The clock of this process, and that of Redis."""
        return await clocks.look(self._redis, wall)

    async def release(self, token: str) -> None:
        """End a claim's lease now, so that the next worker need not wait for it."""
        await self._redis.execute("ZADD", self._keys.claims, "XX", 0, token)

    async def adopt_claims(self) -> None:
        """Have claims saved that no worker would find, as Redis has lost the key with their leases."""
        keys = self._keys
        if tokens := await self._redis.names(keys.claim("")):
            claims = map(keys.claim, tokens)
            await self._redis.run("adopt", [keys.claims, keys.claimed, *claims], [*tokens])

    async def read(self, token: str, count: int, start: int = 0) -> tuple[int, list[bytes]]:
        """The claim's length and `count` elements from `start` on, or fewer if they are large."""
        limits = [start, count, MAX_ENTRY_BYTES + 1, _BYTES_READ]
        length, *some = await self._redis.run("read", [self._keys.claim(token)], limits)
        return length, [*chain.from_iterable(some)]

    async def acknowledge(
        self,
        token: str,
        length: int,
        count: int,
        *,
        db: str,
        no: int,
        functions: Mapping[str, FunctionState],
        producers: Mapping[str, str],
    ) -> Acknowledged:
        """Take `count` saved elements off a claim of `length`, and enter in the live totals what SQL has.

        If they are of so many functions that it takes more than one request may have (`share` above 1), nothing is
        done: it is to be tried with fewer elements.
        """
        parts = [self._part(*function) for function in functions.items()]
        size = sum(part.size for part in parts)
        size += sum(_OVERHEAD + len(saved) for saved in producers.values())
        share = size / MAX_REQUEST_BYTES
        if share > 1 and count > 1:
            return Acknowledged(taken=False, ahead={}, share=share)
        return await self._acknowledge(token, length, count, db, no, parts, producers, share)

    def _part(self, func_name: str, state: FunctionState) -> _Part:
        keys = self._keys.totals(func_name), self._keys.saved(func_name)
        arguments = (
            "" if state.delta is None else state.delta.dumps(),
            state.total.dumps(),
            state.no,
            "" if state.previous is None else state.previous,
        )
        size = 2 * (len(func_name.encode()) + _OVERHEAD) + len(arguments[0]) + len(arguments[1])
        return _Part(func_name, keys, arguments, size)

    async def _acknowledge(
        self,
        token: str,
        length: int,
        count: int,
        db: str,
        no: int,
        parts: Sequence[_Part],
        producers: Mapping[str, str],
        share: float = 0.0,
    ) -> Acknowledged:
        of = self._keys
        keys = [of.claim(token), of.claims, of.claimed, of.metrics_list]
        arguments: list[Any] = [
            token,
            length,
            count,
            self._lease_ms,
            PRODUCER_TTL_MS,
            no,
            db,
            len(parts),
        ]
        for part in parts:
            keys += part.keys
            arguments += part.arguments
        keys += map(of.producer, producers)
        arguments += producers.values()
        taken, ahead = await self._redis.run("ack", keys, arguments)
        return Acknowledged(
            bool(taken),
            {parts[i - 1].func_name: seen for i, seen in zip(*[iter(ahead)] * 2, strict=True)},
            share,
        )

    async def reconcile(self, db: str, no: int, totals: Mapping[str, Numbered]) -> dict[str, int]:
        """Make the live totals of these functions what SQL and the pending entries say; as `Acknowledged.ahead`."""
        ahead: dict[str, int] = {}
        for parts in _in_requests(
            self._part(name, FunctionState(None, *numbered, None))
            for name, numbered in totals.items()
        ):
            ahead |= (await self._acknowledge("", 0, 0, db, no, parts, {})).ahead
        return ahead

    async def lost(self) -> dict[str, tuple[int, int]]:
        """How many entries of producers Redis has seen and lost before SQL had them, and how many are noted as such.

        Producers of which neither is any are left out; so are those of which it is not known what SQL has.
        """
        keys = self._keys
        found: dict[str, tuple[int, int]] = {}
        for producers in in_groups(sorted(await self._redis.names(keys.producer(""))), _PRODUCERS):
            made, claims, listed, *states = await self._redis.execute_all(
                ("GET", keys.claims_made),
                ("EXISTS", keys.claims),
                ("EXISTS", keys.metrics_list),
                *(
                    ("HMGET", keys.producer(producer), "unsure", "seen", "saved", "list", "lost")
                    for producer in producers
                ),
            )
            newest = int(made or 0)
            lists = range(newest + (-1 if claims else 0 if listed else 1), newest + 1)
            for producer, (unsure, seen, saved, number, noted) in zip(
                producers, states, strict=True
            ):
                with suppress(ValueError):  # anybody can write a key of that name
                    # Earlier producers do not note their list: they may have something in any.
                    there = lists if number is None else int(number) in lists
                    count = 0 if there else _unsaved(int(unsure or 0), int(seen or 0), saved or b"")
                    if count or int(noted or 0):
                        found[producer] = count, int(noted or 0)
        return found

    async def store_lost(self, producer: str, count: int) -> None:
        """Note how many entries of a producer were lost, for as long as it is known here."""
        key = self._keys.producer(producer)
        await self._redis.execute_all(
            ("HSET", key, "lost", count), ("PEXPIRE", key, PRODUCER_TTL_MS), atomic=True
        )

    async def function_names(self) -> set[str]:
        """The functions that have live totals, or of which Redis holds SQL's part."""
        keys = self._keys
        return await self._redis.names(keys.totals("")) | await self._redis.names(keys.saved(""))


def _unsaved(after: int, last: int, saved: bytes) -> int:
    """How many of a producer's numbers after one SQL has not got; 0 if that is not all written down."""
    text = saved.decode()
    if after >= last or text.count("-") >= MOST_INTERVALS:
        return 0
    return last - after - Intervals.parse(text).count(after + 1, last)


def _in_requests(parts: Iterable[_Part]) -> Iterator[list[_Part]]:
    """The parts in their order, as many together as one request may have."""
    some: list[_Part] = []
    size = 0
    for part in parts:
        if some and (len(some) == _FUNCTIONS or size + part.size > MAX_REQUEST_BYTES):
            yield some
            some, size = [], 0
        some.append(part)
        size += part.size
    if some:
        yield some
