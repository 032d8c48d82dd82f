"""What several commands take, and how numbers and choices are read: typer would refuse them in pydantic's words."""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from metrics_collector._core.figures import COLUMNS
from metrics_collector.cli._choice import ORDERS

if TYPE_CHECKING:
    from collections.abc import Collection


def number(kind: type[int | float], least: float, most: float | None = None, *, text: str) -> Any:
    """An option that takes a number from `least` to `most`, or of any size from there on; `text` is its help."""
    limits = f"{least:g} on" if most is None else f"{least:g} to {most:g}"
    allowed = f"a {'whole ' if kind is int else ''}number from {limits}"

    def read(given: Any) -> int | float:
        try:
            value = kind(given)
        except ValueError:
            value = nan
        if value >= least and (most is None or value <= most):
            return value
        raise typer.BadParameter(f"{given!r} is not {allowed}")

    return typer.Option(metavar="N", parser=read, help=text)


def _one_of(allowed: Collection[str], text: str, *names: str) -> Any:
    """An option that takes one of some words; `text` is its help."""

    def read(given: str) -> str:
        if given in allowed:
            return given
        raise typer.BadParameter(f"{given!r} is not one of {', '.join(allowed)}")

    return typer.Option(*names, metavar="|".join(allowed), parser=read, help=text)


_SINCE: Final[Any] = typer.Option(
    metavar="TIME", help="From when: back from now (15m, 24h, 7d), or 2026-05-17T09:30."
)

Since: TypeAlias = Annotated[str | None, _SINCE]
SinceDay: TypeAlias = Annotated[str, _SINCE]  # where it has a default
Until: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TIME", help="To when, as --since takes it; now if not given.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Order: TypeAlias = Annotated[str, _one_of(ORDERS, "The highest first; names from A to Z.")]
What: TypeAlias = Annotated[
    str, _one_of([one.label for one in COLUMNS], "What is drawn; a table and JSON hold all.")
]
Format: TypeAlias = Annotated[str, _one_of(("csv", "jsonl"), "What is written.", "--format")]
