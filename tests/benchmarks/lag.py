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
SENDERS = ("none", "task", "thread")


def lines(run: Run) -> Iterator[Line]:
    """p50, p99 and maximum, on either loop, with either home of the sender."""
    rounds, seconds = run.pick(7, 1), run.pick(4, 1)
    for uvloop in (False, True)[: run.pick(2, 1)]:
        told: dict[str, list[dict[str, float]]] = {sender: [] for sender in SENDERS}
        for number in range(rounds):
            turn = number % len(SENDERS)
            for sender in SENDERS[turn:] + SENDERS[:turn]:
                told[sender].append(_one(sender, seconds, uvloop=uvloop))
        loop = "uvloop" if uvloop else "asyncio"
        for sender in SENDERS[1:]:
            for which in ("p50", "p99", "max"):
                yield line(
                    GROUP,
                    f"{which}, {loop}, sender in a {sender}",
                    [one[which] for one in told[sender]],
                    "the same app without metrics",
                    [one[which] for one in told["none"]],
                    target=FIRM if which == "p99" else None,
                )


def _one(sender: str, seconds: float, *, uvloop: bool) -> dict[str, float]:
    with TemporaryDirectory() as folder, RedisServer() as redis:
        return programs.run(
            "service",
            output=Path(folder, "service"),
            redis=redis.url,
            rate=RATE,
            seconds=seconds,
            sender=sender,
            uvloop=uvloop,
        )
