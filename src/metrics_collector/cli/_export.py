"""`export`: saved entries as CSV or JSON lines, one read after the other, in constant memory."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.as_json import iso
from metrics_collector._core.units import counted
from metrics_collector._reading import reports
from metrics_collector.cli import _times
from metrics_collector.cli._entry_bar import entry_bar
from metrics_collector.cli._output import whole_file
from metrics_collector.cli._reading import run as read
from metrics_collector.cli._text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from typing import TextIO

    from metrics_collector._reading.reports import StoredEntry
    from metrics_collector.cli._options import Format

    Writer = Callable[[Sequence[StoredEntry]], None]

STANDARD_OUTPUT: Final = "-"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute begins so


def run(
    func_name: str | None, *, since: str | None, until: str | None, form: Format, output: str
) -> None:
    """Run the command."""
    start, end = _times.window(since, until)
    if output == STANDARD_OUTPUT:
        if isinstance(sys.stdout, TextIOWrapper):  # else somebody has put another one there
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="")
        read(_export(func_name, start, end, form, sys.stdout))
        return
    with whole_file(output) as file:
        entries = read(_export(func_name, start, end, form, file))
    sys.stderr.write(f"{counted(entries, 'entry', 'entries')} in {printable(output)}\n")


async def _export(
    func_name: str | None,
    since: datetime | None,
    until: datetime | None,
    form: Format,
    file: TextIO,
) -> int:
    total = await reports.entry_count(func_name, since=since, until=until)
    write = await asyncio.to_thread(_csv if form == "csv" else _json_lines, file)
    done = 0
    with entry_bar(shown=not file.isatty()) as report:
        async for entries in reports.entries(func_name, since=since, until=until):
            await asyncio.to_thread(write, entries)
            done += len(entries)
            report(done, total)
    return done


def _csv(file: TextIO) -> Writer:
    """Writes CSV, in which no text is a formula to a spreadsheet; a terminal gets escapes for what it would obey."""
    # Lines end as RFC 4180 has it; so all that could end a line is quoted where it stands in a text.
    writer = csv.writer(file)
    writer.writerow(reports.StoredEntry._fields)
    shown = file.isatty()

    def cell(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        text = printable(value) if shown else value
        return f"'{text}" if text.startswith(_FORMULA) else text

    def write(entries: Sequence[StoredEntry]) -> None:
        writer.writerows(map(cell, _fields(entry).values()) for entry in entries)

    return write


def _json_lines(file: TextIO) -> Writer:
    def write(entries: Sequence[StoredEntry]) -> None:
        for entry in entries:
            extra = None if entry.extra is None else json.loads(entry.extra)
            file.write(json.dumps(_fields(entry) | {"extra": extra}) + "\n")

    return write


def _fields(entry: StoredEntry) -> dict[str, Any]:
    return entry._asdict() | {"created_at": iso(entry.created_at)}
