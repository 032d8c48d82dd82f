"""`history`: a function's figures over time, as a curve or a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from metrics_collector._core.units import counted, duration
from metrics_collector._reading import reports
from metrics_collector.cli import _columns, _figures, _json, _times
from metrics_collector.cli._console import console
from metrics_collector.cli._names import name
from metrics_collector.cli._reading import run as read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from metrics_collector._core.models import FunctionMetrics
    from metrics_collector._reading.reports import FunctionReport
    from metrics_collector.cli._options import What

_COUNTS: Final[Mapping[str, Callable[[FunctionMetrics], int]]] = {
    "calls": lambda one: one.call_count,
    "errors": lambda one: one.error_count,
}
_TIMES: Final[Mapping[str, Callable[[FunctionMetrics], float | None]]] = {
    "average": lambda one: one.average_execution_time,
    "p50": lambda one: one.p50,
    "p95": lambda one: one.p95,
    "p99": lambda one: one.p99,
}
_HEIGHT: Final = 20  # lines of the curve at most: more say no more
_AROUND: Final = (
    6  # lines that are not the curve's: title, blanks, summary (two if it is narrow), prompt
)
_DAY: Final = 86400


def run(func_name: str, *, since: str, until: str | None, what: What, as_json: bool) -> None:
    """Run the command.

    Args:
        func_name: or an end of it that fits one function only.
        since, until: the window; `None` as `until` is now.
        what: which figure is drawn.
        as_json: write JSON.

    Raises:
        UnknownFunctionError, AmbiguousNameError: the name fits none, or several.
        ConfigurationError: a time or a setting is wrong.
        StoreUnavailableError, IncompatibleStoreError: Redis or the database cannot be read.
    """
    start, end = _times.window(since, until)
    report = read(reports.function(func_name, start, end))
    if as_json:
        _json.write(_as_json(report))
    elif not console.is_terminal:
        _columns.write(
            ("start", *_figures.HEADINGS),
            [(_times.iso(point.start), *_figures.plain_cells(point)) for point in report.points],
            texts=1,
        )
    else:
        _draw(report, what)


def _as_json(report: FunctionReport) -> dict[str, Any]:
    return {
        **_json.window(report.window),
        **_json.figures(report.metrics),
        "points": [
            {"start": _json.moment(point.start), **_json.figures(point)} for point in report.points
        ],
    }


def _draw(report: FunctionReport, what: What) -> None:
    window = report.window
    begin, end = _times.local(window.since), _times.local(window.until)
    step = "" if what in _TIMES else f" in steps of {_times.span(window.step)}"
    title = Text.assemble(name(report.func_name), f"  {what}{step}")
    console.print(title, no_wrap=True, overflow="ellipsis")
    console.print()
    console.print(_curve(report, what, begin, end), soft_wrap=True)
    console.print()
    console.print(_summary(report.metrics))


def _curve(report: FunctionReport, what: What, begin: str, end: str) -> Text:
    from metrics_collector.cli._plot import plot

    points = {int(point.start.timestamp()): point for point in report.points}
    values: list[float | None]
    if what in _TIMES:
        values = [_TIMES[what](points[at]) if at in points else None for at in report.window.starts]
    else:
        values = [_COUNTS[what](points[at]) if at in points else 0 for at in report.window.starts]
    return plot(
        values,
        filled=what in _COUNTS,
        width=console.width,
        height=max(5, min(_HEIGHT, console.height - _AROUND)),
        label=_label if what in _TIMES else lambda number: f"{number:,.10g}",
        ends=(begin, f"{end} {_times.zone(report.window.until)}"),
    )


def _label(seconds: float) -> str:
    return duration(seconds) if seconds else "0"


def _summary(metrics: FunctionMetrics) -> str:
    times = [("average", metrics.average_execution_time), ("p50", metrics.p50)]
    times += [("p95", metrics.p95), ("p99", metrics.p99)]
    return ", ".join(
        (
            counted(metrics.call_count, "call", "calls"),
            counted(metrics.error_count, "error", "errors"),
            *(f"{name} {duration(seconds)}" for name, seconds in times),
        )
    )
