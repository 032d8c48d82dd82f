"""The command line as a process of its own, in a pipe."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = [sys.executable, "-m", "metrics_collector"]
LIMIT = 60.0  # seconds that a command may take before it counts as hanging


def run(
    *arguments: str, stdin: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `stdin`: what it can read, and nothing if `None`."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=os.environ | environment,
        input="" if stdin is None else stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LIMIT,
        check=False,
    )
