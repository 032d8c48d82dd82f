"""Runs a module as `python -m` does, in a process whose clock of day is set again and again.

`python -m tests.faults.jumping_clock MODULE ARGUMENT...`: `time.time`, and so all that this package takes for the
time of day, jumps ten times a second, by up to ten years back or forth, or by the seconds that the variable CLOCK_STEPS
names, one of which may be all. `perf_counter` and `monotonic` go on, as they
do when a system's clock is set. The clocks of Redis and of `datetime.now`, which Taskiq's scheduler asks, are left.
"""

from __future__ import annotations

import os
import random
import runpy
import sys
import time
from typing import Final

EVERY: Final = 0.1  # seconds
YEAR: Final = 365 * 86400.0
USUAL: Final = f"{-10 * YEAR},-3600,-1,0,1,3600,{10 * YEAR}"
STEPS: Final = [*map(float, os.environ.get("CLOCK_STEPS", USUAL).split(","))]

_time = time.time


def _jumping() -> float:
    now = _time()
    return now + random.Random(int(now / EVERY)).choice(STEPS)


if __name__ == "__main__":
    time.time = _jumping
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
