"""What Redis says about the entries on their way."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.entries import RejectedEntryError, decode
from metrics_collector._reading.reports.report_types import ProcessState
from metrics_collector._redis import server_risks
from metrics_collector._redis.keys import ALIVE_PREFIX, CLAIMS, METRICS_LIST, claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from metrics_collector._redis.store import HotStore

STARTED_BY: Final[Mapping[str, str]] = {
    "worker": "taskiq worker metrics_collector.tasks:broker",
    "scheduler": "taskiq scheduler metrics_collector.tasks:scheduler",
}
_CLAIMS: Final = 100  # whose oldest entry is looked at


class Flow:
    """What `look` has found; attributes as in `Pipeline` and `RedisState`."""

    def __init__(self) -> None:
        self.version: str | None = None
        self.used_memory: int | None = None
        self.maxmemory: int | None = None
        self.dangers: list[str] = []
        self.waiting = 0
        self.claims = 0
        self.lag: float | None = None
        self.processes: list[ProcessState] = []
        self.producers = 0
        self.dropped = 0

    async def look(self, store: HotStore, label: str, *, embedded: bool) -> None:
        """Ask Redis.

        Args:
            store: open.
            label: the URL without its secrets.
            embedded: Redis is in this process, so that there is no other one and no server to ask.

        Raises:
            StoreUnavailableError, IncompatibleStoreError: it cannot be used.
        """
        await store.check_version()
        self.waiting = await store.waiting()
        await self._look_at_heads(store)
        await self._look_at_producers(store)
        if embedded:
            return
        for role in STARTED_BY:
            for key, state in (await store.heartbeats(role)).items():
                self.processes.append(_process_state(role, key, state))
        server = await server_risks.told(store.client.info())
        self.version = str(server["redis_version"]) if "redis_version" in server else None
        self.used_memory = server.get("used_memory")
        self.maxmemory = server.get("maxmemory")
        self.dangers = await server_risks.dangers(store.client, label)

    async def _look_at_heads(self, store: HotStore) -> None:
        """The list and each claim have their oldest entries first."""
        tokens = await store.answer(store.client.zrange(CLAIMS, 0, -1))
        self.claims = len(tokens)
        pipeline = store.client.pipeline(transaction=False)
        pipeline.lindex(METRICS_LIST, 0)
        for token in tokens[:_CLAIMS]:
            pipeline.lindex(claim(token.decode()), 0)
        self.lag = _lag(raw for raw in await store.answer(pipeline.execute()) if raw is not None)

    async def _look_at_producers(self, store: HotStore) -> None:
        keys = await store.producers()
        pipeline = store.client.pipeline(transaction=False)
        for key in keys:
            pipeline.hget(key, "dropped")
        counts = await store.answer(pipeline.execute()) if keys else []
        self.producers = len(keys)
        self.dropped = sum(int(count or 0) for count in counts)


def moment(seconds: Any) -> datetime | None:
    """UTC epoch seconds as a datetime."""
    return None if seconds is None else datetime.fromtimestamp(float(seconds), UTC)


def _lag(heads: Iterable[bytes]) -> float | None:
    oldest: float | None = None
    for raw in heads:
        try:
            entry = decode(raw)
        except RejectedEntryError:
            continue
        oldest = entry.created_at if oldest is None else min(oldest, entry.created_at)
    return None if oldest is None else max(0.0, time.time() - oldest)


def _process_state(role: str, key: str, state: Mapping[str, Any]) -> ProcessState:
    host, _, process = key.removeprefix(f"{ALIVE_PREFIX}{role}:").rpartition(":")
    error = state.get("error")
    return ProcessState(
        role=role,
        host=host,
        process=process,
        flushed_at=moment(state.get("flushed_at")),
        error=None if error is None else str(error),
    )
