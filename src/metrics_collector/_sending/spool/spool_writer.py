"""The spool files that this process writes."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from metrics_collector._sending.batch import DiskCopy, content_of
from metrics_collector._sending.spool import spool_file
from metrics_collector._support import process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from metrics_collector._sending.batch import Batch, Content, HasPayload

_FULL: Final = 16_000_000  # bytes of a file, after which another one is begun


class Spool:
    """Writes batches that this process cannot hold in memory to files.

    They outlive the process, but not a loss of power: nothing is synced, the system writes it to the disk in its time.
    The folder is made on first use.
    """

    def __init__(self, folder: str, producer: str) -> None:
        self.folder = folder
        self._producer = producer
        # Invariant under the lock: only `_current` is written to, by one thread at a time.
        self._lock = threading.Lock()
        self._current: _Segment | None = None

    def check(self) -> None:
        """Check that files can be made in the folder; blocks.

        Raises:
            OSError: they cannot.
        """
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError("it is not writable by this user")

    async def write(
        self,
        batches: Sequence[tuple[Batch, HasPayload]],
        done: Callable[[Batch, DiskCopy], None],
    ) -> None:
        """Write batches, and call `done` for each as soon as it is written, in another thread.

        Raises:
            OSError: there is no room, or no folder; batches that `done` was not called for are not written.
        """
        await process.in_thread(partial(self._write, batches, done))

    def _write(
        self,
        batches: Sequence[tuple[Batch, HasPayload]],
        done: Callable[[Batch, DiskCopy], None],
    ) -> None:
        with self._lock:
            for batch, content in batches:
                payload = content.payload
                copy = None
                if self._current is not None:
                    copy = self._current.append(batch.first, batch.last, payload)
                if copy is None:
                    self._current = _Segment(Path(self.folder), self._producer, batch.first)
                    copy = self._current.append(batch.first, batch.last, payload)
                    assert copy is not None  # noqa: S101 - it is new and empty
                done(batch, copy)


class _Segment:
    """One file of this process, locked as long as it is open."""

    def __init__(self, folder: Path, producer: str, first: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{producer}-{first}{spool_file.SUFFIX}"
        # Under its final name only once it is locked, so that no process takes it for that of one that has ended.
        unfinished = self._path.with_suffix(spool_file.UNFINISHED)
        descriptor = spool_file.open_locked(unfinished, make=True)
        if descriptor is None:
            raise BlockingIOError(f"{unfinished} is locked by another process")
        self._descriptor = descriptor
        self._needed = 0  # batches that SQL does not have yet
        self._size = 0
        self._whole = True  # open, and without a part of a batch at its end
        # Invariant: used under the lock, as one thread may append while another discards.
        self._lock = threading.Lock()
        try:
            self._append(spool_file.header(producer))
            unfinished.rename(self._path)
        except BaseException:
            spool_file.close(descriptor)
            with suppress(OSError):
                unfinished.unlink()
            raise

    def append(self, first: int, last: int, payload: bytes) -> _FrameCopy | None:
        """Write a batch; `None` if the file takes no more.

        Raises:
            OSError: it cannot be written; no part of it is left in the file.
        """
        with self._lock:
            if not self._whole or self._size >= _FULL:
                return None
            data, frame = spool_file.framed(first, last, payload, self._size)
            self._append(data)
            self._needed += 1
            return _FrameCopy(self, frame)

    def _append(self, data: bytes) -> None:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except BaseException:
            self._whole = False
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
                self._whole = True
            raise
        self._size += len(data)

    def read(self, frame: spool_file.Frame) -> bytes:
        return spool_file.payload(self._descriptor, frame)

    def discard_one(self) -> None:
        """Note that one more of its batches is not needed any more; after the last one the file is deleted."""
        with self._lock:
            self._needed -= 1
            if self._needed:
                return
            self._whole = False
            with suppress(OSError):
                self._path.unlink()
            spool_file.close(self._descriptor)


class _FrameCopy(NamedTuple):
    segment: _Segment
    frame: spool_file.Frame

    def read(self) -> Content:
        return content_of(self.segment.read(self.frame))

    def discard(self) -> None:
        self.segment.discard_one()
