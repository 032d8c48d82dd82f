"""What `from metrics_collector import metrics_collector` adds to the start of a Python that has imported asyncio."""

from __future__ import annotations

import os
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.benchmarks.harness import Line, Run, Target, line

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """One line; each round is a new interpreter, which finds compiled files as an installed package has them."""
    ours, asyncio = [], []
    with TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-c", PROGRAM]
        for number in range(run.pick(32, 4)):
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env=environment
            )
            if number:  # the first one compiles
                reference, own = map(float, done.stdout.split())
                ours.append(own)
                asyncio.append(reference)
    name = "metrics_collector, after asyncio"
    yield line(name, ours, "asyncio itself", asyncio, target=FIRM)
