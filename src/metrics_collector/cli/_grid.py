"""Tables for terminals, in the colours that every one has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from metrics_collector.cli._names import name as full_name
from metrics_collector.cli._names import short_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NARROW: Final = 76  # columns; below, columns stand close together
_LEAST: Final = 8  # characters of a name, however narrow it gets
_AMPLE: Final = 40  # characters of a name that are enough


def gap_of(width: int) -> int:
    """Characters between two columns of a grid in a terminal of `width` columns."""
    return 1 if width < NARROW else 3


def grid(
    headings: Sequence[str],
    rows: Iterable[tuple[str, Sequence[Text | str]]],
    *,
    lefts: Iterable[int],
    width: int,
    spare: Iterable[int] = (),
) -> Table:
    """A table of functions, whose names give way where there is not room for all.

    Args:
        headings: of the cells; numbers of columns count from the first of these.
        rows: a function's full name and the cells beside it.
        lefts: the numbers of those columns that are aligned at the left.
        spare: the numbers of those to leave out, the first ones first, where names would be cut.
    """
    narrow = width < NARROW
    gap = gap_of(width)
    lines = [(name, [Text(c) if isinstance(c, str) else c for c in cells]) for name, cells in rows]
    widths = [
        gap + max([cell_len(heading), *(cells[number].cell_len for _, cells in lines)])
        for number, heading in enumerate(headings)
    ]
    shown = list(range(len(headings)))
    names = min(_AMPLE, max((full_name(name).cell_len for name, _ in lines), default=0))
    for number in spare:
        if names + sum(widths[one] for one in shown) > width:
            shown.remove(number)
    room = max(_LEAST, width - sum(widths[number] for number in shown))
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
    for number in shown:
        side: Literal["left", "right"] = "left" if number in left else "right"
        table.add_column(headings[number], justify=side, no_wrap=True)
    for name, cells in lines:
        table.add_row(short_name(name, room), *(cells[number] for number in shown))
    return table
