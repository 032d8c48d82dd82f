"""Functions' names, where they are from in the background."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text

from metrics_collector.cli._text import printable


def name(func_name: str) -> Text:
    """A function's full name."""
    module, dot, last = printable(func_name).rpartition(".")
    return Text.assemble((module + dot, "dim"), last)


def short_name(func_name: str, width: int) -> Text:
    """As `name`, but where that is too long only its end, in which names differ most."""
    whole = name(func_name)
    if whole.cell_len <= width:
        return whole
    room, kept = width - 1, 0
    for letter in reversed(whole.plain):
        room -= cell_len(letter)
        if room < 0:
            break
        kept += 1
    return Text.assemble(("…", "dim"), whole[len(whole) - kept :])
