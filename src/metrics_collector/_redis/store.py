"""Redis as the pipeline sees it: batches in, claims out, live totals between.

Each script in `lua/` has its contract in its first lines. A call that timed out or was cancelled may have taken
effect; the protocol is made for that, so nothing here retries.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import suppress
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.entries import MAX_ENTRY_BYTES
from metrics_collector._core.intervals import Intervals
from metrics_collector._core.pipeline_types import (
    Acknowledged,
    Claim,
    FunctionState,
    Live,
    Numbered,
    PushReply,
    Waiting,
)
from metrics_collector._core.totals import Totals
from metrics_collector._errors import (
    IncompatibleStoreError,
    StoreFullError,
    StoreUnavailableError,
)
from metrics_collector._redis import keys as redis_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence

    from redis.asyncio import Redis

    from metrics_collector._sending.batch import Batch

OLDEST_SERVER: Final = (6, 2)
PRODUCER_TTL_MS: Final = 24 * 3600 * 1000
_FUNCTIONS_A_CALL: Final = 100  # that a script is given at once
_FUNCTIONS_READ: Final = 1000  # that a reader asks for in one go
_PAGE: Final = 1000  # elements that a reader gets in one go
_BYTES_READ: Final = 8_000_000  # of a claim in one go, and up to 100 elements more


class HotStore:
    """The pipeline's commands on one Redis.

    Args:
        client: bound to the loop on which the store is used; closed by `aclose`.
        label: the URL without its secrets, for messages.
        max_items: entries in `metrics_list` that make a push ring.
        max_backlog: entries in Redis past which a batch is refused.
        lease: seconds that a claim is left to its worker.
        known_version: the server need not be asked for its version.

    Every method raises `StoreUnavailableError` when Redis does not answer or refuses.
    """

    def __init__(
        self,
        client: Redis,
        *,
        label: str,
        max_items: int,
        max_backlog: int,
        lease: float,
        known_version: bool = False,
    ) -> None:
        self.client = client
        self._label = label
        self._max_items = min(max_items, max_backlog)  # a full backlog rings in any case
        self._max_backlog = max_backlog
        self._lease_ms = int(lease * 1000)
        self._known_version = known_version
        self._scripts = {
            name: client.register_script(
                resources.files("metrics_collector._redis")
                .joinpath(f"lua/{name}.lua")
                .read_text("utf-8")
            )
            for name in ("push", "claim", "read", "ack", "live")
        }

    async def aclose(self) -> None:
        """Close the client's connections."""
        await self.client.aclose()

    async def check_version(self) -> None:
        """Look at the server's version, once; every script waits for that.

        Raises:
            IncompatibleStoreError: it is older than 6.2.
        """
        from redis.exceptions import NoPermissionError

        if self._known_version:
            return
        info = {}
        try:
            info = await self.answer(self.client.info("server"))
        except StoreUnavailableError as error:
            if not isinstance(error.__cause__, NoPermissionError):
                raise  # a user without INFO may go on: the commands will tell
        version = str(info.get("redis_version", ""))
        parts = [int(part) for part in version.split(".")[:2] if part.isdigit()]
        if parts and tuple(parts) < OLDEST_SERVER:
            raise IncompatibleStoreError(
                f"Redis at {self._label} is version {version}; metrics-collector needs 6.2 or newer (or Valkey)"
            )
        self._known_version = True

    async def push(
        self, producer: str, batch: Batch, need: int, *, force: bool = False
    ) -> PushReply:
        """Send a batch that is in memory.

        Args:
            producer: whose batch it is.
            batch: the entries.
            need: the last number of the kept batch before it, else 0.
            force: take it whatever was seen before: a replay, outside of the producer's order.
        """
        content = batch.content
        assert content is not None  # noqa: S101 - else it stands on disk, and is read before it is sent
        keys = [
            redis_keys.METRICS_LIST,
            redis_keys.producer(producer),
            redis_keys.CLAIMED,
            redis_keys.RING,
            *map(redis_keys.totals, content.functions),
        ]
        arguments = [
            batch.first,
            batch.last,
            need,
            int(force),
            self._max_backlog,
            self._max_items,
            PRODUCER_TTL_MS,
            len(batch),
            content.payload,
            content.deltas,
        ]
        return _push_reply(await self._call("push", keys, arguments))

    async def look(self, producer: str) -> PushReply:
        """Ask what Redis has seen of a producer and what SQL has saved of it."""
        keys = [
            redis_keys.METRICS_LIST,
            redis_keys.producer(producer),
            redis_keys.CLAIMED,
            redis_keys.RING,
        ]
        return _push_reply(await self._call("push", keys, [0, 0, 0, 0, 0, 0, PRODUCER_TTL_MS, 0]))

    async def tell_dropped(self, producer: str, count: int) -> None:
        """Let others know how many entries a producer has dropped so far, for as long as it is known here."""
        pipeline = self.client.pipeline()
        pipeline.hset(redis_keys.producer(producer), "dropped", str(count))
        pipeline.pexpire(redis_keys.producer(producer), PRODUCER_TTL_MS)
        await self.answer(pipeline.execute())

    async def given(self, producer: str) -> Intervals:
        """Which numbers of a producer Redis was given by replays."""
        fields = await self.answer(self.client.hgetall(redis_keys.producer(producer)))
        numbers = Intervals()
        for field, last in fields.items():
            name, _, first = field.partition(b":")
            if name == b"given":
                numbers.add(int(first), int(last))
        return numbers

    async def claim(self, *, ignore_leases: bool = False) -> Claim:
        """Take over an expired claim, or else all that is in `metrics_list`."""
        token = secrets.token_hex(8)
        keys = [
            redis_keys.METRICS_LIST,
            redis_keys.CLAIMS,
            redis_keys.CLAIMED,
            redis_keys.LIFE,
            redis_keys.claim(token),
        ]
        reply = await self._call(
            "claim", keys, [token, self._lease_ms, int(ignore_leases), secrets.token_hex(8)]
        )
        return Claim(reply[0].decode(), reply[1].decode(), reply[0].decode() == token)

    async def release(self, token: str) -> None:
        """End a claim's lease now, so that the next worker need not wait for it."""
        await self.answer(self.client.zadd(redis_keys.CLAIMS, {token: 0}, xx=True))

    async def read(self, token: str, count: int) -> tuple[int, list[bytes]]:
        """The claim's length and its first `count` elements, or fewer if they are large."""
        limits = [count, MAX_ENTRY_BYTES + 1, _BYTES_READ]
        reply = await self._call("read", [redis_keys.claim(token)], limits)
        return int(reply[0]), list(reply[1])

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
        """Take `count` saved elements off a claim of `length`, and tell the live totals what SQL has."""
        keys = [
            redis_keys.claim(token),
            redis_keys.CLAIMS,
            redis_keys.CLAIMED,
            redis_keys.METRICS_LIST,
        ]
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
            keys += [redis_keys.totals(func_name), redis_keys.saved(func_name)]
            arguments += [
                ack.delta.dumps() if ack.delta is not None else "",
                ack.total.dumps(),
                ack.no,
                "" if ack.previous is None else ack.previous,
            ]
        keys += map(redis_keys.producer, producers)
        arguments += producers.values()
        taken, ahead = await self._call("ack", keys, arguments)
        names = list(functions)
        return Acknowledged(
            bool(taken), {names[i - 1]: seen for i, seen in zip(*[iter(ahead)] * 2, strict=True)}
        )

    async def true_up(self, db: str, no: int, totals: Mapping[str, Numbered]) -> dict[str, int]:
        """Tell the live totals of these functions what SQL has, without any claim.

        Returns:
            As `Acknowledged.ahead`.
        """
        ahead: dict[str, int] = {}
        acks = {
            func_name: FunctionState(None, total, function_no, None)
            for func_name, (total, function_no) in totals.items()
        }
        for names in _groups(list(acks), _FUNCTIONS_A_CALL):
            seen = await self.acknowledge(
                "", 0, 0, db=db, no=no, functions={name: acks[name] for name in names}, producers={}
            )
            ahead |= seen.ahead
        return ahead

    async def live(self, func_names: Iterable[str]) -> dict[str, Live]:
        """The live totals of those of the functions that Redis knows."""
        found: dict[str, Live] = {}
        for names in _groups(list(func_names), _FUNCTIONS_READ):
            groups = list(_groups(names, _FUNCTIONS_A_CALL))
            # In one pipeline: while one reply is read, Redis makes the next one.
            pipeline = self.client.pipeline(transaction=False)
            for some in groups:
                await self._scripts["live"](keys=[*map(redis_keys.totals, some)], client=pipeline)
            replies = await self.answer(pipeline.execute(raise_on_error=False))
            for some, reply in zip(groups, replies, strict=True):
                if isinstance(reply, Exception):
                    raise self._translated(reply) from reply
                for name, pairs in zip(some, reply, strict=True):
                    if pairs:
                        fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
                        found[name] = Live(Totals.from_hash(fields), b"as_of" in fields)
        return found

    async def function_names(self) -> set[str]:
        """The functions that have live totals."""
        return await self._names(redis_keys.TOTALS_PREFIX)

    async def saved_function_names(self) -> set[str]:
        """The functions of which Redis holds SQL's part."""
        return await self._names(redis_keys.SAVED_PREFIX)

    async def producers(self) -> list[str]:
        """The keys of the producers that sent something in the last 24 hours."""
        prefix = redis_keys.PRODUCER_PREFIX
        return [prefix + name for name in await self._names(prefix)]

    async def _names(self, prefix: str) -> set[str]:
        names: set[str] = set()
        pattern = "".join(f"\\{c}" if c in "*?[]\\" else c for c in prefix) + "*"
        cursor = 0
        while True:
            cursor, keys = await self.answer(self.client.scan(cursor, match=pattern, count=1000))
            names.update(key.decode("utf-8", "replace").removeprefix(prefix) for key in keys)
            if not cursor:
                return names

    async def pending(self) -> AsyncIterator[Waiting]:
        """Every element that is in `metrics_list` or in a claim, in no special order.

        An element moves from the list into a claim, and off the claim's head once SQL has it. So the list is read
        before the claims are, and these from their ends: what moves meanwhile is met twice, or saved, but not missed.
        """
        seen = 0
        while page := await self._range(redis_keys.METRICS_LIST, seen, seen + _PAGE - 1):
            for raw in page:
                seen += 1
                yield Waiting(raw, "", seen)
        for token in await self.answer(self.client.zrange(redis_keys.CLAIMS, 0, -1)):
            name = token.decode()
            seen = 0
            while page := await self._range(redis_keys.claim(name), -seen - _PAGE, -seen - 1):
                for raw in reversed(page):
                    seen += 1
                    yield Waiting(raw, name, seen)

    async def _range(self, key: str, start: int, stop: int) -> list[bytes]:
        elements: list[bytes] = await self.answer(self.client.lrange(key, start, stop))
        return elements

    async def waiting(self) -> int:
        """How many entries are in Redis and not yet saved."""
        pipeline = self.client.pipeline(transaction=False)
        pipeline.llen(redis_keys.METRICS_LIST)
        pipeline.get(redis_keys.CLAIMED)
        listed, claimed = await self.answer(pipeline.execute())
        return int(listed) + int(claimed or 0)

    async def beat(self, key: str, state: Mapping[str, object], ttl: float) -> None:
        """Write a process's heartbeat, which is gone after `ttl` seconds without another."""
        await self.answer(self.client.set(key, json.dumps(state), px=int(ttl * 1000)))

    async def stop_beating(self, key: str) -> None:
        """Take a heartbeat away."""
        await self.answer(self.client.delete(key))

    async def heartbeats(self, role: str, host: str | None = None) -> dict[str, dict[str, Any]]:
        """The heartbeats of processes in a role (`worker` or `scheduler`), of one host or of all, by key."""
        prefix = f"{redis_keys.ALIVE_PREFIX}{role}:" + ("" if host is None else f"{host}:")
        keys = [prefix + name for name in await self._names(prefix)]
        values = await self.answer(self.client.mget(keys)) if keys else []
        return {key: json.loads(value) for key, value in zip(keys, values, strict=True) if value}

    async def _call(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        await self.check_version()
        return await self.answer(self._scripts[script](keys=keys, args=arguments))

    async def answer(self, command: Awaitable[Any]) -> Any:
        """What the client answers; errors as those of every method here."""
        task = asyncio.current_task()
        cancels = 0 if task is None else task.cancelling()
        answer, failure = None, None
        try:
            answer = await command
        except Exception as error:  # noqa: BLE001 - translated below
            failure = error
            await self._leave_replica(error)
        # redis-py sends by `asyncio.wait_for`, which swallows cancels before Python 3.12, and whoever waits for the
        # task to end would wait for ever.
        if task is not None and task.cancelling() > cancels:
            raise asyncio.CancelledError from failure
        if failure is not None:
            raise self._translated(failure) from failure
        return answer

    async def _leave_replica(self, error: Exception) -> None:
        """Close the connections if the server refuses to write: new ones may find the master after a failover."""
        from redis.exceptions import ReadOnlyError, RedisError

        # Redis 6 says it of a script within another error.
        if isinstance(error, ReadOnlyError) or "-READONLY" in str(error):
            with suppress(RedisError, OSError):
                await self.client.connection_pool.disconnect(inuse_connections=False)

    def _translated(self, error: Exception) -> StoreUnavailableError:
        from redis import exceptions

        # uvloop's way to say that the other side has closed the connection, where asyncio's own loop is silent.
        closed = isinstance(error, RuntimeError) and str(error).endswith("the handler is closed")
        if not (closed or isinstance(error, exceptions.RedisError | OSError | TimeoutError)):
            raise error
        detail = str(error) or type(error).__name__
        # Redis 6 says it of a script within another error.
        full = isinstance(error, exceptions.OutOfMemoryError) or "-OOM" in detail
        kind = StoreFullError if full else StoreUnavailableError
        return kind(f"Redis at {self._label} cannot be used: {detail}")


def _push_reply(reply: list[Any]) -> PushReply:
    kind, seen, saved, ring, bad = reply
    return PushReply(kind.decode(), int(seen), saved.decode(), bool(ring), int(bad))


def _groups(names: list[str], size: int) -> Iterable[list[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]
