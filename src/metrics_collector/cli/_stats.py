"""`stats`: the figures of functions as a table."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from metrics_collector._core.units import counted
from metrics_collector._reading import asking
from metrics_collector._reading.names import near
from metrics_collector.cli import _choice, _columns, _figures, _json, _times
from metrics_collector.cli._console import console
from metrics_collector.cli._reading import none_found, warn
from metrics_collector.cli._reading import run as read
from metrics_collector.cli._text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metrics_collector._core.models import FunctionMetrics
    from metrics_collector._reading.query import Query
    from metrics_collector._reading.reports import Missing


def run(
    wanted: str | None,
    *,
    since: str | None,
    until: str | None,
    order: str,
    limit: int | None,
    as_json: bool,
) -> None:
    """Run the command."""
    start, end = _times.window(since, until)
    found, counted_time, missing = read(_ask(start, end))
    fitting = [one for one in found if wanted is None or _choice.fits(one.func_name, wanted)]
    shown = sorted(fitting, key=lambda one: _choice.rank(one, order))[:limit]
    if as_json:
        _json.write(shown)
    elif not shown:
        _tell_none(wanted, [one.func_name for one in found], counted_time, missing)
    elif not console.is_terminal:
        _write_plain(shown)
    else:
        console.print(_figures.functions(shown, console.width))
        rest = len(fitting) - len(shown)
        notes = [f"{counted(rest, 'function', 'functions')} more"] if rest else []
        notes += [counted_time] if counted_time else []
        if notes:
            console.print("; ".join(notes), style="dim")
    warn(missing)


async def _ask(
    start: datetime | None, end: datetime | None
) -> tuple[list[FunctionMetrics], str | None, Missing]:
    """The figures, of a window also from when to when they are, and what they lack."""
    live = start is None and end is None

    async def ask(query: Query) -> tuple[list[FunctionMetrics], str | None, Missing]:
        found = await query.functions(start, end)
        if live:
            return found, None, query.missing()
        since, until = await query.counted(start, end)
        now = datetime.now(UTC)
        return found, _times.counted(since, min(until or now, now)), query.missing()

    return await asking.read(ask, live=live)


def _write_plain(metrics: Sequence[FunctionMetrics]) -> None:
    _columns.write(
        ("function", *_figures.HEADINGS),
        [(printable(one.func_name), *_figures.plain_cells(one)) for one in metrics],
        texts=1,
    )


def _tell_none(
    wanted: str | None, names: Sequence[str], counted_time: str | None, missing: Missing
) -> None:
    if wanted is not None and names:
        sys.stderr.write(f"no function matches {wanted!r}{near(wanted, names)}\n")
    elif counted_time is None:
        sys.stderr.write("no calls yet\n")
    else:
        none_found("no calls", missing)
