"""The file of a database, and what may be wrong with it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from metrics_collector._errors import IncompatibleStoreError, StoreUnavailableError
from metrics_collector._storage.reopening import BeginAgainError
from metrics_collector._storage.sqlite import write_ahead_log

Version: TypeAlias = tuple[int, ...]

_TRIAL: Final = 1_000_000  # bytes, about what a flush of some thousand entries takes
_CLOCK_STEP: Final = 0.02  # seconds; those of a file system's clock are 0.01 at most


def must_be_no_folder(path: str) -> None:
    """Refuse a path that is a folder.

    Raises:
        StoreUnavailableError: it is a folder.
    """
    if Path(path).is_dir():
        raise StoreUnavailableError(
            f"{path} is a folder; give the path of a file, such as {path}/metrics.db"
        )


def must_be_same(path: str, before: tuple[int, int] | None, opened: tuple[int, int] | None) -> None:
    """Check that SQLite has opened the file that is at the path.

    Nothing tells which file that is, but one that was there before and after is it.

    Raises:
        StoreUnavailableError: it may have opened another one.
    """
    if opened is None or before not in (None, opened):
        raise StoreUnavailableError(
            f"the database {path} was deleted or replaced while it was being opened"
        )


def identity(path: str) -> tuple[int, int] | None:
    """What distinguishes a file from another one that replaces it; `None` if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - one call on the flush's way
    except OSError:
        return None
    return status.st_dev, status.st_ino


def exists(path: str) -> bool:
    """Whether there is a file.

    Raises:
        StoreUnavailableError: this user may not know.
    """
    try:
        os.stat(path)  # noqa: PTH116 - as above
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StoreUnavailableError(
            f"the database {path} cannot be read ({error.strerror}): let this user enter its folder"
        ) from error
    return True


def must_be_readable(path: str) -> None:
    """Refuse a file that this user may not read.

    Raises:
        StoreUnavailableError: it is one.
    """
    if not write_ahead_log.may(path, os.R_OK):
        raise StoreUnavailableError(
            f"the database {path} cannot be read: let this user read the file"
        )


def version_without_log(path: str) -> Version | None:
    """The version of a file that has no log, so that all is in the file; `None` if there is one."""
    version = _version(path)
    # From now on a write changes its time, and what was written before is whole if there is no log.
    time.sleep(_CLOCK_STEP)
    return None if write_ahead_log.exists(path) else version


def log_unreadable(path: str, error: sqlite3.OperationalError) -> Exception:
    """What it means that a file that has a log could not be opened to read."""
    if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}:
        return error
    return BeginAgainError(
        f"the database {path} cannot be read ({error}), as {path}-wal holds a part of it: "
        "let this user read all files of that name, or write to the folder; or start a worker, which ends that"
    )


def must_be_as_before(
    path: str, version: Version, connection: sqlite3.Connection | None = None
) -> None:
    """Check that nobody has written to the file, so that what was read without locks is one state of it.

    Raises:
        BeginAgainError: somebody has; the connection is closed.
    """
    if _version(path) != version:
        if connection is not None:
            connection.close()
        raise BeginAgainError(
            f"the database {path} was written to again and again while it was read"
        )


def _version(path: str) -> Version:
    try:
        status = os.stat(path)  # noqa: PTH116 - as above
    except OSError:
        return ()
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


class Look(NamedTuple):
    """What can be seen of a file without opening it.

    Attributes:
        size: bytes, its log included.
        free: bytes that are left on its disk; `None` where that is not known.
        error: why this user cannot write it, or `None`.
    """

    size: int
    free: int | None
    error: str | None


def look(path: str, *, try_writing: bool = False) -> Look:
    """Look at the file; `try_writing`: and write something beside it, which is gone again then."""
    file = Path(os.path.realpath(path))  # where SQLite puts what it makes beside it
    size = 0
    for one in (file, file.with_name(file.name + "-wal")):
        # This user may not even enter the folder; and the log is deleted when nobody has the database open any more.
        with suppress(PermissionError, FileNotFoundError):
            size += one.stat().st_size if one.is_file() else 0
    writable = os.access(file if os.access(file, os.F_OK) else file.parent, os.W_OK)
    free = error = None
    with suppress(OSError):
        free = shutil.disk_usage(file.parent).free
    if not writable or not os.access(file.parent, os.W_OK):
        error = (
            f"this user cannot write {file}, or its folder, which SQLite needs for its log: "
            "give it the right to, or use a file in another folder"
        )
    elif try_writing:
        error = _refusal(file)
    return Look(size, free, error)


def _refusal(file: Path) -> str | None:
    """Why the disk takes nothing more: it is full, has a quota or no more inodes, or does not answer."""
    try:
        with tempfile.TemporaryFile(dir=file.parent) as trial:
            trial.write(bytes(_TRIAL))
            trial.flush()
            os.fsync(trial.fileno())
    except OSError as error:
        return (
            f"the database {file} cannot be written, as its disk takes no more ({error.strerror}): "
            "make room, the entries wait in Redis"
        )
    return None


_REMEDIES: Final = {
    sqlite3.SQLITE_CANTOPEN: "its folder must exist and be writable by this user",
    sqlite3.SQLITE_READONLY: "the file and its folder must be writable by this user",
    sqlite3.SQLITE_PERM: "the file and its folder must be writable by this user",
    sqlite3.SQLITE_FULL: "the disk is full; make room, the entries wait in Redis",
    sqlite3.SQLITE_IOERR: "the disk does not answer or is full; the entries wait in Redis",
    sqlite3.SQLITE_BUSY: "another program holds its lock; the entries wait in Redis",
    sqlite3.SQLITE_LOCKED: "another program holds its lock; the entries wait in Redis",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; move it away and restore a copy, the entries wait in Redis",
}


def translated(error: sqlite3.Error, path: str) -> StoreUnavailableError | IncompatibleStoreError:
    """The driver's error as one of ours, in one line with the remedy."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_NOTADB:
        return IncompatibleStoreError(
            f"{path} is not a SQLite database; use another file, or move that one away"
        )
    remedy = _REMEDIES.get(primary or 0)
    return StoreUnavailableError(
        f"the database {path} cannot be used ({error})" + (f": {remedy}" if remedy else "")
    )
