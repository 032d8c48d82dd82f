"""A curve over time, in braille dots."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import plotille
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_WIDE, _HIGH = 2, 4  # dots of a braille character
_LEAST: Final = 1e-12  # no clock tells less
_NO_DOTS: Final = "\u2800"
# What the highest number at the axis begins with.
_ROUND: Final = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


def plot(
    values: Sequence[float | None],
    *,
    filled: bool,
    width: int,
    height: int,
    label: Callable[[float], str],
    ends: tuple[str, str],
) -> Text:
    """Draw one value for each of some steps of time, from zero up, in `width` by `height` characters.

    Args:
        values: `None` makes a gap in the curve; where there are more than dots, the highest is drawn.
        filled: all below the curve is dotted.
        label: makes the text of a number at the axis.
        ends: stand below the first and the last step.
    """
    top = _rounded_up(max((value for value in values if value is not None), default=0.0))
    labels = [label(top), label(top / 2), label(0.0)]
    margin = max(map(len, labels))
    columns = max(10, width - margin - 2)
    lines = _curve(values, top, columns, max(3, height - 2), filled=filled).splitlines()
    shown = {0: labels[0], len(lines) // 2: labels[1], len(lines) - 1: labels[2]}
    text = Text()
    for number, line in enumerate(lines):
        mark = "┤" if number in shown else "│"
        text.append(f"{shown.get(number, ''):>{margin}} {mark}", style="dim")
        text.append(f"{line}\n", style="cyan")
    text.append(f"{'':{margin}} └{'─' * columns}\n", style="dim")
    between = " " * (columns - len(ends[0]) - len(ends[1]))
    text.append(f"{'':{margin}}  {ends[0]}{between}{ends[1]}", style="dim")
    return text


def _curve(
    values: Sequence[float | None], top: float, columns: int, rows: int, *, filled: bool
) -> str:
    width, highest = columns * _WIDE, rows * _HIGH - 1
    # One to one with its dots, so that nothing is rounded out of sight.
    canvas = plotille.Canvas(columns, rows, xmax=width, ymax=highest + 1)
    before: tuple[int, int] | None = None
    for x, value in _places(values, width, stretched=filled):
        if value is None:
            before = None
            continue
        here = (x, math.ceil(value / top * highest))
        if filled and value:
            canvas.line(x, 0, *here)
        elif not filled:
            canvas.line(*(before or here), *here)
        before = here
    curve: str = canvas.plot(linesep="\n")
    return curve.replace(_NO_DOTS, " ")  # some fonts draw circles for it


def _places(
    values: Sequence[float | None], width: int, *, stretched: bool
) -> Iterator[tuple[int, float | None]]:
    """Where each value is drawn; `stretched`: at every dot of its step, else in the middle of it."""
    if len(values) < width and not stretched:
        for step, value in enumerate(values):
            yield int((step + 0.5) * width / len(values)), value
        return
    for x in range(width):
        first = x * len(values) // width
        group = values[first : max(first + 1, (x + 1) * len(values) // width)]
        yield x, max((value for value in group if value is not None), default=None)


def _rounded_up(value: float) -> float:
    if value < _LEAST:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(first * power for first in _ROUND if value <= first * power * (1 + 1e-9))
