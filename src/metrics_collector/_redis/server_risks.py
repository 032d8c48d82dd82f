"""What in a Redis server's configuration endangers entries that wait there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def dangers(client: Redis, label: str) -> list[str]:
    """A line for each danger, with its remedy; none where the server does not say or cannot be asked.

    Args:
        client: for the running loop.
        label: the URL without its secrets.
    """
    memory = await told(client.info("memory"))
    found = []
    policy = str(memory.get("maxmemory_policy", ""))
    if memory.get("maxmemory") and policy.startswith("allkeys"):
        found.append(
            f"Redis at {label} may evict entries before they are saved, as its maxmemory-policy is {policy}; "
            "set it to noeviction"
        )
    persistence = await told(client.info("persistence"))
    snapshots = await told(client.config_get("save"))
    if persistence.get("aof_enabled") == 0 and snapshots.get("save") == "":
        found.append(
            f"Redis at {label} keeps nothing on disk: if it dies, entries are lost whose producers have ended; "
            "set its appendonly to yes"
        )
    return found


async def told(answer: Any) -> dict[str, Any]:
    """What a server says in fields, numbers as numbers; nothing where it refuses or does not answer."""
    from redis.exceptions import RedisError

    try:
        fields = await answer
    except (
        RedisError,
        OSError,
    ):  # managed servers refuse CONFIG; and what is away is said elsewhere
        return {}
    text = {_text(name): _text(value) for name, value in fields.items()}
    return {name: int(value) if value.isdigit() else value for name, value in text.items()}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
