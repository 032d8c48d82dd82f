"""Where Taskiq keeps what a flush returned: for an hour, as JSON, and never in a worker's way."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from taskiq.serializers import JSONSerializer
from taskiq_redis import RedisAsyncResultBackend
from typing_extensions import override  # Taskiq's own dependency; typing has it from 3.12

from metrics_collector._redis.keys import Keys
from metrics_collector._redis.sentinel import connection_options
from metrics_collector._saving.taskiq.shared import REDIS, reason

if TYPE_CHECKING:
    from taskiq import TaskiqResult

    from metrics_collector._support.rate_limited_log import RateLimitedLog

EXPIRY: Final = 3600  # seconds
TIMEOUT: Final = 1.0  # seconds; a worker that ends on SIGTERM may have to wait this long


class Results(RedisAsyncResultBackend[Any]):
    """Keeps results in a Redis; one that cannot be kept is logged and dropped."""

    def __init__(self, url: str, log: RateLimitedLog) -> None:
        super().__init__(
            "redis://",
            result_ex_time=EXPIRY,
            serializer=JSONSerializer(),  # Taskiq's own choice is pickle, which runs what it reads
            prefix_str=Keys().results,
        )
        options: dict[str, Any] = {
            "protocol": 2,  # 3 begins with HELLO, which some servers refuse
            "driver_info": None,  # else each connection looks up redis-py's version on the disk
            "socket_connect_timeout": TIMEOUT,
            "retry": Retry(NoBackoff(), 0),
            **connection_options(url),
        }
        self.redis_pool = BlockingConnectionPool(**options)  # its own takes no URL of Sentinels
        self._log = log

    @override
    async def set_result(self, task_id: str, result: TaskiqResult[Any]) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                await super().set_result(task_id, result)
        except (RedisError, OSError) as error:
            self._log.trouble(
                REDIS,
                "cannot keep the result of a flush; the flush itself is not affected: %s",
                reason(error),
            )
            # After a failover this connection leads to a replica; a new one may find the master.
            with suppress(RedisError, OSError):
                await self.redis_pool.disconnect(inuse_connections=False)

    @override
    async def shutdown(self) -> None:
        with suppress(RedisError, OSError):
            await super().shutdown()
