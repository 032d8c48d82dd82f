"""What several commands take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import typer

from metrics_collector._core.figures import COLUMNS
from metrics_collector.cli._choice import ORDERS

_SINCE: Final[Any] = typer.Option(
    metavar="TIME", help="From when: back from now (15m, 24h, 7d), or 2026-05-17T09:30."
)

Since: TypeAlias = Annotated[str | None, _SINCE]
SinceDay: TypeAlias = Annotated[str, _SINCE]  # where it has a default
Until: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TIME", help="To when, as --since takes it; now if not given.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Format: TypeAlias = Literal["csv", "jsonl"]

if TYPE_CHECKING:
    Order: TypeAlias = str
    What: TypeAlias = str
else:  # typer makes the choices of it
    Order: TypeAlias = Literal[ORDERS]
    What: TypeAlias = Literal[tuple(figure.label for figure in COLUMNS)]
