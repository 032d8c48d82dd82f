"""What to do after the demo."""

from __future__ import annotations

import shlex
import shutil
import sys
from typing import Final

from metrics_collector.cli._console import console

# Short lines: they stay whole in a narrow terminal, and can be copied.
QUERIES: Final = (
    "SELECT func_name, count(*), sum(error_occurred)\n  FROM metrics GROUP BY func_name;",
    "SELECT error_type, count(*) FROM metrics\n  WHERE error_occurred GROUP BY error_type;",
    "SELECT * FROM metrics\n  ORDER BY execution_time DESC LIMIT 5;",
)
_CODE: Final = """\
from metrics_collector import metrics_collector

@metrics_collector  # above any def or async def
"""


def tell(database: str, *, embedded: bool) -> None:
    """Show how to look at the figures and how to measure one's own service.

    Args:
        database: path of the file.
        embedded: Redis was in this process, so that nobody's settings lead there.
    """
    settings = f"REDIS_URL=memory:// DATABASE_NAME={shlex.quote(database)} \\\n  "
    command = f"{settings if embedded else ''}metrics-collector dashboard"
    console.print("To look at it in a browser, or in a SQLite shell:", "", sep="\n")
    _show(command)
    _show(f"{_shell()} {shlex.quote(database)}", *QUERIES)
    console.print("In a service of your own:", "", sep="\n")
    _show(_CODE)


def _shell() -> str:
    """The command of a SQLite shell, if possible one that this machine has."""
    if shutil.which("sqlite3") is None and sys.version_info >= (3, 12):
        return "python -m sqlite3"
    return "sqlite3"


def _show(*blocks: str) -> None:
    for block in blocks:
        for line in block.splitlines():
            console.print(f"  {line}".rstrip(), soft_wrap=True)
    console.print()
