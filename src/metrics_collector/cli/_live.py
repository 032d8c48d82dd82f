"""The display while the demo runs: the figures so far, and a bar below them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from metrics_collector._core.units import count, counted
from metrics_collector.cli import _figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType

    from metrics_collector._core.models import FunctionMetrics

_ECHO: Final = 3  # columns for the ^C of a terminal: in a line of its own it would move the display
_WIDEST: Final = 100  # columns; a longer bar says no more


class LiveView(Live):
    """Shown within `with`, for so many seconds, and gone after it; it leaves out the first `errors_before`."""

    def __init__(self, console: Console, seconds: float, errors_before: int) -> None:
        # Drawn by `show` alone: a thread of rich's would take turns from the service.
        super().__init__(console=console, auto_refresh=False, transient=True)
        self.figures: Sequence[FunctionMetrics] = ()
        self._seconds = seconds
        self._errors_before = errors_before
        self._seen: deque[tuple[float, int]] = deque([(0.0, 0)], maxlen=10)  # of the last second

    def show(self, elapsed: float, calls: int) -> None:
        """Draw, so many seconds after the beginning, with so many calls recorded since."""
        then, calls_then = self._seen[0]
        rate = (calls - calls_then) / (elapsed - then) if elapsed > then else 0.0
        self._seen.append((elapsed, calls))
        bar = self._bar(elapsed, rate)
        if self.figures:
            bar = Group(_figures.functions(self.figures, self.console.width), "", bar)
        self.update(bar, refresh=True)

    def _bar(self, elapsed: float, rate: float) -> RenderableType:
        errors = max(0, sum(one.error_count for one in self.figures) - self._errors_before)
        line = Table.grid(padding=(0, 2), expand=True)
        line.add_column(ratio=1)
        for _ in range(3):
            line.add_column(justify="right", no_wrap=True)
        line.width = min(self.console.width - _ECHO, _WIDEST)
        line.add_row(
            ProgressBar(
                total=self._seconds,
                completed=min(elapsed, self._seconds),
                style="dim",
                complete_style="green",
                finished_style="green",
            ),
            Text(f"{min(elapsed, self._seconds):.1f} of {self._seconds:g} s"),
            Text(f"{count(round(rate))} calls/s"),
            Text(counted(errors, "error", "errors"), style="red" if errors else ""),
        )
        return line
