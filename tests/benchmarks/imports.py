"""What `from metrics_collector import metrics_collector` adds to the start of a Python that has imported asyncio."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.benchmarks.harness import Target, line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.harness import Line, Run

GROUP = "imports"
PROGRAM = """
from time import perf_counter as clock
start = clock()
import asyncio
middle = clock()
from metrics_collector import metrics_collector
print(middle - start, clock() - middle)
"""
FIRM = Target("value", 0.020)


def lines(run: Run) -> Iterator[Line]:
    """One line; each round is a new interpreter."""
    ours, asyncio = [], []
    for _ in range(run.pick(31, 3)):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
        )
        reference, own = map(float, done.stdout.split())
        ours.append(own)
        asyncio.append(reference)
    yield line(
        GROUP, "metrics_collector, after asyncio", ours, "asyncio itself", asyncio, target=FIRM
    )
