"""Connections to Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from redis.asyncio import Redis

COMMAND_TIMEOUT: Final = 5.0  # seconds
CONNECT_TIMEOUT: Final = 2.0


def connect(url: str) -> Redis:
    """A client for the running loop, which connects when first used.

    redis-py retries ten times by default; a lost reply would then count twice, so retrying is left to those who number
    what they send.
    """
    import encodings.idna  # noqa: F401 - for a look-up: in a thread's midst, a fork would leave it half loaded

    from redis.asyncio import ConnectionPool, Redis
    from redis.asyncio.connection import parse_url
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.utils import get_lib_version

    get_lib_version()  # type: ignore[no-untyped-call]  # loads what redis-py would load as it connects: the same holds for it
    options: dict[str, Any] = {
        "socket_timeout": COMMAND_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        **({} if url.startswith("unix:") else {"socket_keepalive": True}),
        **parse_url(url),
        # What follows wins over the same in the URL, since the code below relies on it.
        "decode_responses": False,
        "protocol": 2,  # 3 begins with HELLO, which servers do not know that are too old, and are to be told so
        "retry": Retry(NoBackoff(), 0),
    }
    return Redis.from_pool(ConnectionPool(**options))
