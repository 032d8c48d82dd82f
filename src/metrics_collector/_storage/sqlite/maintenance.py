"""What keeps the database in order, outside the saving of entries."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from metrics_collector._storage.base import StoreState
from metrics_collector._storage.sqlite.schema import check_version
from metrics_collector._storage.sqlite.session import Copy
from metrics_collector._storage.steps import Statement

if TYPE_CHECKING:
    from metrics_collector._storage.sqlite.session import Steps

NEXT_NO: Final = "UPDATE meta SET no = no + 1 WHERE shard = 0 AND changes() > 0"
"""Behind what changes rows otherwise than a save does, once in its transaction: each commit has a number of its own."""


def state() -> Steps[StoreState]:
    """As `OpenStore.state`; of a file that can still be used, though it was opened before."""
    ((db, no, version),) = yield Statement(
        "SELECT db, no, user_version FROM meta, pragma_user_version WHERE shard = 0"
    )
    check_version(version, "the database")
    return StoreState(db, no)


def copy(file: str) -> Steps[int]:
    """As `StoreReader.copy`."""
    (size,) = yield Copy(file)
    return int(size)


def draw_new_db(old: str) -> Steps[str]:
    """As `StoreWriter.draw_new_db`."""
    yield Statement("BEGIN IMMEDIATE")
    yield Statement("UPDATE meta SET db = ? WHERE db = ?", (secrets.token_hex(8), old))
    ((db,),) = yield Statement("SELECT db FROM meta WHERE shard = 0")
    yield Statement("COMMIT")
    return str(db)


def forget_old_ledger(before: float) -> Steps[None]:
    """As `StoreWriter.forget_old_ledger`."""
    yield Statement("BEGIN IMMEDIATE")
    yield Statement("DELETE FROM ledger WHERE used_at < ?", (before,))
    yield Statement(NEXT_NO)
    yield Statement("COMMIT")
