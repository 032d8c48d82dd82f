"""Rounds that take turns, lines that compare, and what becomes of them: a table and JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, NamedTuple

from tests.helpers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Unit = Literal["s", "B", "/s"]
Figure = Literal["ratio", "value", "above"]
Samples = dict[str, list[float]]


class Target(NamedTuple):
    """What a line is to reach at the median."""

    figure: Figure  # the ratio, the value itself, or by how much it is above the reference
    limit: float  # at most this, or at least
    at_least: bool = False


class Line(NamedTuple):
    """One thing measured, beside its reference: medians over all rounds, and the quartiles of their ratios."""

    group: str  # which whoever asks for the lines of a group enters
    name: str
    value: float
    unit: Unit
    reference: str
    reference_value: float
    ratio: float
    low: float
    high: float
    rounds: int
    target: Target | None

    @property
    def aimed(self) -> float:
        """The figure that the target is about; the ratio if there is none."""
        figure = self.target.figure if self.target else "ratio"
        above = self.value - self.reference_value
        return {"ratio": self.ratio, "value": self.value, "above": above}[figure]

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; `None` without one."""
        if self.target is None:
            return None
        if self.target.at_least:
            return self.aimed >= self.target.limit
        return self.aimed <= self.target.limit


class Run(NamedTuple):
    """How thorough a run is."""

    quick: bool

    def pick(self, full: int, quick: int) -> int:
        """The size to use."""
        return quick if self.quick else full


def interleaved(
    rounds: int, subjects: Mapping[str, Callable[[], float]], *, warm_up: bool = True
) -> Samples:
    """Take one sample of each subject a round; the order turns, so that none is always first."""
    names = list(subjects)
    if warm_up:
        for name in names:
            subjects[name]()
    samples: Samples = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            samples[name].append(subjects[name]())
    return samples


def over(samples: Samples, base: str) -> Samples:
    """What each sample is above the base's of the same round; the base itself is left out."""
    return {
        name: [max(one - b, 1e-12) for one, b in zip(some, samples[base], strict=True)]
        for name, some in samples.items()
        if name != base
    }


@contextmanager
def surroundings() -> Iterator[tuple[RedisServer, Path]]:
    """A Redis, and a folder."""
    with RedisServer() as redis, TemporaryDirectory() as folder:
        yield redis, Path(folder)


def line(
    name: str,
    values: Sequence[float],
    reference: str,
    reference_values: Sequence[float],
    unit: Unit = "s",
    *,
    target: Target | None = None,
) -> Line:
    """Compare what was measured in the same rounds."""
    ratios = [a / b if b else 0.0 for a, b in zip(values, reference_values, strict=True)]
    low, high = ratios[0], ratios[0]
    if len(ratios) > 1:
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    value, reference_value, ratio = map(statistics.median, (values, reference_values, ratios))
    compared = ("", name, value, unit, reference, reference_value, ratio, low, high)
    return Line(*compared, len(ratios), target)


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    bound = hasattr(os, "sched_getaffinity")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if bound else os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def write_json(path: Path, lines: Iterable[Line]) -> None:
    """Write all lines, and what they were measured on."""
    shaped = [
        one._asdict()
        | {"target": one.target._asdict() if one.target else None}
        | {"aimed": one.aimed, "reached": one.reached}
        for one in lines
    ]
    path.write_text(json.dumps({"machine": machine(), "lines": shaped}, indent=1) + "\n")


def print_table(lines: Sequence[Line]) -> None:
    """Print the lines, by group."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 180)
    table = Table(title="MetricsCollector: " + ", ".join(f"{k} {v}" for k, v in machine().items()))
    for heading in ("group", "measured", "median", "reference", "median", "ratio", "quartiles"):
        table.add_column(heading, justify="right" if heading in {"median", "ratio"} else "left")
    table.add_column("target")
    before = None
    for one in lines:
        if before not in {None, one.group}:
            table.add_section()
        table.add_row(
            "" if one.group == before else one.group,
            one.name,
            shown(one.value, one.unit),
            one.reference,
            shown(one.reference_value, one.unit),
            f"{one.ratio:.3g}",
            f"{one.low:.3g} to {one.high:.3g}",
            _verdict(one),
        )
        before = one.group
    console.print(table)


def shown(value: float, unit: Unit) -> str:
    """The value as people read it."""
    if unit == "s":
        for scale, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
            if abs(value) >= scale:
                return f"{value / scale:.3g} {name}"
        return f"{value / 1e-9:.3g} ns"
    if unit == "B" and value >= 1e6:
        return f"{value / 1e6:,.1f} MB"
    return f"{value:,.0f} {unit}"


def _verdict(one: Line) -> str:
    if one.target is None:
        return ""
    bound = ">=" if one.target.at_least else "<="
    plain = one.target.figure == "ratio"
    limit = f"{one.target.limit:g}" if plain else shown(one.target.limit, one.unit)
    aimed = "" if one.target.figure != "above" else f" above: {shown(one.aimed, one.unit)}"
    return f"{'yes' if one.reached else 'NO'}: {bound} {limit}{aimed}"
