"""Questions to a database in plain SQL."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def rows(path: Path | str, *statements: str) -> list[Any]:
    """Execute statements, each of which is committed at once; the answer to the last."""
    answer: list[Any] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            answer = connection.execute(statement).fetchall()
    return answer
