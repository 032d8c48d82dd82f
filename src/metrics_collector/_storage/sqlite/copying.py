"""A copy of the whole database in another file, by SQLite's online backup, while others write."""

from __future__ import annotations

import secrets
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._storage.reopening import ClosedByForkError

if TYPE_CHECKING:
    from threading import Event

_PAGES: Final = 1000  # copied before it is asked whether to go on
_NUMBERS: Final = 1_000_000  # of commits; they are milliseconds of the clock


class _StoppedError(Exception):
    """Nobody waits for the copy any more."""


def copy(source: sqlite3.Connection, file: str, stop: Event) -> int:
    """Copy what a connection in a transaction sees into an empty file, and check it; its size in bytes.

    It gets the rights of the original, and is whole without a write-ahead log.

    Raises:
        StoreUnavailableError: the disk has no room, or fails; or the database is damaged.
    """

    def go_on(*_: object) -> None:
        if stop.is_set():
            raise _StoppedError

    ((original, size),) = source.execute(
        "SELECT file, page_count * page_size "
        "FROM pragma_database_list, pragma_page_count, pragma_page_size WHERE name = 'main'"
    ).fetchall()
    _must_fit(size, Path(file))
    try:
        with closing(sqlite3.connect(file)) as target:
            target.execute("PRAGMA journal_mode = OFF")  # what is not whole is deleted
            source.backup(target, pages=_PAGES, progress=go_on)
            # No log of the original is to be taken for the copy's, not even if another program, whose commits have no
            # number, has changed the original between the two: the copy gets a number that hardly any commit there has.
            with target:
                target.execute("UPDATE meta SET no = no + ?", (1 + secrets.randbelow(_NUMBERS),))
        uri = f"{Path(file).as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as written:
            written.set_progress_handler(stop.is_set, _PAGES)
            ((found,), *_) = written.execute("PRAGMA integrity_check(1)").fetchall()
    except ClosedByForkError:
        raise
    except sqlite3.Error as error:
        raise StoreUnavailableError(
            f"the database {original} cannot be copied ({error})"
        ) from error
    if found != "ok":
        raise StoreUnavailableError(
            f"the database {original} is damaged ({' '.join(found.split())}): move it away and restore a copy"
        )
    Path(file).chmod(stat.S_IMODE(Path(original).stat().st_mode))
    return int(size)


def _must_fit(size: int, file: Path) -> None:
    free = shutil.disk_usage(file.parent).free
    if size > free:
        raise StoreUnavailableError(
            f"a copy needs {size / 1e6:,.1f} MB, and where it is to be written {free / 1e6:,.1f} MB are free"
        )
