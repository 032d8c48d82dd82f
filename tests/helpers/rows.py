"""Questions to a database in plain SQL, copies of it, and answers as rows."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterable

    from metrics_collector._storage.base import StepCounts


def rows(path: Path | str, *statements: str) -> list[Any]:
    """Execute statements, each of which is committed at once; the answer to the last."""
    answer: list[Any] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            answer = connection.execute(statement).fetchall()
    return answer


def saved(path: Path | str) -> int:
    """How many entries there are; none where the file or its tables are still to be made."""
    if not Path(path).exists() or not rows(
        path, "SELECT 1 FROM sqlite_master WHERE name = 'metrics'"
    ):
        return 0
    ((count,),) = rows(path, "SELECT count(*) FROM metrics")
    return int(count)


def saved_in_postgres(url: str) -> int:
    """How many entries there are; none where the tables are still to be made, or the server is away."""
    try:
        with psycopg.connect(url) as connection:
            ((count,),) = connection.execute("SELECT count(*) FROM metrics_collector.metrics")
    except psycopg.Error:
        return 0
    return int(count)


def copy_database(path: Path) -> None:
    """Copy a database, if there is one, for `roll_back`."""
    if path.exists():
        with (
            closing(sqlite3.connect(path)) as source,
            closing(sqlite3.connect(path.with_name("copy.db"))) as copy,
        ):
            source.backup(copy)


def roll_back(path: Path) -> bool:
    """Put an older copy in place of a database, if there is one; whether there was."""
    copy = path.with_name("copy.db")
    if not copy.exists():
        return False
    replacement = Path(shutil.copy(copy, copy.with_name("replacement.db")))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    replacement.rename(path)
    return True


def counts_of(steps: Iterable[StepCounts]) -> list[tuple[str, int, int, int]]:
    """Of each function in each step: its name, the step's beginning, calls and errors."""
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for start, *columns in steps:
        for name, calls, errors in zip(*columns, strict=True):
            before = found.get((name, start), (0, 0))
            found[name, start] = before[0] + calls, before[1] + errors
    return sorted((*key, *counts) for key, counts in found.items())
