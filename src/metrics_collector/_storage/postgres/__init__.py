"""The store in PostgreSQL: the tables of the schema `metrics_collector` in one database.

What a transaction does is written once, as a generator of steps (`save`, `reads`, `deletion`, `maintenance`), and is
driven with a thread for each that waits for the server or, where no thread can be started any more, at the exit of the
interpreter, without one (`session`).
"""

from metrics_collector._storage.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
