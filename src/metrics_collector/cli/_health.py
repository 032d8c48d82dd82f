"""`health`: whether this host's worker or scheduler is alive, for container checks.

Runs every few seconds in a container, so it loads neither Taskiq nor the extras.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from metrics_collector._errors import ConfigurationError
from metrics_collector._reading.roles import STARTED_BY

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from metrics_collector._support.settings import Settings

SUMMARY: Final = "Check whether this host's worker or scheduler is alive."
_HELP: Final = f"""\
Usage: metrics-collector health [worker|scheduler]

{SUMMARY}

It goes by the heartbeats in Redis, and prints one line. Exit status: 0 if a
process of the worker (the default) or of the scheduler is alive on this host
and the last flush of each worker process succeeded, 1 if not, 2 for wrong
settings.
"""


class Health(NamedTuple):
    """Whether the processes are healthy, and the line that says so."""

    healthy: bool
    line: str


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    if "--help" in arguments:
        sys.stdout.write(_HELP)
        return 0
    if len(arguments) > 1 or not STARTED_BY.keys() >= set(arguments):
        raise ConfigurationError(
            f"health takes `worker` (the default) or `scheduler`, not {' '.join(arguments)!r}"
        )
    role = arguments[0] if arguments else "worker"
    from metrics_collector._runtime.collector import collector

    health = asyncio.run(look(role, collector.settings()))
    sys.stdout.write(health.line + "\n")
    return 0 if health.healthy else 1


async def look(role: str, settings: Settings) -> Health:
    """The health of this host's processes in a role, `worker` or `scheduler`.

    Raises:
        ConfigurationError: Redis is embedded.
    """
    from metrics_collector._reading import asking
    from metrics_collector._runtime import assembly
    from metrics_collector._support.settings import mask_url

    if assembly.is_embedded(settings):
        raise ConfigurationError(
            f"with REDIS_URL=memory:// there is no {role} process: each program saves its own entries"
        )
    host = socket.gethostname()
    beats = await asking.heartbeats(settings, role)
    states = [state for process, state in beats.items() if process.rpartition(":")[0] == host]
    if not states:
        url = mask_url(settings.redis_url)
        return Health(
            healthy=False,
            line=f"{role}: no heartbeat from this host ({host}); is `{STARTED_BY[role]}` running here, "
            f"on the Redis of REDIS_URL ({url})?",
        )
    return judge(role, states, time.time())


def judge(role: str, states: Collection[Mapping[str, Any]], now: float) -> Health:
    """What heartbeats say, at least one, at a moment in UTC epoch seconds.

    One process that reports an error makes it bad, whatever others say: it repeats what it cannot do every few seconds,
    so an error that is over is soon gone.
    """
    count = f"{len(states)} process{'es' if len(states) > 1 else ''}"
    errors = [str(state["error"]) for state in states if state.get("error")]
    if errors:
        return Health(
            healthy=False, line=f"{role}: {count}, but the last flush failed: {errors[0]}"
        )
    flushes = [float(state["flushed_at"]) for state in states if state.get("flushed_at")]
    if flushes:
        flushed = f", last flush {max(0.0, now - max(flushes)):.0f} s ago"
    else:
        flushed = ", no flush yet" if role == "worker" else ""
    return Health(healthy=True, line=f"{role}: alive ({count}){flushed}")
