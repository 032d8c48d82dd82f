"""The write-ahead log and its index, `-wal` and `-shm`: whose they are, and who may make and delete them.

Whoever opens the database first makes them, with the rights of the file, and a reader leaves them when it has done. As
SQLite makes a file that only its owner may write, a worker could save no more once a reader of another user has left a
log. So such a reader makes none, and a writer deletes what others have left.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._storage.sqlite import fork_safe_connection

if TYPE_CHECKING:
    from metrics_collector._storage.sqlite.fork_safe_connection import Connection

_USUAL: Final = 100_000_000  # bytes; what is saved at once takes a third at most

_EFFECTIVE: Final = os.access in os.supports_effective_ids  # not on Windows


def may_be_made(path: str) -> bool:
    """Whether a reader of this user can make a log, and the owner of the file can write that, too."""
    user = os.geteuid() if hasattr(os, "geteuid") else 0  # on Windows the folder gives the rights
    try:
        owner = Path(path).stat().st_uid
    except FileNotFoundError:  # since a moment ago
        owner = user
    # SQLite gives away what root makes.
    return user in {0, owner} and may(beside(path, "").parent, os.W_OK)


def exists(path: str) -> bool:
    """Whether there is one, or a journal, so that the file alone may be old or half written."""
    return beside(path, "-wal").exists() or beside(path, "-journal").exists()


def growth(path: str) -> str | None:
    """What there is to say of its size, with the remedy; `None` if that is as usual, or this user may not know."""
    file = beside(path, "-wal")
    try:
        size = file.stat().st_size
    except OSError:
        return None
    if size <= _USUAL:
        return None
    return (
        f"the write-ahead log {file} has grown to {size / 1e6:,.0f} MB and goes on until the disk is full, as some "
        f"program has been reading the database for long, or was stopped as it did: end it; `fuser {file}` names it"
    )


def keep(path: str, driver: int, timeout: float) -> Connection:
    """A connection that makes no log, and as long as it is open nobody who closes one deletes a log.

    It has a shared lock on the file, as each connection has. Before it came to the log it would need an exclusive one,
    which it asks for in vain, as it only reads; and in that mode it does not give back what it has.
    """
    uri = f"{Path(path).absolute().as_uri()}?mode=ro"
    connection = fork_safe_connection.connect(uri, driver, uri=True, timeout=timeout)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    with suppress(sqlite3.Error):
        connection.execute("SELECT count(*) FROM sqlite_master")
    return connection


def delete_others(path: str, driver: int, timeout: float) -> None:
    """Delete what another user has left and this one may not write.

    Raises:
        StoreUnavailableError: somebody has the database open, it holds something, or this user may not delete it.
    """
    logs = (beside(path, "-wal"), beside(path, "-shm"))
    others = [one for one in logs if one.exists() and not may(one, os.W_OK)]
    if not others or not may(path, os.W_OK):
        return
    try:
        with closing(fork_safe_connection.connect(path, driver, timeout=timeout)) as connection:
            # This mode takes no index, but a lock on the file, which nobody gets while another one has it open.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("SELECT count(*) FROM sqlite_master")
            for one in filter(Path.exists, others):
                if one.name.endswith("-wal") and one.stat().st_size:
                    raise FileExistsError("it is not empty")
                one.unlink()
    except (sqlite3.OperationalError, OSError) as error:
        raise StoreUnavailableError(
            f"the database {path} cannot be written, as {others[0]} is another user's ({error}): "
            "end the program that has the database open, or give that file to this user by chown"
        ) from error


def may(path: str | Path, mode: int) -> bool:
    """Whether this user may do that, as `os.access` names it."""
    return os.access(path, mode, effective_ids=_EFFECTIVE)


def beside(path: str, suffix: str) -> Path:
    """A file that SQLite makes beside the one that a path leads to, maybe by links."""
    return Path(os.path.realpath(path) + suffix)
