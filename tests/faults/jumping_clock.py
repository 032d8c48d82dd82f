"""Runs a module as `python -m` does, in a process whose clock of day is set again and again.

`python -m tests.faults.jumping_clock MODULE ARGUMENT...`: `time.time`, and so all that this package takes for the
time of day, jumps ten times a second, by up to ten years back or forth. `perf_counter` and `monotonic` go on, as they
do when a system's clock is set. The clocks of Redis and of `datetime.now`, which Taskiq's scheduler asks, are left.
"""

from __future__ import annotations

import random
import runpy
import sys
import time
from typing import Final

EVERY: Final = 0.1  # seconds
YEAR: Final = 365 * 86400.0
STEPS: Final = (-10 * YEAR, -3600.0, -1.0, 0.0, 1.0, 3600.0, 10 * YEAR)

_time = time.time


def _jumping() -> float:
    now = _time()
    return now + random.Random(int(now / EVERY)).choice(STEPS)


if __name__ == "__main__":
    time.time = _jumping
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
