"""What a Redis server says of itself, and what in its configuration endangers entries that wait there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metrics_collector._errors import StoreUnavailableError

if TYPE_CHECKING:
    from metrics_collector._redis.connection import RedisConnection


async def server(redis: RedisConnection) -> dict[str, Any]:
    """The fields of INFO, numbers as numbers; none where the server refuses or does not answer."""
    return await _asked(redis, "INFO")


async def dangers(redis: RedisConnection) -> list[str]:
    """A line for each danger, with its remedy; none where the server does not say or cannot be asked."""
    memory = await _asked(redis, "INFO", "memory")
    found = []
    policy = str(memory.get("maxmemory_policy", ""))
    if memory.get("maxmemory") and policy.startswith("allkeys"):
        found.append(
            f"Redis at {redis.label} may evict entries before they are saved, as its maxmemory-policy is {policy}; "
            "set it to noeviction"
        )
    persistence = await _asked(redis, "INFO", "persistence")
    snapshots = await _asked(redis, "CONFIG GET", "save")
    if persistence.get("aof_enabled") == 0 and snapshots.get("save") == "":
        found.append(
            f"Redis at {redis.label} keeps nothing on disk: if it dies, entries are lost whose producers have ended; "
            "set its appendonly to yes"
        )
    return found


async def _asked(redis: RedisConnection, *command: str) -> dict[str, Any]:
    try:
        fields = await redis.execute(*command)
    except StoreUnavailableError:
        return {}  # managed servers refuse CONFIG; and what is away is said elsewhere
    text = {_text(name): _text(value) for name, value in fields.items()}
    return {name: int(value) if value.isdigit() else value for name, value in text.items()}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
