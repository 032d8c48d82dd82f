"""The colours of charts in both themes, on their ground and side by side, also without a sense for red or green."""

from __future__ import annotations

import re
from importlib import resources
from itertools import combinations
from math import dist
from typing import Final, TypeAlias

import pytest

Vector: TypeAlias = tuple[float, float, float]
Matrix: TypeAlias = tuple[Vector, Vector, Vector]

STYLE: Final = resources.files("metrics_collector.dashboard") / "static" / "style.css"
SCRIPT: Final = resources.files("metrics_collector.dashboard") / "static" / "charts.js"
TOGETHER: Final = ("failed", "blue", "green", "amber", "purple", "other")

# What is left of linear RGB (Machado, Oliveira and Fernandes, 2009), and how far apart two colours are at least.
EYES: Final[dict[str, tuple[Matrix, float]]] = {
    "of most": (((1, 0, 0), (0, 1, 0), (0, 0, 1)), 0.13),
    "without red": (
        (
            (0.152286, 1.052583, -0.204868),
            (0.114503, 0.786281, 0.099216),
            (-0.003882, -0.048116, 1.051998),
        ),
        0.085,
    ),
    "without green": (
        (
            (0.367322, 0.860646, -0.227968),
            (0.280085, 0.672501, 0.047413),
            (-0.01182, 0.04294, 0.968881),
        ),
        0.085,
    ),
}
# From linear RGB to OKLab, in which equal distances look alike.
TO_LMS: Final[Matrix] = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
TO_LAB: Final[Matrix] = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def times(matrix: Matrix, vector: Vector) -> Vector:
    x, y, z = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return x, y, z


def lab(colour: Vector, eyes: Matrix) -> Vector:
    r, g, b = (min(1.0, max(0.0, one)) for one in times(eyes, colour))
    long, medium, short = times(TO_LMS, (r, g, b))
    return times(TO_LAB, (long ** (1 / 3), medium ** (1 / 3), short ** (1 / 3)))


def luminance(colour: Vector) -> float:
    r, g, b = colour
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.fixture(params=["light", "dark"])
def colours(request: pytest.FixtureRequest) -> dict[str, Vector]:
    """Those of a theme, as linear RGB."""
    found = {}
    pairs = re.findall(r"--([a-z]+): light-dark\((#\w{6}), (#\w{6})\)", STYLE.read_text("utf-8"))
    for name, *themes in pairs:
        text = themes[request.param == "dark"]
        parts = [int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        r, g, b = (
            one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts
        )
        found[name] = r, g, b
    return found


@pytest.mark.parametrize("eyes", EYES)
def test_no_two_that_stand_together_look_alike(eyes: str, colours: dict[str, Vector]) -> None:
    matrix, least = EYES[eyes]
    seen = {name: lab(colours[name], matrix) for name in TOGETHER}
    alike = [pair for pair in combinations(seen, 2) if dist(seen[pair[0]], seen[pair[1]]) < least]
    assert alike == []


@pytest.mark.parametrize("name", [*TOGETHER, "calls"])
def test_each_stands_out_from_its_ground(name: str, colours: dict[str, Vector]) -> None:
    dark, light = sorted((luminance(colours[name]), luminance(colours["panel"])))
    assert (light + 0.05) / (dark + 0.05) >= 3  # WCAG 2.2, 1.4.11


def test_these_are_the_ones_of_the_charts() -> None:
    text = SCRIPT.read_text("utf-8")
    series = re.search(r"SERIES = \[(.*?)\]", text)
    assert series
    assert tuple(re.findall(r'"(\w+)"', series[1])) == TOGETHER[1:-1]
    assert 'OF_TYPES = ["failed", ...SERIES]' in text
