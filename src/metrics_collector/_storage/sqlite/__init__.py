"""The store in one SQLite file: entries, rollups, totals, ledger and rejected entries.

What a transaction does is written once, as a generator of steps (`save`, `reads`, `deletion`, `maintenance`), and is
driven either through aiosqlite or, where no thread can be started any more, at the exit of the interpreter, through
`sqlite3` (`session`).
"""

from metrics_collector._storage.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
