"""A broker that holds rings until a worker comes, and listeners that outlive their Redis."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from taskiq import AckableMessage, AsyncBroker, InMemoryBroker
from taskiq.kicker import AsyncKicker
from taskiq_redis import RedisStreamBroker
from typing_extensions import override  # Taskiq's own dependency; typing has it from 3.12

from metrics_collector._errors import ConfigurationError
from metrics_collector._saving.taskiq.result_backend import Results
from metrics_collector._saving.taskiq.shared import BELLS, PURGE_NAME, REDIS, TASK_NAME, reason
from metrics_collector._saving.taskiq.stream import DOORBELL, GROUP, LENGTH, Stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from taskiq.message import BrokerMessage

    from metrics_collector._saving.taskiq.stream import Entry
    from metrics_collector._support.rate_limited_log import RateLimitedLog

# All in seconds.
BLOCK: Final = 2.0  # how long one read waits in Redis for a ring
READ_TIMEOUT: Final = BLOCK + 3.0  # a reply later than this does not come: the other side is gone
CONNECT_TIMEOUT: Final = 2.0
KICK_TIMEOUT: Final = 3.0
ACK_TIMEOUT: Final = 0.5
LEAVE_TIMEOUT: Final = 0.25
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
SWEEP_EVERY: Final = 30.0
WAKE_EVERY: Final = 0.25


def make_broker(url: str, result_backend_url: str, *, log: RateLimitedLog) -> AsyncBroker:
    """The broker for `flush_metrics` at a Redis URL; Taskiq's in-memory broker for `memory://`.

    Nothing connects before it is needed. With a `result_backend_url` of `memory://` results are not
    kept; the in-memory broker keeps them itself, whatever that URL is.
    """
    if _in_memory(url):
        return InMemoryBroker()
    broker = DoorbellBroker(url, log)
    if not _in_memory(result_backend_url):
        broker.with_result_backend(Results(result_backend_url, log))
    return broker


def _in_memory(url: str) -> bool:
    return urlsplit(url).scheme == "memory"


class DoorbellBroker(RedisStreamBroker):
    """For `flush_metrics` and `purge_metrics` alone; bears a Redis that is away, restarted, emptied or full.

    A ring that was sent before the first worker started is answered. Rings that wait together are
    answered by one flush, and only the last of them gets a result. A ring that a worker took and
    did not answer within two minutes, because it died, is rung again by another; one for a purge is
    not, as the next comes within the hour.

    It may be used from several loops and after a fork: a ring has a connection of its own, and a
    worker's connections are made where it listens.
    """

    def __init__(self, url: str, log: RateLimitedLog) -> None:
        super().__init__(
            url,
            queue_name=DOORBELL,
            consumer_group_name=GROUP,
            consumer_id="0",
            maxlen=LENGTH,
        )
        self._url = url
        self._log = log
        self._redis: Redis | None = None  # this and the next are set while this process listens
        self._stream: Stream | None = None
        self.on_listening_ended: Callable[[], None] | None = None

    def connect(self) -> Redis:
        """A client with connections of its own, and no retries: they are made here, with pauses."""
        options: dict[str, Any] = {
            **parse_url(self._url),
            # What follows wins over the same in the URL, since the code below relies on it.
            "decode_responses": False,
            "driver_info": None,  # else each connection looks up redis-py's version on the disk
            "max_connections": 10,  # one waits for rings while others acknowledge some
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_timeout": READ_TIMEOUT,
        }
        return Redis.from_pool(BlockingConnectionPool(**options))

    @override
    async def startup(self) -> None:
        # RedisStreamBroker's own fails while Redis is away. Here listen() declares the group.
        await AsyncBroker.startup(self)

    @override
    async def kick(self, message: BrokerMessage) -> None:
        """Ring, within three seconds.

        Raises:
            ConfigurationError: the message is for another task.
            RedisError: Redis did not take it.
            OSError: the same; TimeoutError, too, is one.
        """
        if message.task_name not in BELLS:
            raise ConfigurationError(
                f"this broker rings for {' and '.join(BELLS)} alone and may drop rings, so it cannot take "
                f"{message.task_name}: give your tasks a broker of their own, and put ours on it "
                "with metrics_collector.tasks.register_tasks(broker) if you like"
            )
        async with asyncio.timeout(KICK_TIMEOUT), self.connect() as redis:
            await redis.xadd(DOORBELL, {b"data": message.message}, maxlen=LENGTH)

    @override
    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """One message for all rings that wait together, until it is closed or cancelled."""
        redis = self._redis = self.connect()
        stream = self._stream = Stream(redis, self.idle_timeout / 1000)
        awake = asyncio.create_task(_stay_awake())
        pause = FIRST_PAUSE
        sweep_at = time.monotonic()
        try:
            while True:
                _give_way_to_cancellation()
                try:
                    if time.monotonic() >= sweep_at:
                        await stream.declare()
                        if await stream.sweep():
                            await AsyncKicker(TASK_NAME, self, {}).kiq()
                        sweep_at = time.monotonic() + SWEEP_EVERY
                    messages = await self._messages(stream, await stream.read(BLOCK))
                except Exception as error:  # noqa: BLE001 - else Taskiq starts the process again, each second
                    await self._recover(redis, error)
                    sweep_at = time.monotonic()
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
                    continue
                pause = FIRST_PAUSE
                for message in messages:
                    yield message
        finally:
            awake.cancel()
            if self.on_listening_ended is not None:
                self.on_listening_ended()

    @override
    async def shutdown(self) -> None:
        redis, self._redis = self._redis, None
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(RedisError, OSError):
                async with asyncio.timeout(LEAVE_TIMEOUT):
                    await stream.leave()
        await AsyncBroker.shutdown(self)
        if redis is not None:
            with suppress(RedisError, OSError):
                await redis.aclose()

    async def _messages(self, stream: Stream, entries: list[Entry]) -> list[AckableMessage]:
        """One for each bell that is rung, the last one."""
        rings: dict[str, bytes] = {}
        flushes: list[bytes] = []  # the ids of what asks for one; all else is done with
        others: list[bytes] = []
        strange = 0
        for entry in entries:
            bell = self._bell_in(entry)
            strange += bell is None
            if bell is not None:
                rings[bell] = entry[1][b"data"]
            (flushes if bell == TASK_NAME else others).append(entry[0])
        if strange:
            text = "skipped %d messages in %s that do not ring"
            self._log.trouble("malformed", text, strange, DOORBELL)
        if others:
            await stream.acknowledge(others)
        messages = []
        if TASK_NAME in rings:
            acknowledge = partial(self._acknowledge, stream, flushes)
            messages.append(AckableMessage(data=rings[TASK_NAME], ack=acknowledge))
        if PURGE_NAME in rings:
            messages.append(AckableMessage(data=rings[PURGE_NAME], ack=_done))
        return messages

    def _bell_in(self, entry: Entry) -> str | None:
        """The task that an entry of the stream rings for; None if it does not ring."""
        data = entry[1].get(b"data", b"")
        try:
            message = self.formatter.loads(data)
            message.parse_labels()
        except Exception:  # noqa: BLE001 - anybody can write to the stream, and so make a parser raise anything
            return None
        rings = message.task_name in BELLS and not message.args and not message.kwargs
        return message.task_name if rings else None

    async def _acknowledge(self, stream: Stream, ids: list[bytes]) -> None:
        try:
            async with asyncio.timeout(ACK_TIMEOUT):
                await stream.acknowledge(ids)
        except (RedisError, OSError) as error:
            # The next sweep finds them and rings once more.
            self._log.trouble(REDIS, "could not acknowledge rings: %s", reason(error))

    async def _recover(self, redis: Redis, error: Exception) -> None:
        if not _group_is_missing(error):
            text = "cannot hear rings for a flush, trying again: %s"
            self._log.trouble(REDIS, text, reason(error))
        with suppress(RedisError, OSError):
            # After a failover this connection leads to a replica; a new one may find the master.
            await redis.connection_pool.disconnect(inuse_connections=False)


def _done() -> None:
    """The ring is acknowledged already."""


def _group_is_missing(error: Exception) -> bool:
    # UNBLOCKED: the stream went away under a read that waited. Declaring the group is all it takes.
    return isinstance(error, ResponseError) and str(error).startswith(("NOGROUP", "UNBLOCKED"))


def _give_way_to_cancellation() -> None:
    # Before Python 3.12 asyncio.wait_for, which redis-py uses, can lose a cancellation that comes
    # just when it is done, and Taskiq sends no second one.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _stay_awake() -> None:
    # Taskiq's signal handler sets an event. That wakes uvloop, but not asyncio's own loop, which
    # waits on for its sockets or its next timer.
    while True:  # noqa: ASYNC110 - it waits for nothing: to be a timer is its purpose
        await asyncio.sleep(WAKE_EVERY)
