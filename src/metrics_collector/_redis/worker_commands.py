"""What a worker asks of Redis: claims, and to forget what SQL has."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.entries import MAX_ENTRY_BYTES
from metrics_collector._core.pipeline_types import Acknowledged, Claim, FunctionState
from metrics_collector._redis.connection import FUNCTIONS_A_CALL
from metrics_collector._redis.keys import PRODUCER_TTL_MS
from metrics_collector._support.groups import in_groups

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metrics_collector._core.pipeline_types import Numbered
    from metrics_collector._redis.connection import RedisConnection

_BYTES_READ: Final = 8_000_000  # of a claim in one go, and up to 100 elements more


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
            [keys.metrics_list, keys.claims, keys.claimed, keys.life, keys.claim(token)],
            [token, self._lease_ms, int(ignore_leases), secrets.token_hex(8)],
        )
        return Claim(reply[0].decode(), reply[1].decode(), reply[0].decode() == token)

    async def release(self, token: str) -> None:
        """End a claim's lease now, so that the next worker need not wait for it."""
        await self._redis.execute("ZADD", self._keys.claims, "XX", 0, token)

    async def read(self, token: str, count: int) -> tuple[int, list[bytes]]:
        """The claim's length and its first `count` elements, or fewer if they are large."""
        limits = [count, MAX_ENTRY_BYTES + 1, _BYTES_READ]
        length, elements = await self._redis.run("read", [self._keys.claim(token)], limits)
        return int(length), list(elements)

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
        """Take `count` saved elements off a claim of `length`, and enter in the live totals what SQL has."""
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
            len(functions),
        ]
        for func_name, ack in functions.items():
            keys += [of.totals(func_name), of.saved(func_name)]
            arguments += [
                ack.delta.dumps() if ack.delta is not None else "",
                ack.total.dumps(),
                ack.no,
                "" if ack.previous is None else ack.previous,
            ]
        keys += map(of.producer, producers)
        arguments += producers.values()
        taken, ahead = await self._redis.run("ack", keys, arguments)
        names = list(functions)
        return Acknowledged(
            bool(taken), {names[i - 1]: seen for i, seen in zip(*[iter(ahead)] * 2, strict=True)}
        )

    async def reconcile(self, db: str, no: int, totals: Mapping[str, Numbered]) -> dict[str, int]:
        """Make the live totals of these functions what SQL and the pending entries say; as `Acknowledged.ahead`."""
        ahead: dict[str, int] = {}
        for names in in_groups(list(totals), FUNCTIONS_A_CALL):
            functions = {name: FunctionState(None, *totals[name], None) for name in names}
            done = await self.acknowledge("", 0, 0, db=db, no=no, functions=functions, producers={})
            ahead |= done.ahead
        return ahead

    async def function_names(self) -> set[str]:
        """The functions that have live totals, or of which Redis holds SQL's part."""
        keys = self._keys
        return await self._redis.names(keys.totals("")) | await self._redis.names(keys.saved(""))
