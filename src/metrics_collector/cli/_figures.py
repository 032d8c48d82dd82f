"""The figures of functions as a table."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from rich.text import Text

from metrics_collector._core.units import count, duration
from metrics_collector.cli._grid import NARROW, grid
from metrics_collector.cli._names import name
from metrics_collector.cli._text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from metrics_collector._core.models import FunctionMetrics

HEADINGS: Final = ("calls", "errors", "average", "p50", "p95", "p99")


def functions(metrics: Iterable[FunctionMetrics], width: int) -> Table:
    """A line for each function.

    Args:
        metrics: of the functions, in the order in which they are shown.
        width: columns of the terminal.
    """
    narrow = width < NARROW  # units then stand close to their numbers
    rows: list[tuple[str, list[Text | str]]] = [
        (
            one.func_name,
            [
                count(one.call_count),
                Text(count(one.error_count), style="red" if one.error_count else "dim"),
                *_times(one, space="" if narrow else " "),
            ],
        )
        for one in metrics
    ]
    headings = ["avg" if narrow and heading == "average" else heading for heading in HEADINGS]
    return grid(headings, rows, lefts=(), width=width)


def plain_cells(one: FunctionMetrics) -> list[str]:
    """Calls, errors, average, p50, p95 and p99 of a function, for a pipe: a word each, thousands not set apart."""
    return [str(one.call_count), str(one.error_count), *_times(one, space="")]


def _times(one: FunctionMetrics, *, space: str) -> list[str]:
    times = (one.average_execution_time, one.p50, one.p95, one.p99)
    return [duration(seconds, space=space) for seconds in times]


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
    return [f"{count(number)} {printable(kind)}" for kind, number in types + cancelled]
