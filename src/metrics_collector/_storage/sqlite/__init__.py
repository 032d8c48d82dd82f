"""The database: entries, rollups, totals, ledger and rejected entries in one SQLite file.

What a transaction does is written once, as a generator of statements (`_save`, `_reads`, `_maintain`), and is driven
either through aiosqlite or, where no thread can be started any more, at the exit of the interpreter, through `sqlite3`
(`_session`).
"""

from metrics_collector._storage.sqlite.store import Reader, SQLiteStore, Writer

__all__ = ["Reader", "SQLiteStore", "Writer"]
