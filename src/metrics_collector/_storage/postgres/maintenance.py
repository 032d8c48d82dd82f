"""What keeps the database in order, outside the saving of entries."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from metrics_collector._storage.base import StoreState
from metrics_collector._storage.postgres.session import transaction
from metrics_collector._storage.steps import Statement

if TYPE_CHECKING:
    from metrics_collector._storage.postgres.session import Steps


def state() -> Steps[StoreState]:
    """As `OpenStore.state`."""
    (row,) = yield Statement("SELECT db, no FROM meta WHERE shard = 0")
    return StoreState(*row)


def lock() -> Steps[StoreState]:
    """As `state`, and let nobody else write until the end of the transaction."""
    (row,) = yield Statement("SELECT db, no FROM meta WHERE shard = 0 FOR UPDATE")
    return StoreState(*row)


def draw_new_db(old: str) -> Steps[str]:
    """As `StoreWriter.draw_new_db`."""

    def steps() -> Steps[str]:
        db, _ = yield from lock()
        if db == old:
            db = secrets.token_hex(8)
            yield Statement("UPDATE meta SET db = ?", (db,))
        return db

    return transaction(steps())


def forget_old_ledger(before: float) -> Steps[None]:
    """As `StoreWriter.forget_old_ledger`."""

    def steps() -> Steps[None]:
        yield from lock()
        yield Statement("DELETE FROM ledger WHERE used_at < ?", (before,))

    return transaction(steps())
