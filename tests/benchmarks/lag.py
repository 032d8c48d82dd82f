"""How late a 1 ms ticker on the app's loop comes, at 20,000 calls a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks import programs
from tests.benchmarks.harness import Line, Run, Target, line, surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE = 20_000
FIRM = Target("above", 1.5e-4)


def lines(run: Run) -> Iterator[Line]:
    """p50, p99 and maximum, on either loop."""
    rounds, seconds = run.pick(7, 1), run.pick(4, 1)
    for uvloop in (False, True)[: run.pick(2, 1)]:
        without: list[dict[str, float]] = []
        recorded: list[dict[str, float]] = []
        for number in range(rounds):
            for kind in (without, recorded) if number % 2 else (recorded, without):
                kind.append(_one(seconds, recorded=kind is recorded, uvloop=uvloop))
        loop = "uvloop" if uvloop else "asyncio"
        for which in ("p50", "p99", "max"):
            ours, bare = ([one[which] for one in some] for some in (recorded, without))
            name, aim = f"{which}, {loop}", FIRM if which == "p99" else None
            yield line(name, ours, "the same app without metrics", bare, target=aim)


def _one(seconds: float, *, recorded: bool, uvloop: bool) -> dict[str, float]:
    with surroundings() as (redis, place):
        how = {"recorded": recorded, "uvloop": uvloop}
        return programs.run("service", place, redis=redis.url, rate=RATE, seconds=seconds, **how)
