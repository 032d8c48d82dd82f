"""What keeps the database in order, outside the saving of entries."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from metrics_collector._sqlite._reads import function_names
from metrics_collector._sqlite._session import Query

if TYPE_CHECKING:
    from metrics_collector._sqlite._session import Steps

_ROWS: Final = 5000  # deleted in one transaction, so that no flush waits long
_PAGES: Final = 1000  # given back to the disk at a time


def state() -> Steps[tuple[str, int]]:
    """The database's id and the number of its last commit."""
    ((db, no),) = yield Query("SELECT db, no FROM meta")
    return db, no


def draw_new_db(old: str) -> Steps[str]:
    """Give the database a new id, unless another worker has just done so, and return the one it has.

    A copy that was restored has an old `no` under the same id, so Redis would take its totals for outdated ones.
    """
    yield Query("BEGIN IMMEDIATE")
    yield Query("UPDATE meta SET db = ? WHERE db = ?", (secrets.token_hex(8), old))
    ((db,),) = yield Query("SELECT db FROM meta")
    yield Query("COMMIT")
    return str(db)


def forget_old_ledger(before: float) -> Steps[None]:
    """Delete what the ledger has not used since `before` (UTC epoch seconds)."""
    yield Query("DELETE FROM ledger WHERE used_at < ?", (before,))


def forget_old_entries(before: float) -> Steps[None]:
    """Delete the entries that were created before `before` (UTC epoch seconds), in small transactions.

    Function by function, as the index has them: rows lie only roughly in the order of time. Rollups and totals stay.
    """
    for func_name in (yield from function_names()):
        yield from _delete("metrics", "func_name = ? AND created_at < ?", (func_name, before))
    yield from _delete("rejected_entries", "rejected_at < ?", (before,))
    yield Query(f"PRAGMA incremental_vacuum({_PAGES})")


def _delete(table: str, where: str, parameters: tuple[object, ...]) -> Steps[None]:
    some = f"SELECT rowid FROM {table} WHERE {where} LIMIT {_ROWS}"
    deleted = _ROWS
    while deleted == _ROWS:
        yield Query(f"DELETE FROM {table} WHERE rowid IN ({some})", parameters)
        ((deleted,),) = yield Query("SELECT changes()")
