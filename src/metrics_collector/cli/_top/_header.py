"""The first lines of the view, and the note below the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from metrics_collector._core.units import count, counted
from metrics_collector.cli._top._figure_columns import rate

if TYPE_CHECKING:
    from datetime import datetime

    from metrics_collector._reading.reports import Overview, Pipeline

_SPACE = "   "


def figures(overview: Overview, pipeline: Pipeline | None, calls_a_second: float | None) -> Text:
    """All functions together, and how entries travel; `None` is what is not known yet."""
    total = overview.total
    parts = [
        Text.assemble("calls/s ", (rate(calls_a_second), "bold")),
        Text.assemble(
            "errors ", (f"{total.error_rate or 0:.1%}", "bold red" if total.error_count else "bold")
        ),
    ]
    if pipeline is not None:
        parts += _travel(pipeline)
    return Text(_SPACE).join(parts)


def _travel(pipeline: Pipeline) -> list[Text]:
    waiting = "-" if pipeline.waiting is None else count(pipeline.waiting)
    parts = [Text.assemble("waiting ", (waiting, "bold"))]
    if pipeline.redis.embedded:
        return [*parts, Text("memory://")]
    if pipeline.processes is None:
        return [*parts, Text.assemble("workers ", ("-", "bold"))]
    workers = [one for one in pipeline.processes if one.role == "worker"]
    failing = any(one.error is not None for one in workers)
    style = "bold" if workers and not failing else "bold red"
    alive = f"{len(workers)}{', failing' if failing else ''}"
    return [*parts, Text.assemble("workers ", (alive, style))]


def note(
    *,
    error: str | None,
    paused: bool,
    read_at: datetime,
    age: float | None,
    missing: str,
    hidden: int,
) -> Text:
    """What to bear in mind, in one line; empty if nothing.

    Args:
        read_at: in local time.
        age: of the figures in seconds, if it is more than it should be.
        missing: what the figures lack; empty if nothing.
        hidden: how many functions that match the filter are not in the table.
    """
    clock = f"{read_at:%H:%M:%S}"
    parts = []
    if error is not None:
        parts.append(Text(f"figures of {clock}: {error}", style="bold red"))
    elif paused:
        parts.append(Text(f"paused: figures of {clock}", style="bold yellow"))
    elif age is not None:
        parts.append(Text(f"figures of {clock}: reading is slow ({age:.0f} s)", style="yellow"))
    if missing:
        parts.append(Text(missing, style="yellow"))
    if hidden:
        functions = counted(hidden, "function", "functions")
        parts.append(Text(f"{functions} more: / filters", style="dim"))
    return Text(_SPACE).join(parts)
