"""`backup`: a copy of the database while workers save."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.filesize import decimal as size

from metrics_collector._reading import reports
from metrics_collector._runtime.collector import collector
from metrics_collector.cli._output import new_file
from metrics_collector.cli._reading import run as read
from metrics_collector.cli._text import printable


def run(name: str | None) -> None:
    """Run the command; without a name the copy gets one that says of what and when."""
    if name is None:
        original = Path(collector.settings().database_name).name
        name = f"{original}.{datetime.now(UTC):%Y%m%dT%H%M%SZ}.backup"
    with new_file(name) as file:
        copied = read(reports.backup(str(file)))
    sys.stdout.write(f"{size(copied)} in {printable(name)}\n")
