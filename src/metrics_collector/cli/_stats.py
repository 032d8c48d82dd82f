"""`stats`: the figures of functions as a table."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from metrics_collector import _api
from metrics_collector._core.units import counted
from metrics_collector._reading import asking
from metrics_collector.cli import _choice, _columns, _figures, _json, _times
from metrics_collector.cli._console import console
from metrics_collector.cli._reading import run as read
from metrics_collector.cli._text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metrics_collector._core.models import FunctionMetrics


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
    found, counted_time = read(_ask(start, end))
    fitting = [one for one in found if wanted is None or _choice.fits(one.func_name, wanted)]
    shown = sorted(fitting, key=lambda one: _choice.rank(one, order))[:limit]
    if as_json:
        _json.write(shown)
        return
    if not shown:
        _tell_none(wanted, [one.func_name for one in found], windowed=bool(start or end))
    elif not console.is_terminal:
        _write_plain(shown)
    else:
        console.print(_figures.functions(shown, console.width))
        rest = len(fitting) - len(shown)
        notes = [f"{counted(rest, 'function', 'functions')} more"] if rest else []
        notes += [counted_time] if counted_time else []
        if notes:
            console.print("; ".join(notes), style="dim")


async def _ask(
    start: datetime | None, end: datetime | None
) -> tuple[list[FunctionMetrics], str | None]:
    """The figures, and of a window also from when to when they are."""
    found = await _api.list_metrics(since=start, until=end)
    if start is None and end is None:
        return found, None
    since, until = await asking.read(lambda query: query.counted(start, end))
    now = datetime.now(UTC)
    return found, _times.counted(since, min(until or now, now))


def _write_plain(metrics: Sequence[FunctionMetrics]) -> None:
    _columns.write(
        ("function", *_figures.HEADINGS),
        [(printable(one.func_name), *_figures.plain_cells(one)) for one in metrics],
        texts=1,
    )


def _tell_none(wanted: str | None, names: Sequence[str], *, windowed: bool) -> None:
    if wanted is not None and names:
        line = f"no function matches {wanted!r}{_choice.near(wanted, names)}"
    else:
        line = "no calls in this time" if windowed else "no calls yet"
    sys.stderr.write(f"{line}\n")
