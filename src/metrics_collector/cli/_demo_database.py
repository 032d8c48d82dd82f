"""The file that `demo` saves in: fresh each time, and never anybody else's."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from metrics_collector._errors import ConfigurationError, StoreUnavailableError
from metrics_collector.cli._shop import PREFIX

if TYPE_CHECKING:
    from metrics_collector._storage.sqlite import SQLiteStore

PATH: Final = Path("metrics-demo.db")


def renew(database: SQLiteStore) -> None:
    """Delete what an earlier demo has left in this folder, and make the file anew.

    Args:
        database: at `PATH`.

    Raises:
        ConfigurationError: the file is there, and not a demo's.
        StoreUnavailableError: it cannot be deleted, or not be made.
    """
    if PATH.exists():
        _delete()
    try:
        asyncio.run(_make(database))
    except StoreUnavailableError as error:
        raise StoreUnavailableError(
            f"no database can be made in {Path.cwd()}; start the demo in a folder that this user may write to"
        ) from error


async def _make(database: SQLiteStore) -> None:
    async with database.writing():
        pass


def _delete() -> None:
    if not _is_a_demo(PATH):
        raise ConfigurationError(
            f"{PATH.absolute()} holds something else than an earlier demo; move it, or start the demo in another folder"
        )
    try:
        for path in (PATH, Path(f"{PATH}-wal"), Path(f"{PATH}-shm")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreUnavailableError(
            f"{PATH.absolute()}, of an earlier demo, cannot be deleted: {error.strerror}"
        ) from error


def _is_a_demo(path: Path) -> bool:
    """Whether it is a database of ours that knows no functions but the demo's."""
    query = "SELECT count(*) FROM totals WHERE substr(func_name, 1, ?) <> ?"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            (others,) = database.execute(query, (len(PREFIX), PREFIX)).fetchone()
    except sqlite3.Error:
        return False
    return not others
