"""`migrate`: from the SQLite file to PostgreSQL."""

from __future__ import annotations

import sys

from metrics_collector._core.units import counted
from metrics_collector._reading import reports
from metrics_collector.cli._entry_bar import entry_bar
from metrics_collector.cli._reading import run as read


def run() -> None:
    """Run the command."""
    with entry_bar() as report:
        moved = read(reports.migrate(report))
    sys.stdout.write(
        f"{counted(moved.entries, 'entry', 'entries')} of "
        f"{counted(moved.functions, 'function', 'functions')} moved: start the workers with METRICS_DATABASE_URL\n"
    )
