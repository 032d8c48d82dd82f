"""The broker of flush and purge requests: it keeps them until a worker comes, and outlives an absence of Redis."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from taskiq import AckableMessage, AsyncBroker, InMemoryBroker
from taskiq.kicker import AsyncKicker
from taskiq_redis import RedisStreamBroker
from typing_extensions import override  # Taskiq's own dependency; typing has it from 3.12

from metrics_collector._errors import ConfigurationError
from metrics_collector._redis.sentinel import connection_options
from metrics_collector._saving.taskiq.result_backend import Results
from metrics_collector._saving.taskiq.shared import PURGE_NAME, REDIS, TASK_NAME, TASK_NAMES, reason
from metrics_collector._saving.taskiq.stream import ABANDONED_AFTER, GROUP, LENGTH, STREAM, Stream
from metrics_collector._support.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from taskiq.message import BrokerMessage

    from metrics_collector._saving.taskiq.stream import StreamEntry
    from metrics_collector._support.rate_limited_log import RateLimitedLog

# All in seconds.
BLOCK: Final = 2.0  # how long one read waits in Redis for a request
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
    """The broker for `flush_metrics`. Nothing connects before it is needed.

    For `memory://` it is Taskiq's in-memory broker, which keeps results itself. With a result backend of `memory://`
    results are not kept.
    """
    if _in_memory(url):
        return InMemoryBroker()
    broker = FlushRequestBroker(url, log)
    if not _in_memory(result_backend_url):
        broker.with_result_backend(Results(result_backend_url, log))
    return broker


def _in_memory(url: str) -> bool:
    return url.startswith("memory:")


class FlushRequestBroker(RedisStreamBroker):
    """A broker for `flush_metrics` and `purge_metrics` alone, which recovers when Redis was away, emptied or full.

    A request that was sent before the first worker started is answered. Requests that wait together
    are answered by one flush, and only the last of them gets a result. In place of a request that a
    worker took and did not answer within two minutes, because it died, another worker sends a new
    one; not so for a purge, as the next request comes within the hour.

    It may be used from several loops and after a fork: each request is sent on a connection of its
    own, and a worker's connections are made where it listens.
    """

    def __init__(self, url: str, log: RateLimitedLog) -> None:
        super().__init__(
            "redis://",  # of connections that are never made: `connect` makes those that are used
            queue_name=STREAM,
            consumer_group_name=GROUP,
            consumer_id="0",
            maxlen=LENGTH,
            idle_timeout=int(ABANDONED_AFTER * 1000),
        )
        self._url = url
        self._log = log
        self._redis: Redis | None = None  # this and the next are set while this process listens
        self._stream: Stream | None = None
        self.on_listening_ended: Callable[[], None] | None = None  # of a worker's `listen`

    def connect(self) -> Redis:
        """A client with connections of its own that does not retry: `listen` does, with pauses."""
        options: dict[str, Any] = {
            **connection_options(self._url),
            # What follows wins over the same in the URL, since the code below relies on it.
            "decode_responses": False,
            "driver_info": None,  # else each connection looks up redis-py's version on the disk
            "max_connections": 10,  # one waits for requests while others acknowledge some
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
        """Send a request, within three seconds.

        Raises:
            ConfigurationError: the message is for another task.
            RedisError, OSError: Redis did not take it; a TimeoutError is an OSError.
        """
        if message.task_name not in TASK_NAMES:
            raise ConfigurationError(
                f"this broker is for {' and '.join(TASK_NAMES)} alone and may drop messages, so it cannot take "
                f"{message.task_name}: give your tasks a broker of their own, and register the metrics tasks on it "
                "with metrics_collector.tasks.register_tasks(broker) if you like"
            )
        async with asyncio.timeout(KICK_TIMEOUT), self.connect() as redis:
            await redis.xadd(STREAM, {b"data": message.message}, maxlen=LENGTH)

    @override
    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """One message for all requests of a task that wait together, until it is closed or cancelled."""
        redis = self._redis = self.connect()
        stream = self._stream = Stream(redis, self.idle_timeout / 1000)
        awake = asyncio.create_task(_stay_awake())
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
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
                    await asyncio.sleep(backoff.next_delay())
                    continue
                backoff.reset()
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

    async def _messages(self, stream: Stream, entries: list[StreamEntry]) -> list[AckableMessage]:
        """For each task that is requested the last request, whose acknowledgement is that of all."""
        requests: dict[str, bytes] = {}
        flushes: list[bytes] = []  # ids of what is acknowledged after the flush
        others: list[bytes] = []
        malformed = 0
        for entry in entries:
            task = self._task_in(entry)
            malformed += task is None
            if task is not None:
                requests[task] = entry[1][b"data"]
            (flushes if task == TASK_NAME else others).append(entry[0])
        if malformed:
            text = "skipped %d malformed messages in %s; only metrics_collector is to write there"
            self._log.trouble("malformed", text, malformed, STREAM)
        if others:
            await stream.acknowledge(others)
        messages = []
        if TASK_NAME in requests:
            acknowledge = partial(self._acknowledge, stream, flushes)
            messages.append(AckableMessage(data=requests[TASK_NAME], ack=acknowledge))
        if PURGE_NAME in requests:
            # It is acknowledged already, as one of the others.
            messages.append(AckableMessage(data=requests[PURGE_NAME], ack=lambda: None))
        return messages

    def _task_in(self, entry: StreamEntry) -> str | None:
        """The task that an entry of the stream requests; `None` if it is no such request."""
        data = entry[1].get(b"data", b"")
        try:
            message = self.formatter.loads(data)
            message.parse_labels()
        except Exception:  # noqa: BLE001 - anybody can write to the stream, and so make a parser raise anything
            return None
        known = message.task_name in TASK_NAMES and not message.args and not message.kwargs
        return message.task_name if known else None

    async def _acknowledge(self, stream: Stream, ids: list[bytes]) -> None:
        try:
            async with asyncio.timeout(ACK_TIMEOUT):
                await stream.acknowledge(ids)
        except (RedisError, OSError) as error:
            # The next sweep finds them and sends another request.
            self._log.trouble(
                REDIS,
                "cannot acknowledge flush requests; they are answered again: %s",
                reason(error),
            )

    async def _recover(self, redis: Redis, error: Exception) -> None:
        if not _group_is_missing(error):
            text = "cannot read flush requests from Redis; retrying: %s"
            self._log.trouble(REDIS, text, reason(error))
        with suppress(RedisError, OSError):
            # After a failover this connection leads to a replica; a new one may find the master.
            await redis.connection_pool.disconnect(inuse_connections=False)


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
