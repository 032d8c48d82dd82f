"""Folders for databases of tests."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

_MEMORY = Path("/dev/shm")  # noqa: S108 - not a file of ours but a folder goes there


def fast_folder() -> TemporaryDirectory[str]:
    """A folder of the test's own, in memory if the machine has that: each commit waits for the disk elsewhere."""
    return TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)
