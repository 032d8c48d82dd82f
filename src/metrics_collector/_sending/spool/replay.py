"""Sends the spool files of processes that have ended, and deletes them when SQL has what is in them.

Their batches are sent outside of their producer's order, and perhaps again: the ledger recognizes what SQL has. A file
is replayed by the process that has its lock, so two processes with one folder do not do the same work.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from metrics_collector._core.entries import MAX_BATCH_BYTES
from metrics_collector._core.intervals import Intervals
from metrics_collector._errors import StoreUnavailableError
from metrics_collector._sending.batch import Batch, content_of
from metrics_collector._sending.outbox import MOST_LOSSES
from metrics_collector._sending.spool import spool_file
from metrics_collector._support import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from metrics_collector._core.pipeline_types import PushReply
    from metrics_collector._support.rate_limited_log import RateLimitedLog

SCAN_EVERY: Final = 10.0  # seconds between two looks for files
LOOK_EVERY: Final = 2.0  # seconds between two looks whether SQL has what was sent
AT_ONCE: Final = 16  # files that are open at a time


class ReplayDestination(Protocol):
    """Redis, as a replay needs it. Every method raises StoreUnavailableError if it cannot be used."""

    async def push(self, producer: str, batch: Batch, need: int, /) -> PushReply: ...
    async def look(self, producer: str, /) -> PushReply: ...
    async def given(self, producer: str, /) -> Intervals: ...


class Replay:
    """Sends the spool files of processes that have ended; what goes wrong is logged and given to `failed`."""

    def __init__(
        self,
        folder: str,
        destination: ReplayDestination,
        *,
        log: RateLimitedLog,
        failed: Callable[[str], None],
    ) -> None:
        self._folder = Path(folder)
        self._destination = destination
        self._log = log
        self._failed = failed
        # Invariant under the lock: once `_closed`, no file is added, as it would never be closed. The thread that opens
        # files goes on when `run`, which waits for it, is cancelled.
        self._lock = threading.Lock()
        self._closed = False
        self._files: list[_OrphanedFile] = []

    async def run(self) -> None:
        """Look for files and send what is in them, until cancelled."""
        scan_at = 0.0
        try:
            while True:
                if (now := asyncio.get_running_loop().time()) >= scan_at:
                    scan_at = now + SCAN_EVERY
                    await process.in_thread(self._open_free_files)
                await self._advance()
                await asyncio.sleep(LOOK_EVERY)  # a timer, rarer than any retry: no backoff
        finally:
            with self._lock:
                self._closed = True
                for file in self._files:
                    file.close()

    async def _advance(self) -> None:
        for file in self._files.copy():
            try:
                if await file.advance(self._destination):
                    self._files.remove(file)
                    await process.in_thread(file.done)
            except StoreUnavailableError as error:  # so the other files cannot be sent either
                self._report(f"cannot send the spool files in {self._folder}; retrying: {error}")
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, the other files are to be sent
                self._report(f"cannot send the spool file {file.path}; retrying: {error!r}")

    def _open_free_files(self) -> None:
        try:
            self._remove_unfinished_files()
            paths = self._files_of(spool_file.SUFFIX)
        except OSError as error:
            self._report(f"cannot list the spool files in {self._folder}; retrying: {error}")
            return
        for path in paths:
            if self._closed or len(self._files) >= AT_ONCE:
                return
            try:
                descriptor = spool_file.open_locked(path)
                if descriptor is not None:
                    self._take(path, descriptor)
            except OSError as error:  # another user's, for instance
                self._report(f"cannot open the spool file {path}; retrying: {error}")

    def _remove_unfinished_files(self) -> None:
        """Delete files whose process died before it had written a batch to them."""
        for path in self._files_of(spool_file.UNFINISHED):
            descriptor = spool_file.open_locked(path)
            if descriptor is not None:
                path.unlink(missing_ok=True)
                spool_file.close(descriptor)

    def _files_of(self, suffix: str) -> list[Path]:
        """Those of the folder, if there is one; `Path.glob` finds nothing either in one that this user may not list."""
        with suppress(FileNotFoundError):
            return sorted(path for path in self._folder.iterdir() if path.name.endswith(suffix))
        return []

    def _take(self, path: Path, descriptor: int) -> None:
        try:
            file = _OrphanedFile(path, descriptor, self._report)
        except spool_file.NewerError:
            spool_file.close(descriptor)
            self._report(
                f"the spool file {path} was written by a newer release; upgrade, or have a process of that one send it"
            )
            return
        except BaseException:
            spool_file.close(descriptor)
            raise
        with self._lock:
            if self._closed:
                file.close()
            else:
                self._files.append(file)

    def _report(self, what: str) -> None:
        self._failed(what)
        self._log.trouble("replay", "%s", what)


def _parts(first: int, payload: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The entries from `first` on, as many together as a batch may have: earlier releases counted no bytes."""
    lines: list[bytes] = []
    size = 0
    for line in payload.split(b"\n"):
        if lines and size + len(line) > MAX_BATCH_BYTES:
            yield first, first + len(lines) - 1, b"\n".join(lines)
            first, lines, size = first + len(lines), [], 0
        lines.append(line)
        size += len(line)
    yield first, first + len(lines) - 1, b"\n".join(lines)


class _OrphanedFile:
    """A file whose process has ended, and what of it SQL does not have yet."""

    def __init__(self, path: Path, descriptor: int, report: Callable[[str], None]) -> None:
        self.path = path
        self._descriptor = descriptor
        self._report = report
        self._producer = ""
        self._frames: list[spool_file.Frame] = []  # those that SQL may not have
        # By the first number of a frame: the number of its list (`PushReply.lists`), and how often Redis has lost it.
        self._list_numbers: dict[int, int] = {}
        self._losses: Counter[int] = Counter()
        self._damaged = False
        try:
            self._producer, offset = spool_file.producer_in(descriptor)
            for frame in spool_file.frames(descriptor, offset):
                self._frames.append(frame)  # what precedes the damage is good
        except spool_file.DamagedError as error:
            self._damaged = True
            whole = sum(frame.last - frame.first + 1 for frame in self._frames)
            report(
                f"the spool file {path} is damaged ({error}); the {whole} entries before that are sent, and the file "
                f"is then kept as {self._damaged_path.name}"
            )

    @property
    def _damaged_path(self) -> Path:
        return self.path.with_suffix(spool_file.DAMAGED)

    async def advance(self, destination: ReplayDestination) -> bool:
        """Send what Redis does not have; whether SQL has all of the file.

        Raises:
            StoreUnavailableError: Redis cannot be used.
            OSError: the file cannot be read.
        """
        reply = await destination.look(self._producer)
        saved = Intervals.parse(reply.saved)
        self._frames = [f for f in self._frames if not saved.covers(f.first, f.last)]
        # Redis notes what it was given in the script that takes it: so if it returns to an older state, it is given
        # again what it has lost.
        given = await destination.given(self._producer)
        for frame in self._frames:
            lost = False
            if frame.last <= reply.seen or given.covers(frame.first, frame.last):
                newest = reply.lists.stop - 1
                if self._list_numbers.setdefault(frame.first, newest) in reply.lists:
                    continue
                self._losses[frame.first] += 1
                if self._losses[frame.first] > MOST_LOSSES:
                    self._report(
                        f"entries of the spool file {self.path} do not get into SQL, however often they are sent; "
                        "it is kept"
                    )
                    continue
                lost = True
            payload = await process.in_thread(partial(spool_file.payload, self._descriptor, frame))
            for first, last, part in _parts(frame.first, payload):
                if saved.covers(first, last) or (given.covers(first, last) and not lost):
                    continue
                batch = Batch(first, last, content_of(part), force=True)
                answer = await destination.push(self._producer, batch, 0)
                if answer.kind == "full":
                    return False
                self._list_numbers[frame.first] = answer.lists.stop - 1
        return not self._frames

    def done(self) -> None:
        """Delete the file, or rename it if it was damaged; blocks."""
        with suppress(OSError):
            if self._damaged:
                self.path.rename(self._damaged_path)
            else:
                self.path.unlink()
        self.close()

    def close(self) -> None:
        """Close the file and release its lock."""
        spool_file.close(self._descriptor)
