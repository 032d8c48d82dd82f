"""What several commands take."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import typer

_SINCE: Final[Any] = typer.Option(
    metavar="TIME", help="From when: back from now (15m, 24h, 7d), or 2026-05-17T09:30."
)

Since: TypeAlias = Annotated[str | None, _SINCE]
SinceDay: TypeAlias = Annotated[str, _SINCE]  # where it has a default
Until: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TIME", help="To when, as --since takes it; now if not given.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Write JSON.")]
What: TypeAlias = Literal["calls", "errors", "average", "p50", "p95", "p99"]
Format: TypeAlias = Literal["csv", "jsonl"]
