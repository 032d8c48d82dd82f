"""Whether a write-ahead log is that of the file beside it.

SQLite goes by the name alone: it would put the log of a file that was deleted or replaced, as by a copy from before,
into the one that is there now, which is damaged by that. But each of our commits has a number, and knows the one before
it. So a log belongs to a file whose last commit is in it, or is the one before its first. And a copy that SQLite has
made by other pages than the original's (`VACUUM INTO`) has a later schema, by its cookie, than any commit in the log.
A log that says nothing of that, as other programs may write it, is taken for the file's own.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._storage.reopening import ClosedByForkError
from metrics_collector._storage.sqlite import database_file, fork_safe_connection
from metrics_collector._storage.sqlite.write_ahead_log import beside
from metrics_collector._support import fork_hooks
from metrics_collector._support.rate_limited_log import logger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

# From "WAL-mode File Format" and "Database File Format" in SQLite's documentation. Lengths are bytes.
_HEADER: Final = 32  # at the beginning of the log
_FRAME: Final = 24  # before each page in it
_BEGIN: Final = 44  # of a page, up to the cookie
_FIRST_PAGE: Final = b"\0\0\0\1"
_COOKIE: Final = 40  # where it stands there
_TABLE: Final = 13  # the kind of page
_ONE_ROW: Final = b"\0\1"
# The row of `meta`: its length, its id, the length of its header, the types of db, no, shard and previous, and db.
_META: Final = re.compile(rb"..\x05\x2d(?P<types>[\0-\x06\x08\x09]{3})[0-9a-f]{16}", re.DOTALL)
_LENGTHS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # of integers by type
_CONSTANTS: Final = {8: 0, 9: 1}  # types that are their value

_NOTHING: Final = -1  # the number of a file that is missing or empty, to which no log belongs

_LOOKS: Final = 3
_BETWEEN: Final = 0.02  # seconds, in which whoever writes goes on


class _Commit(NamedTuple):
    """What a transaction in a log says."""

    # Its own and that of the one before; none if another program has made it.
    numbers: frozenset[int | None]
    cookie: int | None  # of the schema; `None` if it has not written the first page


def ensure(path: str, driver: int, timeout: float) -> None:
    """Put a log away that is another file's.

    Raises:
        StoreUnavailableError: this user may not.
        ClosedByForkError: the process forked meanwhile.
    """
    while True:
        with _opened(path) as log:
            if log is None or _is_own(path, log, driver, timeout):
                return
            _put_away(path, log)


def is_own(path: str, driver: int, timeout: float) -> bool:
    """Whether the log belongs to the file at the path; also if there is none, or nobody can say."""
    with suppress(ClosedByForkError), _opened(path) as log:
        return log is None or _is_own(path, log, driver, timeout)
    return True


def identity(path: str) -> tuple[int, int] | None:
    """What distinguishes the log of a database from another one that replaces it; `None` if there is none."""
    return database_file.identity(str(beside(path, "-wal")))


@contextmanager
def _opened(path: str) -> Iterator[FileIO | None]:
    try:
        log = beside(path, "-wal").open("rb", buffering=0)
    except (FileNotFoundError, PermissionError):
        yield None
        return
    with log:
        yield log


def _is_own(path: str, log: FileIO, driver: int, timeout: float) -> bool:
    for _ in range(_LOOKS):  # what was read while somebody wrote it says nothing
        if not _differs(path, log, driver, timeout):
            return True
        time.sleep(_BETWEEN)
    return False


def _differs(path: str, log: FileIO, driver: int, timeout: float) -> bool:
    begin = _read(log, 0, _HEADER)
    try:
        no, cookie = _state(path, driver, timeout)
    except sqlite3.DatabaseError:
        return False
    numbered = same = schemas = fits = False
    for commit in _commits(log, begin):
        numbered |= bool(commit.numbers)
        same |= no in commit.numbers
        if commit.cookie is not None:
            schemas = True
            fits |= cookie <= commit.cookie
        if same and fits:
            return False
    foreign = (numbered and not same) or (schemas and not fits)
    return foreign and begin == _read(log, 0, _HEADER)


def _state(path: str, driver: int, timeout: float) -> tuple[int | None, int]:
    """Of the file alone the number of the last commit, `None` if it has no tables yet, and the schema's cookie."""
    try:
        if not Path(path).stat().st_size:
            return _NOTHING, 0
    except FileNotFoundError:
        return _NOTHING, 0
    uri = f"{Path(path).absolute().as_uri()}?mode=ro&immutable=1"
    with closing(fork_safe_connection.connect(uri, driver, uri=True, timeout=timeout)) as file:
        ((cookie,),) = file.execute("PRAGMA schema_version").fetchall()
        if not file.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchall():
            return None, cookie
        ((no,),) = file.execute("SELECT no FROM meta").fetchall()
        return no, cookie


def _commits(log: FileIO, begin: bytes) -> Iterator[_Commit]:
    """The transactions that are whole."""
    size = int.from_bytes(begin[8:12], "big")
    page = 65536 if size == 1 else size
    numbers: frozenset[int | None] = frozenset()
    cookie: int | None = None
    at = _HEADER
    while len(frame := _read(log, at, _FRAME + _BEGIN)) == _FRAME + _BEGIN:
        if frame[8:16] != begin[16:24]:  # it was written before the log was begun anew
            return
        if frame[:4] == _FIRST_PAGE:
            cookie = int.from_bytes(frame[_FRAME + _COOKIE :][:4], "big")
        elif frame[_FRAME] == _TABLE and frame[_FRAME + 3 : _FRAME + 5] == _ONE_ROW:
            numbers |= _numbers(_read(log, at + _FRAME, page))
        if frame[4:8] != bytes(4):
            yield _Commit(numbers, cookie)
            numbers, cookie = frozenset(), None
        at += _FRAME + page


def _numbers(page: bytes) -> frozenset[int | None]:
    """Those in a page with one row, if that is the row of `meta`."""
    row = _META.match(page, int.from_bytes(page[8:10], "big"))
    if row is None:
        return frozenset()
    at = row.end()
    values: list[int | None] = []
    for kind in row["types"]:
        length = _LENGTHS.get(kind, 0)
        number = int.from_bytes(page[at : at + length], "big", signed=True)
        values.append(number if length else _CONSTANTS.get(kind))
        at += length
    no, shard, previous = values
    return frozenset() if shard else frozenset({no, previous})


def _put_away(path: str, log: FileIO) -> None:
    """Give the log another name, unless somebody else has just done so; its index is of no use any more."""
    file, index = beside(path, "-wal"), beside(path, "-shm")
    kept = f"{file}.replaced-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    try:
        with fork_hooks.no_fork(), _locked(log):
            if _identity(log) != identity(path):
                return
            # The index first: who comes meanwhile finds the log, and waits.
            index.unlink(missing_ok=True)
            file.rename(kept)
    except OSError as error:
        raise StoreUnavailableError(
            f"{file} is not the log of the database {path}, as after a copy was restored, and cannot be moved away "
            f"({error.strerror}): stop the workers, delete it and {index}"
        ) from error
    logger.warning(
        "%s was not the log of the database that is there now, as after a copy was restored; it is now %s",
        file,
        kept,
    )


@contextmanager
def _locked(log: FileIO) -> Iterator[None]:
    """Alone with the log, among those who would put it away; a child that is forked would keep the lock."""
    try:
        import fcntl
    except ImportError:  # on Windows nobody can rename a file that is in use
        yield
        return
    fcntl.flock(log, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(log, fcntl.LOCK_UN)


def _identity(log: FileIO) -> tuple[int, int]:
    status = os.fstat(log.fileno())
    return status.st_dev, status.st_ino


def _read(log: FileIO, at: int, length: int) -> bytes:
    log.seek(at)
    return log.read(length)
