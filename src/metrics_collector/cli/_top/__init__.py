"""`top`: all functions, live, on the whole terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime

from metrics_collector._core import windows
from metrics_collector._errors import ConfigurationError
from metrics_collector._reading import reports
from metrics_collector.cli._reading import quiet


def run(*, interval: float, since: str) -> int:
    """Run the command, with `interval` seconds between two readings; returns the exit status."""
    try:
        windows.moment(since, datetime.now(UTC))
    except ConfigurationError as error:
        raise ConfigurationError(
            f"invalid --since {since}: use a time back from now, such as 15m, 24h or 7d"
        ) from error
    # Keys are read from the first, the view is written to the last of them.
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise ConfigurationError(
            "top needs a terminal for all it reads and writes; for a pipe there is `metrics-collector stats`"
        )
    if os.environ.get("TERM", "dumb") in {"dumb", "unknown"}:
        raise ConfigurationError(
            "top needs a terminal that can move its cursor, and TERM says that this one cannot; "
            "there is `metrics-collector stats`"
        )
    quiet()
    return asyncio.run(_watch(interval, since))


async def _watch(interval: float, since: str) -> int:
    first = await reports.overview(since)  # what fails now is reported on the screen as it was
    from metrics_collector.cli._top._screen import Top

    app = Top(first, interval=interval, since=since)
    await app.run_async()
    return app.return_code or 0
