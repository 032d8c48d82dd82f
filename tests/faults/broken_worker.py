"""What `taskiq worker` runs where a worker is to break at one step of a flush: the real one, with that step wrapped.

What is to happen stands in files (`breaking`). No test imports this: it changes the package for the whole process.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metrics_collector._redis.worker_commands import WorkerCommands
from metrics_collector._storage.on_session import asks
from metrics_collector._storage.postgres import save as postgres_save
from metrics_collector._storage.postgres import store as postgres_store
from metrics_collector._storage.sqlite import save, schema
from metrics_collector._storage.steps import Statement
from metrics_collector.tasks import broker
from tests.faults.breaking import BREAKS, FULL, STOPPED

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Generator

    from metrics_collector._core.pipeline_types import Acknowledged, Claim, Saved
    from metrics_collector._storage.chunks import Chunk

    Steps = Generator[Any, list[Any], Saved]

__all__ = ["broker"]

_folder = Path.cwd()  # of the test: the processes begin there
_passes: Counter[str] = Counter()
_claim, _read, _acknowledge = WorkerCommands.claim, WorkerCommands.read, WorkerCommands.acknowledge
_prepare = schema.prepare


def _pass(step: str) -> None:
    _passes[step] += 1
    file = _folder / BREAKS
    first, *others = (file.read_text().splitlines() if file.exists() else []) or [""]
    if not first:
        return
    breaking, number, how = first.split()
    if breaking != step or _passes[step] != int(number):
        return
    file.write_text("\n".join(others))
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    (_folder / STOPPED).write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)


async def _claiming(self: WorkerCommands, **options: Any) -> Claim:
    claim = await _claim(self, **options)
    if claim.token:
        _pass("claimed")
    return claim


async def _reading(
    self: WorkerCommands, token: str, count: int, start: int = 0
) -> tuple[int, list[bytes]]:
    read = await _read(self, token, count, start)
    _pass("read")
    return read


def _breaking(save_chunk: Callable[[Chunk, float], Steps]) -> Callable[..., Any]:
    def saving(chunk: Chunk, now: float) -> Steps:
        steps = save_chunk(chunk, now)
        answer: list[Any] | None = None
        while True:
            try:
                step = next(steps) if answer is None else steps.send(answer)
            except StopIteration as end:
                saved: Saved = end.value
                return saved
            if step == Statement("COMMIT"):
                _pass("saving")
            answer = yield step

    return saving


async def _acknowledging(
    self: WorkerCommands, token: str, length: int, count: int, **what: Any
) -> Acknowledged:
    if count:
        _pass("committed")
    acknowledged = await _acknowledge(self, token, length, count, **what)
    if count:
        _pass("acknowledged")
    return acknowledged


def _preparing(connection: sqlite3.Connection, path: str) -> None:
    _prepare(connection, path)
    if (_folder / FULL).exists():
        connection.execute("PRAGMA max_page_count = 1")  # that is: as many as there are


WorkerCommands.claim = _claiming  # type: ignore[method-assign]  # so that it dies there
WorkerCommands.read = _reading  # type: ignore[method-assign]  # so that it dies there
WorkerCommands.acknowledge = _acknowledging  # type: ignore[method-assign]  # so that it dies there
save.save = _breaking(save.save)
postgres_store.Writer.save = asks(_breaking(postgres_save.save))
schema.prepare = _preparing
