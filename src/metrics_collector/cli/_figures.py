"""The figures of functions as a table, in the colours that every terminal has."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from rich import box
from rich.table import Table
from rich.text import Text

from metrics_collector.cli._units import count, duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from metrics_collector._models import FunctionMetrics

NARROW: Final = 76  # columns; below, units stand close to their numbers, and columns close together


def functions(metrics: Iterable[FunctionMetrics], width: int) -> Table:
    """A line for each function, those that took most time in all first.

    Args:
        metrics: of the functions.
        width: columns of the terminal.
    """
    narrow = width < NARROW
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=0 if narrow else (0, 1),
        header_style="bold",
        border_style="dim",
    )
    table.add_column("function", no_wrap=True, overflow="ellipsis")
    for heading in ("calls", "errors", "avg" if narrow else "average", "p50", "p95", "p99"):
        table.add_column(heading, justify="right", no_wrap=True)
    space = "" if narrow else " "
    for one in sorted(metrics, key=lambda m: m.total_execution_time, reverse=True):
        times = (one.average_execution_time, one.p50, one.p95, one.p99)
        table.add_row(
            name(one.func_name),
            count(one.call_count),
            Text(count(one.error_count), style="red" if one.error_count else "dim"),
            *(duration(seconds, space=space) for seconds in times),
        )
    return table


def failures(metrics: Iterable[FunctionMetrics], width: int) -> Text | None:
    """How often each function failed, by type of error, and was cancelled; `None` if none did. Arguments as above."""
    failed = [
        (name(one.func_name), kinds)
        for one in _most_errors_first(metrics)
        if (kinds := _kinds(one))
    ]
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


def _most_errors_first(metrics: Iterable[FunctionMetrics]) -> list[FunctionMetrics]:
    return sorted(metrics, key=lambda one: (-one.error_count, -one.cancelled_count, one.func_name))


def _kinds(one: FunctionMetrics) -> list[str]:
    types = sorted(one.error_types.items(), key=lambda item: (-item[1], item[0]))
    cancelled = [("cancelled", one.cancelled_count)] if one.cancelled_count else []
    return [f"{count(number)} {_printable(kind)}" for kind, number in types + cancelled]


def name(func_name: str) -> Text:
    """A function's full name, where it is from in the background."""
    module, dot, last = _printable(func_name).rpartition(".")
    return Text.assemble((module + dot, "dim"), last)


def _printable(text: str) -> str:
    """A text out of Redis or SQL with escapes for all that a terminal would obey, such as line ends and colours."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
