"""Questions to the database that people can ask in a SQLite shell."""

from __future__ import annotations

import shlex
import shutil
import sys
from typing import Final

_SLOWEST: Final = """\
SELECT datetime(created_at, 'unixepoch') AS at, execution_time, outcome, error_type
FROM metrics
WHERE func_name = {name}
  AND created_at >= {since:.0f} AND created_at < {until:.0f}
ORDER BY execution_time DESC
LIMIT 20;"""


class Examples:
    """`StoreExamples` of one file."""

    queries = (
        "SELECT func_name, count(*), sum(error_occurred)\n  FROM metrics GROUP BY func_name;",
        "SELECT error_type, count(*) FROM metrics\n  WHERE error_occurred GROUP BY error_type;",
        "SELECT * FROM metrics\n  ORDER BY execution_time DESC LIMIT 5;",
    )

    def __init__(self, path: str) -> None:
        self._path = path

    def shell(self) -> str:
        """The command of a SQLite shell on the file, if possible of one that this machine has."""
        missing = shutil.which("sqlite3") is None and sys.version_info >= (3, 12)
        return f"{'python -m sqlite3' if missing else 'sqlite3'} {shlex.quote(self._path)}"

    def slowest(self, func_name: str, since: float, until: float) -> str:
        """The query for the slowest entries of a function between two moments."""
        name = "'" + func_name.replace("'", "''") + "'"
        return _SLOWEST.format(name=name, since=since, until=until)
