"""`history`: a function's figures over time, as a curve or a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from metrics_collector._core.as_json import figures_as_json, iso
from metrics_collector._core.figures import COLUMNS
from metrics_collector._core.units import counted, duration
from metrics_collector._reading import reports
from metrics_collector.cli import _columns, _figures, _json, _times
from metrics_collector.cli._console import console
from metrics_collector.cli._names import name
from metrics_collector.cli._reading import run as read
from metrics_collector.cli._reading import warn

if TYPE_CHECKING:
    from metrics_collector._core.figures import Figure
    from metrics_collector._core.models import FunctionMetrics
    from metrics_collector._reading.reports import FunctionReport

_FIGURES: Final = {figure.label: figure for figure in COLUMNS}
_HEIGHT: Final = 20  # lines of the curve at most: more say no more
_AROUND: Final = 6  # other lines: title, blanks, summary (two if it is narrow), prompt


def run(func_name: str, *, since: str, until: str | None, what: str, as_json: bool) -> None:
    """Run the command; `what` is the label of the figure that is drawn."""
    start, end = _times.window(since, until)
    report = read(reports.function(func_name, start, end))
    if as_json:
        _json.write(_as_json(report))
    elif not console.is_terminal:
        _columns.write(
            ("start", *_figures.HEADINGS),
            [(iso(point.start), *_figures.plain_cells(point)) for point in report.points],
            texts=1,
        )
    else:
        _draw(report, _FIGURES[what])
    warn(report.missing)


def _as_json(report: FunctionReport) -> dict[str, Any]:
    return {
        "func_name": report.func_name,
        "window": report.window,
        "totals": figures_as_json(report.metrics),
        "points": report.points,
        **report.missing.as_dict(),
    }


def _draw(report: FunctionReport, figure: Figure) -> None:
    window = report.window
    begin, end = _times.local(window.since), _times.local(window.until)
    step = f" in steps of {_times.span(window.step)}" if figure.counts else ""
    title = Text.assemble(name(report.func_name), f"  {figure.label}{step}")
    console.print(title, no_wrap=True, overflow="ellipsis")
    console.print()
    console.print(_curve(report, figure, begin, end), soft_wrap=True)
    console.print()
    console.print(_summary(report.metrics, console.width))


def _curve(report: FunctionReport, figure: Figure, begin: str, end: str) -> Text:
    from metrics_collector.cli._plot import plot

    window = report.window
    points = {int(point.start.timestamp()): figure.of(point) for point in report.points}
    values = [points.get(start, 0 if figure.counts else None) for start in window.starts]
    if figure.counts:  # as many as a whole step would have
        values = [
            (n or 0) * window.step / length
            for n, length in zip(values, window.lengths, strict=True)
        ]
    return plot(
        values,
        filled=figure.counts,
        width=console.width,
        height=max(5, min(_HEIGHT, console.height - _AROUND)),
        label=(lambda number: f"{number:,.10g}") if figure.counts else _label,
        ends=(begin, f"{end} {_times.zone(window.until)}"),
    )


def _label(seconds: float) -> str:
    return duration(seconds) if seconds else "0"


def _summary(metrics: FunctionMetrics, width: int) -> str:
    parts = [
        counted(figure.of(metrics), figure.label.removesuffix("s"), figure.label)
        if figure.counts
        else f"{figure.label} {duration(figure.of(metrics))}"
        for figure in COLUMNS
    ]
    if len(", ".join(parts)) > width:
        parts = [part for part, figure in zip(parts, COLUMNS, strict=True) if not figure.spare]
    return ", ".join(parts)
