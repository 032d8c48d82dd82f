"""The columns of the view: which ones a terminal has room for, and what stands in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from rich.text import Text

from metrics_collector._core import figures
from metrics_collector._core.units import count
from metrics_collector.cli import _figures
from metrics_collector.cli._names import short_name
from metrics_collector.cli._sparkline import sparkline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from metrics_collector._core.figures import Figure
    from metrics_collector._core.models import FunctionMetrics
    from metrics_collector._reading.reports import FunctionRow

_GAP: Final = 1  # between two columns
_LEAST: Final = 16  # characters that a name gets
_AMPLE: Final = 50  # characters of a name that are enough
_WIDTHS: Final = {"count": 9, "failures": 8, "seconds": 7, "quantile": 7}  # characters, by kind
_ACTIVITY: Final = 3  # what is needed less than the bars is shown only where names have ample room
_BARS: Final = 10
_MORE_BARS: Final = 20
_WHOLE: Final = 999.95  # calls a second; of more a fraction says nothing


class Line(NamedTuple):
    """A function in the view."""

    row: FunctionRow
    metrics: FunctionMetrics  # of the row, which makes them anew whenever it is asked
    rate: float | None
    lengths: Sequence[float]  # seconds of each step of the window


class Column(NamedTuple):
    """A column of numbers."""

    heading: str
    width: int  # characters
    need: int  # how early it has to go where there is not room for all; the lowest goes first
    value: Callable[[Line], float | None] | None  # what it is sorted by; `None` if it is not
    cell: Callable[[Line, int], str | Text]  # what stands in it, if it has so many characters


def rate(a_second: float | None) -> str:
    """How a number of calls a second is put; a dash for none."""
    if a_second is None:
        return "-"
    return f"{a_second:.1f}" if a_second < _WHOLE else count(round(a_second))


def _column(figure: Figure) -> Column:
    return Column(
        figure.label,
        _WIDTHS[figure.kind],
        figure.need,
        lambda line: figure.of(line.metrics),
        lambda line, _: _figures.cell(figure, figure.of(line.metrics), space=""),
    )


COLUMNS: Final = (
    Column("calls/s", 8, 9, lambda line: line.rate, lambda line, _: rate(line.rate)),
    *map(_column, figures.COLUMNS),
    Column(
        "activity",
        _BARS,
        _ACTIVITY,
        None,
        lambda line, width: sparkline(line.row.calls, line.lengths, width),
    ),
)
NAME: Final = "function"
ORDERS: Final = (NAME, *(column.heading for column in COLUMNS if column.value is not None))


def fitting(width: int) -> tuple[int, tuple[Column, ...]]:
    """Characters for the name, and the columns beside it, on a terminal of that width."""
    shown = list(COLUMNS)
    while shown:
        first = min(shown, key=lambda column: column.need)
        if _room(width, shown) >= (_AMPLE if first.need < _ACTIVITY else _LEAST):
            break
        shown.remove(first)
    if shown and shown[-1] is COLUMNS[-1]:  # the bars take what names hardly need
        more = min(_MORE_BARS, max(0, _room(width, shown) - _AMPLE))
        shown[-1] = shown[-1]._replace(width=_BARS + more)
    return max(1, _room(width, shown)), tuple(shown)


def _room(width: int, columns: list[Column]) -> int:
    return width - sum(column.width + _GAP for column in columns)


def ordered(lines: list[Line], order: str) -> list[Line]:
    """Those with the highest value first, and among equals by name."""
    value = next((c.value for c in COLUMNS if c.heading == order and c.value is not None), None)
    return sorted(
        lines,
        key=lambda line: (-((value and value(line)) or 0), line.row.func_name),
    )


def cells(line: Line, name_width: int, columns: tuple[Column, ...]) -> list[Text]:
    """What stands in a line; numbers at the right of their columns."""
    texts = [short_name(line.row.func_name, name_width)]
    for column in columns:
        cell = column.cell(line, column.width)
        text = cell if isinstance(cell, Text) else Text(cell)
        text.justify = "right"
        texts.append(text)
    return texts
