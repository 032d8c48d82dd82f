"""The figures of functions as a table."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from metrics_collector._core.figures import COLUMNS
from metrics_collector._core.units import count, duration
from metrics_collector.cli._grid import NARROW, grid
from metrics_collector.cli._names import name
from metrics_collector.cli._text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from metrics_collector._core.figures import Figure
    from metrics_collector._core.models import FunctionMetrics

HEADINGS: Final = tuple(figure.label for figure in COLUMNS)


def functions(metrics: Iterable[FunctionMetrics], width: int) -> Table:
    """A line for each function, in the order that they come in, on a terminal of `width` columns."""
    space = "" if width < NARROW else " "  # units then stand close to their numbers
    rows = [(one.func_name, [cell(f, f.of(one), space=space) for f in COLUMNS]) for one in metrics]
    headings = ["avg" if not space and label == "average" else label for label in HEADINGS]
    spare = [number for number, figure in enumerate(COLUMNS) if figure.spare]
    return grid(headings, rows, lefts=(), spare=spare, width=width)


def cell(figure: Figure, value: Any, *, space: str) -> Text:
    """A figure as it stands in a table; `space` is between a number and its unit."""
    if not figure.counts:
        return Text(duration(value, space=space))
    if figure.kind != "failures":
        return Text(count(value))
    return Text(count(value), style="red" if value else "dim")


def plain_cells(one: FunctionMetrics) -> list[str]:
    """The columns of a function, for a pipe: a word each, thousands not set apart."""
    values = [(figure, figure.of(one)) for figure in COLUMNS]
    return [str(v) if figure.counts else duration(v, space="") for figure, v in values]


def failures(metrics: Iterable[FunctionMetrics], width: int) -> Text | None:
    """How often each function failed, by type of error, and was cancelled; `None` if none did. Arguments as above."""
    ordered = sorted(
        metrics, key=lambda one: (-one.error_count, -one.cancelled_count, one.func_name)
    )
    failed = [(name(one.func_name), kinds) for one in ordered if (kinds := _kinds(one))]
    if not failed:
        return None
    for label, _ in failed:
        label.truncate(width // 2, overflow="ellipsis")
    column = max(label.cell_len for label, _ in failed) + 2
    lines = [Text("errors by type", style="bold")]
    for label, kinds in failed:
        # Broken between two kinds only, not between a number and what it counts.
        unbroken = ", ".join(kind.replace(" ", "\0") for kind in kinds)
        text = textwrap.fill(unbroken, max(20, width - column)).replace("\0", " ")
        indented = textwrap.indent(text, " " * column)[label.cell_len :]
        lines.append(Text.assemble(label, indented))
    return Text("\n").join(lines)


def _kinds(one: FunctionMetrics) -> list[str]:
    types = sorted(one.error_types.items(), key=lambda item: (-item[1], item[0]))
    cancelled = [("cancelled", one.cancelled_count)] if one.cancelled_count else []
    return [f"{count(number)} {printable(kind)}" for kind, number in types + cancelled]
