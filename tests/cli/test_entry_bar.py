"""The bar for work on many entries."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console

from metrics_collector.cli import _entry_bar

if TYPE_CHECKING:
    import pytest


def test_it_says_how_many_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    terminal = partial(Console, file=shown, force_terminal=True, force_interactive=True, width=80)
    monkeypatch.setattr(_entry_bar, "Console", lambda **_: terminal())
    with _entry_bar.entry_bar() as report:
        report(1, 2)
    assert "1/2" in shown.getvalue()
    with _entry_bar.entry_bar(shown=False) as report:
        report(3, 4)
    assert "3/4" not in shown.getvalue()
