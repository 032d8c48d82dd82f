"""A disk that takes no more, though the file's rights let this user write."""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING

import pytest

from metrics_collector._storage.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def full_disk(path: Path) -> Iterator[Path]:
    """An empty database where nothing can be written: by a limit, as not every container lets its root mount a disk."""
    path.touch()
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, usual[1]))
    try:
        yield path
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


async def test_a_full_one_is_found_out(full_disk: Path) -> None:
    assert (await SQLiteStore(str(full_disk)).describe()).error is None
    found = await SQLiteStore(str(full_disk)).describe(try_writing=True)
    assert "takes no more (File too large): make room" in str(found.error)
    assert list(full_disk.parent.iterdir()) == [full_disk]


def test_it_is_the_disk_that_a_link_leads_to(full_disk: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(full_disk)
    found = asyncio.run(SQLiteStore(str(link)).describe(try_writing=True))
    assert f"the database {full_disk} cannot be written" in str(found.error)


async def test_a_look_writes_nothing(path: Path) -> None:
    before = path.parent.stat().st_mtime_ns
    await SQLiteStore(str(path)).describe()
    assert path.parent.stat().st_mtime_ns == before
