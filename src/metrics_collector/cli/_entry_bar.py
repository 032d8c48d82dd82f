"""A bar for work on many entries."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def entry_bar(*, shown: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal at standard error, gone at the end; takes how many are done, and how many there are."""
    console = Console(stderr=True, highlight=False, markup=False)
    if not shown or not console.is_interactive:
        yield lambda _done, _of: None
        return
    bar = BarColumn(None, style="dim", complete_style="green", finished_style="green")
    columns = (bar, MofNCompleteColumn(), TextColumn("entries"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, expand=True) as progress:
        task = progress.add_task("", total=None, visible=False)
        yield lambda done, of: progress.update(task, completed=done, total=of, visible=True)
