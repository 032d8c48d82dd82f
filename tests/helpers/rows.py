"""Questions to a database in plain SQL."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


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
