"""What sending costs the app's process: encoding, sending, and taking in what was saved."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tests.benchmarks import programs
from tests.benchmarks.harness import Target, interleaved, line
from tests.helpers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.harness import Line, Run

GROUP = "sending"
REFERENCE = "the same without metrics"
FIRM_RATE = 20_000
FIRM = Target("above", 1.5e-6)


def lines(run: Run) -> Iterator[Line]:
    """CPU time an entry, at three rates; a worker in a process of its own saves what is sent."""
    seconds = run.pick(4, 1)
    for rate in (1000, FIRM_RATE, 100_000)[: run.pick(3, 2)]:
        with TemporaryDirectory() as folder, RedisServer() as redis:
            place = Path(folder)
            saving = programs.start(
                "worker",
                output=place / "worker",
                redis=redis.url,
                database=str(place / "db"),
                entries=10**12,
            )
            with saving:

                def cpu(
                    *, recorded: bool, rate: int = rate, url: str = redis.url, place: Path = place
                ) -> float:
                    told: dict[str, Any] = programs.run(
                        "service",
                        output=place / "service",
                        redis=url,
                        rate=rate,
                        seconds=seconds,
                        recorded=recorded,
                    )
                    return float(told["cpu"] / told["entries"])

                samples = interleaved(
                    run.pick(7, 1),
                    {
                        "without": lambda: cpu(recorded=False),
                        "recorded": lambda: cpu(recorded=True),
                    },
                    warm_up=False,
                )
        yield line(
            GROUP,
            f"CPU an entry at {rate:,}/s",
            samples["recorded"],
            REFERENCE,
            samples["without"],
            target=FIRM if rate == FIRM_RATE else None,
        )
