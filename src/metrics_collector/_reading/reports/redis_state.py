"""What Redis says about the entries on their way."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from metrics_collector._core.decoding import decode
from metrics_collector._core.entries import RejectedEntryError
from metrics_collector._reading.reports.report_types import ProcessState
from metrics_collector._reading.roles import STARTED_BY
from metrics_collector._redis import clocks, server_risks
from metrics_collector._redis.reader_commands import ReaderCommands

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from metrics_collector._redis.connection import RedisConnection


class Flow:
    """What `look` has found, nothing before; attributes as in `Pipeline` and `RedisState`."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.used_memory: int | None = None
        self.maxmemory: int | None = None
        self.dangers: list[str] = []
        self.dangers_known = False
        self.waiting: int | None = None
        self.claims: int | None = None
        self.lag: float | None = None
        self.clock_ahead: float | None = None
        self.calls_ahead: float | None = None
        self.processes: tuple[ProcessState, ...] | None = None
        self.producers: int | None = None
        self.dropped: int | None = None

    async def look(self, redis: RedisConnection, *, embedded: bool) -> None:
        """Ask Redis; an `embedded` one is in this process, so that there is no other one and no server to ask."""
        await redis.check_server()
        reader = ReaderCommands(redis)
        self.waiting = await reader.waiting()
        self.claims, oldest = await reader.oldest()
        ends = _ends(oldest)
        now = await clocks.look(redis)
        by_redis = (
            now.own if now.redis is None else now.redis
        )  # it may be this machine's clock that is wrong
        self.lag = 0.0 if not oldest else max(0.0, by_redis - min(ends)) if ends else None
        dropped = await reader.dropped()
        self.producers = len(dropped)
        self.dropped = sum(dropped.values())
        if embedded:
            self.processes = ()
            return
        beats = {role: await reader.heartbeats(role) for role in STARTED_BY}
        self.processes = tuple(
            _process_state(role, process, state)
            for role, states in beats.items()
            for process, state in states.items()
        )
        self.clock_ahead = now.ahead
        if ends and now.redis is not None:
            self.calls_ahead = max(0.0, max(ends) - now.redis)
        server = await server_risks.server(redis)
        self.version, self.used_memory, self.maxmemory = server
        self.dangers, self.dangers_known = await server_risks.risks(redis)


def moment(seconds: Any) -> datetime | None:
    """UTC epoch seconds as a datetime."""
    return None if seconds is None else datetime.fromtimestamp(float(seconds), UTC)


def _ends(elements: Iterable[bytes]) -> list[float]:
    """When the calls ended whose entries these are."""
    ends = []
    for raw in elements:
        with suppress(RejectedEntryError):
            ends.append(decode(raw).created_at)
    return ends


def _process_state(role: str, name: str, state: Mapping[str, Any]) -> ProcessState:
    host, _, process = name.rpartition(":")
    error = state.get("error")
    return ProcessState(
        role=role,
        host=host,
        process=process,
        flushed_at=moment(state.get("flushed_at")),
        error=None if error is None else str(error),
        db=state.get("db"),
        path=state.get("path"),
        clock_ahead=state.get("clock_ahead"),
    )
