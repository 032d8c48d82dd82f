"""The command line as a process of its own, in a pipe."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = [sys.executable, "-m", "metrics_collector"]
LIMIT = 60.0  # seconds that a command may take before it counts as hanging


def finished(
    *command: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run any command to its end; `stdin`: what it can read."""
    return subprocess.run(
        command,
        env=os.environ | environment,
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LIMIT,
        check=False,
    )


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of ours to its end."""
    return finished(*PROGRAM, *arguments, **environment)
