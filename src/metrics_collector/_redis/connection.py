"""A connection to Redis: commands and scripts go in, answers or the package's own errors come out."""

from __future__ import annotations

import asyncio
import math
import os
import re
from contextlib import suppress
from importlib import resources
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from metrics_collector._errors import (
    IncompatibleStoreError,
    MetricsCollectorError,
    StoreFullError,
    StoreUnavailableError,
)
from metrics_collector._redis import refusals
from metrics_collector._redis.keys import Keys
from metrics_collector._support.groups import in_groups
from metrics_collector._support.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio import Redis

T = TypeVar("T")

COMMAND_TIMEOUT: Final = 5.0  # seconds
CONNECT_TIMEOUT: Final = 2.0
OLDEST_SERVER: Final = (6, 2)
_HASHES: Final = 250  # that are asked for in one go
_HGETALL: Final = b"*2\r\n$7\r\nHGETALL\r\n$%d\r\n%b\r\n"


def connect(url: str) -> Redis:
    """A client for the running loop, which connects when first used.

    redis-py retries ten times by default; a lost reply would then count twice, so retrying is left to those who number
    what they send.
    """
    import encodings.idna  # noqa: F401 - for a look-up: in a thread's midst, a fork would leave it half loaded

    from redis.asyncio import ConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.utils import get_lib_version

    from metrics_collector._redis.sentinel import connection_options

    get_lib_version()  # type: ignore[no-untyped-call]  # loads what redis-py would load as it connects: the same holds for it
    options: dict[str, Any] = {
        "socket_timeout": COMMAND_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        **({} if url.startswith("unix:") else {"socket_keepalive": True}),
        **connection_options(url),
        # What follows wins over the same in the URL, since the code below relies on it.
        "decode_responses": False,
        "protocol": 2,  # 3 begins with HELLO, which a too old server refuses before it has named its version
        "retry": Retry(NoBackoff(), 0),
    }
    return Redis.from_pool(ConnectionPool(**options))


class RedisConnection:
    """Runs commands and the scripts in `lua/`, of which each has its contract in its first lines.

    A call that timed out or was cancelled may have taken effect; the protocol is made for that, so nothing retries.
    Every method raises `StoreUnavailableError` when Redis does not answer or refuses, and `IncompatibleStoreError` when
    it is of a kind that cannot be used.

    Args:
        client: bound to the loop on which this is used; closed by `aclose`.
        label: the URL without its secrets, for messages.
        known_server: the server need not be asked what it is.
    """

    def __init__(self, client: Redis, *, label: str, known_server: bool = False) -> None:
        self._client: Any = client  # redis-py has no types for some of what is used here
        self.label = label
        self.keys = Keys()
        self._known_server = known_server
        self._log = RateLimitedLog()
        self._texts = {
            name: resources.files("metrics_collector._redis")
            .joinpath(f"lua/{name}.lua")
            .read_text("utf-8")
            for name in ("push", "claim", "adopt", "read", "ack")
        }
        self._noting = {name for name, text in self._texts.items() if "redis.pcall(" in text}
        self._scripts = {
            name: client.register_script(refusals.noting(text) if name in self._noting else text)
            for name, text in self._texts.items()
        }

    async def aclose(self) -> None:
        """Close the client's connections."""
        await self._client.aclose()

    async def check_server(self) -> None:
        """Look at the server's version and kind, once; every command and script waits for it.

        A server that does not say either may be used: the commands will tell.

        Raises:
            IncompatibleStoreError: it is below 6.2, or of a Redis Cluster.
        """
        if self._known_server:
            return
        said = await self.ask("INFO", "server")
        version, mode = said.get("redis_version", ""), said.get("redis_mode", "")
        if not version:  # HELLO is one of the few commands that no ACL forbids
            said = await self.ask("HELLO")
            version, mode = said.get("version", ""), said.get("mode", "")
        parts = [int(part) for part in version.split(".")[:2] if part.isdecimal()]
        if parts and tuple(parts) < OLDEST_SERVER:
            raise IncompatibleStoreError(
                f"Redis at {self.label} is version {version}; metrics-collector needs 6.2 or newer (or Valkey)"
            )
        if mode == "cluster":
            raise self._clustered()
        self._known_server = True

    async def ask(self, *question: str) -> dict[str, str]:
        """What Redis says of itself, as texts by their names; what it refuses to say, or says otherwise, is left out.

        Many servers refuse such questions, by their ACL or by a command that is renamed, and a managed one may give an
        answer of another shape.

        Raises:
            StoreUnavailableError: it cannot be reached.
        """
        from redis.exceptions import ResponseError

        try:
            answer: Any = await self._answer(self._client.execute_command(*question))
            fields = (
                dict(zip(*[iter(answer)] * 2, strict=False))
                if isinstance(answer, list | tuple)
                else answer
            )
            return {_text(name): _text(value) for name, value in fields.items()}
        except StoreUnavailableError as error:
            if not isinstance(error.__cause__, ResponseError):
                raise
            return {}
        except (AttributeError, TypeError, ValueError):  # another shape, to us or to redis-py
            return {}

    async def time(self) -> float | None:
        """Redis's time of day, UTC epoch seconds; `None` if it refuses to tell.

        Raises:
            StoreUnavailableError: it cannot be reached.
        """
        # The answer is a pair, and none where it is refused.
        for seconds, microseconds in (await self.ask("TIME")).items():
            return int(seconds) + int(microseconds) / 1e6
        return None

    async def execute(self, *command: Any) -> Any:
        """What Redis answers to one command."""
        await self.check_server()
        return await self._answer(self._client.execute_command(*command), command)

    async def execute_all(self, *commands: Sequence[Any], atomic: bool = False) -> list[Any]:
        """What Redis answers to each of the commands, sent in one go.

        With `atomic` either all of them take effect or none; a full Redis then refuses reads, too.
        """
        await self.check_server()
        pipeline = self._client.pipeline(transaction=atomic)
        for command in commands:
            pipeline.execute_command(*command)
        return await self._answers(pipeline, [*chain.from_iterable(commands)])

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """What a script answers."""
        await self.check_server()
        answer = await self._answer(self._scripts[script](keys=keys, args=arguments), keys)
        if script not in self._noting:
            return answer
        refused, *answers = answer
        if refused:
            command, _, key = _text(refused).partition(" ")
            self._log.trouble(
                "refused",
                "what Redis at %s holds may be wrong, as it refuses a part of a script: %s",
                self.label,
                refusals.not_allowed([command], script, key),
            )
        return answers[0] if answers else None

    async def hashes(
        self, keys: Sequence[str], read: Callable[[Sequence[bytes]], T]
    ) -> list[T | None]:
        """What `read` makes of each hash; `None` for a key that has none, or is of another type.

        Args:
            read: takes the fields of a hash, every one followed by its value.
        """
        await self.check_server()
        found: list[T | None] = await self._answer(self._hashes(keys, read), keys)
        return found

    async def _hashes(
        self, keys: Sequence[str], read: Callable[[Sequence[bytes]], T]
    ) -> list[T | None]:
        # By redis-py's connection, as its pipelines take three times as long for each answer, and so does Redis for
        # a script.
        from redis.exceptions import ResponseError

        found: list[T | None] = []
        groups = [*in_groups(keys, _HASHES)]
        asked = map(_asking, groups)
        pool = self._client.connection_pool
        connection = await pool.get_connection()
        try:
            # While the answers of one group are read, Redis makes the next one's.
            for group in ((), *groups):
                for commands in islice(asked, 1):
                    await connection.send_packed_command(commands, check_health=False)
                # One limit for all, as to set one takes as long as an answer does.
                async with asyncio.timeout(connection.socket_timeout):
                    for _ in group:
                        try:
                            fields = await connection.read_response(timeout=math.inf)
                        except ResponseError as error:
                            if not str(error).startswith("WRONGTYPE"):
                                raise
                            fields = ()
                        if isinstance(fields, dict):  # of the Redis in this process
                            fields = [*chain.from_iterable(fields.items())]
                        found.append(read(fields) if fields else None)
        finally:
            if len(found) < len(keys):  # the next one to ask would get the answers that are left
                await connection.disconnect(nowait=True)
            await pool.release(connection)
        return found

    async def names(self, prefix: str) -> set[str]:
        """The keys that begin with a prefix of `keys`, in which there is no wildcard; each without it."""
        names: set[str] = set()
        cursor = 0
        while True:
            cursor, keys = await self.execute("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", 1000)
            names.update(key.decode("utf-8", "replace").removeprefix(prefix) for key in keys)
            if not cursor:
                return names

    async def _answers(self, pipeline: Any, arguments: Sequence[Any]) -> list[Any]:
        # With `raise_on_error`, redis-py would put all that was sent into the message.
        answers: list[Any] = await self._answer(pipeline.execute(raise_on_error=False), arguments)
        for answer in answers:
            if isinstance(answer, Exception):
                raise self._translated(answer, arguments) from answer
        return answers

    async def _answer(self, command: Awaitable[Any], arguments: Sequence[Any] = ()) -> Any:
        task = asyncio.current_task()
        cancels = 0 if task is None else task.cancelling()
        answer, failure = None, None
        try:
            answer = await command
        except Exception as error:  # noqa: BLE001 - translated below
            failure = error
            await self._leave_server(error)
        # redis-py sends by `asyncio.wait_for`, which swallows cancels before Python 3.12, and whoever waits for the
        # task to end would wait for ever.
        if task is not None and task.cancelling() > cancels:
            raise asyncio.CancelledError from failure
        if failure is not None:
            raise self._translated(failure, arguments) from failure
        return answer

    async def _leave_server(self, error: Exception) -> None:
        """Close the idle connections if the server hangs or refuses to write: new ones may find another master."""
        from redis import exceptions

        gone = (
            exceptions.ConnectionError,
            exceptions.TimeoutError,
            exceptions.ReadOnlyError,
            OSError,
        )
        # Redis 6 says it of a script within another error.
        if isinstance(error, gone) or re.search("READONLY|NOREPLICAS", str(error)):
            with suppress(exceptions.RedisError, OSError):
                await self._client.connection_pool.disconnect(inuse_connections=False)

    def _translated(self, error: Exception, arguments: Sequence[Any]) -> MetricsCollectorError:
        from redis import exceptions

        # uvloop's way to say that the other side has closed the connection, where asyncio's own loop is silent.
        closed = isinstance(error, RuntimeError) and str(error).endswith("the handler is closed")
        if not (closed or isinstance(error, exceptions.RedisError | OSError | TimeoutError)):
            raise error
        detail = self._refused(str(error), arguments) or _in_words(error)
        # What a cluster answers that has not said that it is one.
        answers = exceptions.ClusterCrossSlotError, exceptions.ClusterDownError, exceptions.AskError
        # A replica without its master is in the same family.
        if isinstance(error, answers) and not isinstance(error, exceptions.MasterDownError):
            return self._clustered()
        # Redis 6 says it of a script within another error.
        full = isinstance(error, exceptions.OutOfMemoryError) or "-OOM" in detail
        kind = StoreFullError if full else StoreUnavailableError
        return kind(f"Redis at {self.label} cannot be used: {detail}")

    def _refused(self, error: str, arguments: Sequence[Any]) -> str | None:
        if not refusals.is_one(error):
            return None
        scripts = {one.sha: (name, self._texts[name]) for name, one in self._scripts.items()}
        return refusals.in_words(error, scripts, self.keys.patterns(arguments))

    def _clustered(self) -> IncompatibleStoreError:
        return IncompatibleStoreError(
            f"Redis at {self.label} is a Redis Cluster, in which the keys of a pipeline would lie on several servers; "
            "metrics-collector needs a Redis (or Valkey) with cluster-enabled no"
        )


def _asking(keys: Sequence[str]) -> bytes:
    """The commands for some hashes, as they are sent."""
    return b"".join([_HGETALL % (len(key), key) for key in map(str.encode, keys)])


def _in_words(error: Exception) -> str:
    """What an error says; of a connection that failed asyncio says its address, as a tuple, and not the reason."""
    text = str(error) or (
        "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    )
    number = re.search(r"Err(?:or|no) ([0-9]+)", text)
    reason = os.strerror(int(number[1])) if number else "no connection"
    return re.sub(r"Connect call failed \(.*?\)", reason, text)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
