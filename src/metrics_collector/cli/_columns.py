"""Tables for pipes: a line each, every column aligned, nothing cut off."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.cells import cell_len

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def write(headings: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int) -> None:
    """Write a table to standard output: `texts` columns of text at the left, then numbers, aligned at the right."""
    lines = [headings, *rows]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell + blank if number < texts else blank + cell
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
            for blank in (" " * (width - cell_len(cell)),)
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
