"""How late a 1 ms ticker on the app's loop comes, at 20,000 calls a second."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.benchmarks import programs
from tests.benchmarks.harness import Target, line
from tests.helpers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.harness import Line, Run

GROUP = "lag"
RATE = 20_000
FIRM = Target("above", 1e-3)


def lines(run: Run) -> Iterator[Line]:
    """p50, p99 and maximum, on either loop."""
    rounds, seconds = run.pick(7, 1), run.pick(4, 1)
    for uvloop in (False, True)[: run.pick(2, 1)]:
        without: list[dict[str, float]] = []
        recorded: list[dict[str, float]] = []
        for number in range(rounds):
            for kind in (without, recorded) if number % 2 else (recorded, without):
                kind.append(_one(seconds, recorded=kind is recorded, uvloop=uvloop))
        for which in ("p50", "p99", "max"):
            yield line(
                GROUP,
                f"{which}, {'uvloop' if uvloop else 'asyncio'}",
                [one[which] for one in recorded],
                "the same app without metrics",
                [one[which] for one in without],
                target=FIRM if which == "p99" else None,
            )


def _one(seconds: float, *, recorded: bool, uvloop: bool) -> dict[str, float]:
    with TemporaryDirectory() as folder, RedisServer() as redis:
        return programs.run(
            "service",
            output=Path(folder, "service"),
            redis=redis.url,
            rate=RATE,
            seconds=seconds,
            recorded=recorded,
            uvloop=uvloop,
        )
