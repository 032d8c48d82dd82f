"""Where rich writes: standard output, in a pipe as plain text."""

from __future__ import annotations

from typing import Final

from rich.console import Console

console: Final = Console(highlight=False, markup=False)
