"""Tables for terminals, in the colours that every one has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from metrics_collector.cli._names import short_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NARROW: Final = 76  # columns; below, columns stand close together
_LEAST: Final = 8  # characters of a name, however narrow it gets


def grid(
    headings: Sequence[str],
    rows: Iterable[tuple[str, Sequence[Text | str]]],
    *,
    lefts: Iterable[int],
    width: int,
) -> Table:
    """A table of functions, whose names give way where there is not room for all.

    Args:
        headings: of the columns beside the name.
        rows: a function's full name, and the cells beside it.
        lefts: numbers of the columns beside the name that are aligned at the left.
        width: columns of the terminal.
    """
    narrow = width < NARROW
    gap = 1 if narrow else 3
    lines = [(name, [Text(c) if isinstance(c, str) else c for c in cells]) for name, cells in rows]
    rest = sum(
        gap + max([cell_len(heading), *(cells[number].cell_len for _, cells in lines)])
        for number, heading in enumerate(headings)
    )
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=0 if narrow else (0, 1),
        header_style="bold",
        border_style="dim",
    )
    table.add_column("function", no_wrap=True)
    left = set(lefts)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number in left else "right", no_wrap=True)
    for name, cells in lines:
        table.add_row(short_name(name, max(_LEAST, width - rest)), *cells)
    return table
