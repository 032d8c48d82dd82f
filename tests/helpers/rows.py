"""Questions to a database in plain SQL."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def rows(path: Path, query: str) -> list[Any]:
    """The answer to a query."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()
