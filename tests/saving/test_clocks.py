"""What is deleted by its age, and that nothing is while the clocks of worker and Redis differ."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._saving.flush import DAY, Flush
from metrics_collector._saving.purge import Purge
from metrics_collector._storage.sqlite import SQLiteStore
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.helpers.pipeline import Call, commands_on, foreign, push
from tests.helpers.rows import rows

if TYPE_CHECKING:
    from pathlib import Path

COUNTS = "SELECT (SELECT count(*) FROM ledger), (SELECT count(*) FROM metrics)"


class Worker:
    """What a worker with a clock that is ahead by so many seconds does by the clock."""

    def __init__(self, client: Any, path: Path, *, ahead: float = 0.0) -> None:
        store = SQLiteStore(str(path))
        self.flush = Flush(
            commands_on(client).worker,
            store,
            ledger_days=30.0,
            log=RateLimitedLog(),
            wall=lambda: time.time() + ahead,
        )
        self.purge = Purge(store, {"entry": 30.0}, self.flush.clocks)


async def test_reconciling_forgets_old_parts_of_the_ledger(client: Any, path: Path) -> None:
    worker = Worker(client, path)
    await push(commands_on(client), Call())
    await worker.flush.drain()
    for days, left in (("29.9", 1), ("0.2", 0)):
        aging = "UPDATE ledger SET used_at = used_at - 86400 * DAYS".replace("DAYS", days)
        await asyncio.to_thread(rows, path, aging)
        await worker.flush.reconcile()
        assert await asyncio.to_thread(rows, path, COUNTS) == [(left, 1)]


@pytest.mark.parametrize("ahead", [45.0, 0.0, -45.0])
async def test_a_clock_that_is_a_little_ahead_deletes_nothing_too_early(
    client: Any, path: Path, ahead: float
) -> None:
    due = time.time() - 30 * DAY
    for name, at in (("app.kept", due + 30), ("app.purged", due - 60)):
        await client.rpush("metrics_list", foreign(name, at=at))
    worker = Worker(client, path, ahead=ahead)
    await worker.flush.drain()
    await worker.purge.run()
    found = await asyncio.to_thread(rows, path, "SELECT func_name FROM metrics")
    assert found == [("app.kept",)]


@pytest.mark.parametrize("days", [31.0, -31.0])
async def test_nothing_is_deleted_while_clocks_differ(
    client: Any, path: Path, days: float, caplog: pytest.LogCaptureFixture
) -> None:
    await client.rpush("metrics_list", foreign(at=time.time() - 90 * DAY))
    await push(commands_on(client), Call())
    worker = Worker(client, path, ahead=days * DAY)
    await worker.flush.drain()
    await worker.flush.reconcile()
    said = f"clock of this machine is 31 days, 0:00:00 {'ahead of' if days > 0 else 'behind'} that"
    assert f"nothing is deleted by its age: the {said}" in caplog.text
    with pytest.raises(StoreUnavailableError, match=said):
        await worker.purge.run()
    # Nor does a worker with the right time forget at once what that one has saved.
    await Worker(client, path).flush.reconcile()
    assert await asyncio.to_thread(rows, path, COUNTS) == [(2, 2)]
