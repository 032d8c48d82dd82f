"""What a Redis server says of itself, and what in its configuration endangers entries that wait there."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._support import sentinel_urls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metrics_collector._redis.connection import RedisConnection


# Whether the last of each worked, as INFO says.
_WRITTEN: Final = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")


class ServerState(NamedTuple):
    """What the server says; `None` where it does not.

    Attributes:
        version: of Redis, or the one that the server is compatible with.
        used_memory: bytes.
        maxmemory: bytes; 0 for no limit.
    """

    version: str | None
    used_memory: int | None
    maxmemory: int | None


class Risks(NamedTuple):
    """What endangers entries that wait.

    Attributes:
        dangers: a line for each, with its remedy.
        known: whether the server said all that it takes to be sure that there is no other one.
    """

    dangers: list[str]
    known: bool


async def server(redis: RedisConnection) -> ServerState:
    """What the server says of itself.

    Raises:
        StoreUnavailableError: it cannot be reached.
    """
    info = await redis.ask("INFO")
    version = info.get("redis_version") or (await redis.ask("HELLO")).get("version")
    return ServerState(version or None, _number(info, "used_memory"), _number(info, "maxmemory"))


async def risks(redis: RedisConnection) -> Risks:
    """The dangers, as far as the server says; if it cannot be reached, none is known."""
    dangers = []
    known = False
    with suppress(StoreUnavailableError):  # which is said elsewhere
        memory = await redis.ask("INFO", "memory")
        limit, policy = _number(memory, "maxmemory"), memory.get("maxmemory_policy", "")
        if limit and policy.startswith("allkeys"):
            dangers.append(
                f"Redis at {redis.label} may evict entries before they are saved, as its maxmemory-policy is {policy}; "
                "set it to noeviction"
            )
        persistence = await redis.ask("INFO", "persistence")
        appended = _number(persistence, "aof_enabled")
        # Managed servers refuse CONFIG, or leave out what they do not want to tell.
        snapshots = None if appended else (await redis.ask("CONFIG GET", "save")).get("save")
        if appended == 0 and snapshots == "":
            dangers.append(
                f"Redis at {redis.label} keeps nothing on disk: if it dies, entries are lost whose producers have "
                "ended; set its appendonly to yes"
            )
        failing = [name for name in _WRITTEN if persistence.get(name) == "err"]
        if failing and (appended or snapshots != ""):
            dangers.append(
                f"Redis at {redis.label} fails to write its data to its disk ({', '.join(failing)}: err); "
                "see its log, and whether that disk is full"
            )
        known = (limit == 0 or bool(policy)) and (bool(appended) or snapshots is not None)
        if redis.label.partition(":")[0] in sentinel_urls.SCHEMES:
            replication = await redis.ask("INFO", "replication")
            replicas = _number(replication, "connected_slaves")
            if replicas == 0:
                dangers.append(
                    f"Redis at {redis.label} has no replica that could take over if it dies; start one"
                )
            # Who has one alone would not write without it.
            elif replicas and replicas > 1 and "min_slaves_good_slaves" not in replication:
                dangers.append(
                    f"Redis at {redis.label} goes on taking entries if it is cut off from its replicas, which are lost "
                    "as one of these takes over; set min-replicas-to-write to 1"
                )
            known = known and replicas is not None
    return Risks(dangers, known)


def _number(fields: Mapping[str, str], name: str) -> int | None:
    value = fields.get(name, "")
    return int(value) if value.isdecimal() else None
