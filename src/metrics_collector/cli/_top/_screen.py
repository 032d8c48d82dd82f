"""The view of `top`: a textual app over the reports."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Static

from metrics_collector._core.units import counted
from metrics_collector._errors import MetricsCollectorError
from metrics_collector._reading import reports
from metrics_collector.cli import _choice
from metrics_collector.cli._text import printable
from metrics_collector.cli._top import _figure_columns, _header
from metrics_collector.cli._top._figure_columns import Line
from metrics_collector.cli._top._rates import Rates

if TYPE_CHECKING:
    from textual import events

    from metrics_collector._core.models import FunctionMetrics
    from metrics_collector._reading.reports import Overview, Pipeline

_MOST: Final = 200  # lines; nobody reads more, and they would take long to draw
_LATE: Final = 5.0  # seconds beyond two readings, from which on figures are called old
_HELP: Final = """\
s  →      sort by the next column, the highest first
←         sort by the column before
/         show only functions whose names contain a text,
          or match a pattern with * or ?; Enter keeps it, Esc clears it
p         pause and resume
↑ ↓       scroll, as PgUp, PgDn, Home and End do
q         quit

calls/s   over the last ten seconds or so
activity  calls, from the beginning of the time to now
the rest  over the time that stands in the first line
"""


class _Help(ModalScreen[None]):
    CSS = """
    _Help { align: center middle; }
    _Help Static { width: auto; height: auto; max-height: 100%; padding: 1 2; border: round ansi_blue; }
    """

    def compose(self) -> ComposeResult:
        yield Static(_HELP, markup=False)

    def on_key(self, event: events.Key) -> None:
        event.stop()
        self.dismiss()


class _Table(DataTable[Text]):
    """Home and End are its first and its last line; otherwise they are for columns."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home", "scroll_top", show=False),
        Binding("end", "scroll_bottom", show=False),
    ]


class Top(App[None]):
    """The view, beginning with what was read `first`; then with `interval` seconds between two readings."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #head { height: 2; }
    #table { height: 1fr; scrollbar-size: 1 1; overflow-x: hidden; }
    #note { height: auto; max-height: 2; }
    #filter { height: 1; border: none; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", "quit", show=False, priority=True),
        Binding("s,right", "sort(1)", "sort", key_display="s"),
        Binding("left", "sort(-1)", "sort", show=False),
        Binding("slash", "filter", "filter", key_display="/", priority=True),
        Binding("escape", "unfilter", "unfilter", show=False),
        Binding("p", "pause", "pause"),
        Binding("question_mark", "help", "help", key_display="?"),
    ]

    def __init__(self, first: Overview, *, interval: float, since: str) -> None:
        super().__init__()
        self.theme = "ansi-dark"  # the terminal's own colours, light ones too
        self.animation_level = "none"  # a reading would end a scroll half-way
        self._overview = first
        self._metrics = _metrics(first)
        self._pipeline: Pipeline | None = None
        self._interval = interval
        self._since = since
        self._rates = Rates()
        self._order = "calls"
        self._wanted = ""
        self._paused = False
        self._shape: object = None  # order, columns and number of lines of what is in the table
        self._error: str | None = None
        self._read_at = time.monotonic()
        self._read_clock = datetime.now().astimezone()

    def compose(self) -> ComposeResult:
        """The parts from top to bottom."""
        yield Static(id="head")
        yield _Table(id="table", cursor_type="none", cell_padding=0, show_cursor=False)
        yield Static(id="note")
        field = Input(id="filter", placeholder="a part of a name, or a pattern with * or ?")
        field.display = False
        yield field
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to read."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.exit, None, 128 + number)
        self._rates.add(self._overview, self._read_at)
        self.query_one("#table").focus()
        self.run_worker(self._read_on())
        self.set_interval(1.0, self._show_head)

    async def _read_on(self) -> None:
        while True:
            begin = time.monotonic()
            if not self._paused:
                await self._read()
                self._show()
            await asyncio.sleep(max(0.1, begin + self._interval - time.monotonic()))

    async def _read(self) -> None:
        try:
            self._pipeline, overview = await asyncio.gather(
                reports.pipeline(), reports.overview(self._since)
            )
        except MetricsCollectorError as error:
            self._error = str(error)
            return
        # The screen shall take keys meanwhile.
        metrics = await asyncio.to_thread(_metrics, overview)
        self._error = None
        self._overview, self._metrics = overview, metrics
        self._read_at = time.monotonic()
        self._read_clock = datetime.now().astimezone()
        self._rates.add(overview, self._read_at)

    def on_resize(self) -> None:
        """Lay out anew, once all parts have their new sizes."""
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        self._show_head()
        self._show_table()

    def _show_head(self) -> None:
        clock = f"{self._read_clock:%H:%M:%S}"
        functions = counted(len(self._overview.rows), "function", "functions")
        title = Text.assemble("last ", (self._since, "bold"), f": {functions}, by {self._order}")
        if self._wanted:
            title.append(f", filter {printable(self._wanted)!r}")
        room = self.size.width - len(clock) - 1
        title.truncate(room, overflow="ellipsis", pad=True)
        title.append(f" {clock}", style="dim")
        figures = _header.figures(self._overview, self._pipeline, self._rates.total())
        figures.truncate(self.size.width, overflow="ellipsis")
        self.query_one("#head", Static).update(Text("\n").join((title, figures)))
        age = time.monotonic() - self._read_at
        note = _header.note(
            error=None if self._error is None else printable(self._error),
            paused=self._paused,
            read_at=self._read_clock,
            age=age if age > _LATE + 2 * self._interval else None,
            missing=printable(self._overview.missing.line),
            hidden=max(0, len(self._fitting()) - _MOST),
        )
        field = self.query_one("#note", Static)
        field.update(note)
        field.display = bool(note)

    def _fitting(self) -> list[Line]:
        lengths = self._overview.window.lengths
        return [
            Line(row, self._metrics[row.func_name], self._rates.of(row.func_name), lengths)
            for row in self._overview.rows
            if _choice.fits(row.func_name, self._wanted)
        ]

    def _show_table(self) -> None:
        table = self.query_one("#table", _Table)
        lines = _figure_columns.ordered(self._fitting(), self._order)[:_MOST]
        bar = len(lines) >= table.size.height  # one line is the heading's
        width, columns = _figure_columns.fitting(self.size.width - int(bar))
        headings = [(_figure_columns.NAME, width), *((one.heading, one.width) for one in columns)]
        cells = [_figure_columns.cells(line, width, columns) for line in lines]
        shape = self._order, headings, len(lines)
        if shape == self._shape:
            # In place: to scroll back after all is new would undo a key that comes meanwhile.
            for number, row in enumerate(cells):
                for place, cell in enumerate(row):
                    table.update_cell_at(Coordinate(number, place), cell)
            return
        self._shape = shape
        scrolled = table.scroll_offset.y
        table.clear(columns=True)
        for number, (heading, room) in enumerate(headings):
            style = "bold reverse" if heading == self._order else "bold"
            label = Text(heading, style=style, justify="right" if number else "left")
            table.add_column(label, width=room + bool(number), key=heading)
        for row in cells:
            table.add_row(*row)
        table.scroll_to(y=scrolled, animate=False)

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """Sort by the column that was clicked."""
        if event.column_key.value in _figure_columns.ORDERS:
            self._order = str(event.column_key.value)
            self._show()

    def action_sort(self, step: int) -> None:
        """Sort by another column."""
        number = _figure_columns.ORDERS.index(self._order) + step
        self._order = _figure_columns.ORDERS[number % len(_figure_columns.ORDERS)]
        self._show()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:  # noqa: ARG002 - textual's
        """Whether a key does what it does; a `/` within a filter is a part of it."""
        return action != "filter" or not (
            isinstance(self.focused, Input) or isinstance(self.screen, _Help)
        )

    def action_filter(self) -> None:
        """Ask for a filter."""
        field = self.query_one("#filter", Input)
        field.display = True
        self.screen.set_focus(field)  # at once: the next key belongs to it

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        self._wanted = event.value
        self._show()

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self._leave_filter()

    def action_unfilter(self) -> None:
        """Show all functions again."""
        self.query_one("#filter", Input).value = ""
        self._leave_filter()

    def _leave_filter(self) -> None:
        self.query_one("#filter", Input).display = False
        self.query_one("#table").focus()

    def action_pause(self) -> None:
        """Stop reading, or go on."""
        self._paused = not self._paused
        self._show_head()

    def action_help(self) -> None:
        """Explain the keys."""
        self.push_screen(_Help())


def _metrics(overview: Overview) -> dict[str, FunctionMetrics]:
    """Of all functions, made once for a reading: it is by them that the lines are sorted at each key."""
    return {row.func_name: row.metrics for row in overview.rows}
