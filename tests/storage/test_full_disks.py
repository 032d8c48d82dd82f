"""A disk that takes no more, though the file's rights let this user write."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
from typing import TYPE_CHECKING

import pytest

from metrics_collector._storage.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte that is full, with an empty database on it."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount, and not in each container")
    try:
        (folder / "metrics.db").touch()
        with pytest.raises(OSError, match="No space left"):
            (folder / "rest").write_bytes(bytes(2_000_000))
        yield folder / "metrics.db"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_one_is_found_out(full_disk: Path) -> None:
    assert (await SQLiteStore(str(full_disk)).describe()).error is None
    found = await SQLiteStore(str(full_disk)).describe(try_writing=True)
    assert "takes no more (No space left on device): make room" in str(found.error)
    assert {one.name for one in full_disk.parent.iterdir()} == {"metrics.db", "rest"}


def test_it_is_the_disk_that_a_link_leads_to(full_disk: Path, path: Path) -> None:
    path.symlink_to(full_disk)
    found = asyncio.run(SQLiteStore(str(path)).describe(try_writing=True))
    assert f"the database {full_disk} cannot be written" in str(found.error)


async def test_so_is_a_limit_that_no_figure_tells_of(path: Path) -> None:
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, usual[1]))
    try:
        found = await SQLiteStore(str(path)).describe(try_writing=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert "takes no more (File too large): make room" in str(found.error)


async def test_a_look_writes_nothing(path: Path) -> None:
    before = path.parent.stat().st_mtime_ns
    await SQLiteStore(str(path)).describe()
    assert path.parent.stat().st_mtime_ns == before
