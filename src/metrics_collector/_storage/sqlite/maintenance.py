"""What keeps the database in order, outside the saving of entries."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from metrics_collector._storage.steps import Statement

if TYPE_CHECKING:
    from metrics_collector._storage.sqlite.session import Steps


def state() -> Steps[tuple[str, int]]:
    """The database's id and the number of its last commit."""
    ((db, no),) = yield Statement("SELECT db, no FROM meta")
    return db, no


def draw_new_db(old: str) -> Steps[str]:
    """Give the database a new id, unless another worker has just done so, and return the one it has.

    A copy that was restored has an old `no` under the same id, so Redis would take its totals for outdated ones.
    """
    yield Statement("BEGIN IMMEDIATE")
    yield Statement("UPDATE meta SET db = ? WHERE db = ?", (secrets.token_hex(8), old))
    ((db,),) = yield Statement("SELECT db FROM meta")
    yield Statement("COMMIT")
    return str(db)


def forget_old_ledger(before: float) -> Steps[None]:
    """Delete what the ledger has not used since `before` (UTC epoch seconds)."""
    yield Statement("DELETE FROM ledger WHERE used_at < ?", (before,))
