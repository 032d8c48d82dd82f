"""`errors`: what was raised where, how often, and when last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from metrics_collector._core.as_json import iso
from metrics_collector._core.units import count
from metrics_collector._reading import reports
from metrics_collector.cli import _columns, _json, _times
from metrics_collector.cli._console import console
from metrics_collector.cli._grid import gap_of, grid
from metrics_collector.cli._names import name as full_name
from metrics_collector.cli._reading import none_found, warn
from metrics_collector.cli._reading import run as read
from metrics_collector.cli._sparkline import sparkline
from metrics_collector.cli._text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from metrics_collector._reading.reports import ErrorRow, Window

_BARS: Final = 12  # characters of a sparkline
_WIDE: Final = 100  # columns that have room for sparklines and the first time


def run(*, since: str, until: str | None, as_json: bool) -> None:
    """Run the command."""
    start, end = _times.window(since, until)
    report = read(reports.errors(start, end))
    window, rows = report.window, report.rows
    if as_json:
        _json.write({"window": window, "errors": rows, **report.missing.as_dict()})
    elif not rows:
        none_found("no errors", report.missing)
    elif console.is_terminal:
        console.print(_table(window, rows, console.width))
        console.print(_times.counted(window.since, window.until), style="dim")
    else:
        _write_plain(rows)
    warn(report.missing)


def _write_plain(rows: Sequence[ErrorRow]) -> None:
    _columns.write(
        ("function", "type", "first_seen", "last_seen", "count"),
        [
            (
                printable(row.func_name),
                printable(row.error_type),
                iso(row.first_seen_at),
                iso(row.last_seen_at),
                str(row.count),
            )
            for row in rows
        ],
        texts=4,
    )


def _table(window: Window, rows: Sequence[ErrorRow], width: int) -> Table:
    wide = width >= _WIDE
    zone = _times.zone(window.until)
    times = (f"first seen ({zone})", f"last seen ({zone})", "when")
    headings = ("count", *(times if wide else times[1:2]))
    cells = [
        _cells(row, window) if wide else [count(row.count), _times.local(row.last_seen_at)]
        for row in rows
    ]
    most = _room(headings, rows, cells, width)
    return grid(
        ("type", *headings),
        [
            (row.func_name, [_type(row, most), *others])
            for row, others in zip(rows, cells, strict=True)
        ],
        lefts=(0, *range(2, len(headings) + 1)),
        width=width,
    )


def _cells(row: ErrorRow, window: Window) -> list[str]:
    times = [_times.local(row.first_seen_at), _times.local(row.last_seen_at)]
    return [count(row.count), *times, sparkline(row.counts, window.lengths, _BARS)]


def _room(
    headings: Sequence[str], rows: Sequence[ErrorRow], cells: Sequence[Sequence[str]], width: int
) -> int:
    """Characters that a type may take: what names and the other columns leave, or else a quarter of the width."""
    names = max(full_name(row.func_name).cell_len for row in rows)
    columns = zip(headings, *cells, strict=True)
    others = sum(gap_of(width) + max(map(len, one)) for one in columns)
    return max(width // 4, width - names - gap_of(width) - others)


def _type(row: ErrorRow, most: int) -> Text:
    kind = Text(printable(row.error_type), style="red")
    kind.truncate(most, overflow="ellipsis")
    return kind
