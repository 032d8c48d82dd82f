"""What sending costs the app's process: encoding, sending, and taking in what was saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks import programs
from tests.benchmarks.harness import Line, Run, Samples, Target, interleaved, line, surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

REFERENCE = "the same without metrics"
FIRM_RATE = 20_000
FIRM = Target("above", 1.5e-6)


def lines(run: Run) -> Iterator[Line]:
    """CPU time an entry, at three rates; a worker in a process of its own saves what is sent."""
    for rate in (1000, FIRM_RATE, 100_000)[: run.pick(3, 2)]:
        samples = _measured(run, rate)
        name, aim = f"CPU an entry at {rate:,}/s", FIRM if rate == FIRM_RATE else None
        yield line(name, samples["recorded"], REFERENCE, samples["without"], target=aim)


def _measured(run: Run, rate: int) -> Samples:
    with surroundings() as (redis, place):

        def cpu(*, recorded: bool) -> float:
            work = {"rate": rate, "seconds": run.pick(4, 1), "recorded": recorded}
            told = programs.run("service", place, redis=redis.url, **work)
            return float(told["cpu"] / told["entries"])

        subjects = {"without": lambda: cpu(recorded=False), "recorded": lambda: cpu(recorded=True)}
        saving = {"database": str(place / "db"), "entries": 10**12}
        with programs.start("worker", place, redis=redis.url, **saving):
            return interleaved(run.pick(7, 1), subjects, warm_up=False)
