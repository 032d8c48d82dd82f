"""The files of processes that have gone: sent from here, and deleted when SQL has what is in them.

They are sent outside of their producer's order, and perhaps again, which the ledger tells from new entries. Whoever has
the lock of a file replays it, so two processes on one folder do not do the same work.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from metrics_collector._core.intervals import Intervals
from metrics_collector._errors import StoreUnavailableError
from metrics_collector._sending.batch import Batch, content_of
from metrics_collector._sending.spool import spool_file
from metrics_collector._support import process

if TYPE_CHECKING:
    from collections.abc import Callable

    from metrics_collector._core.pipeline_types import PushReply
    from metrics_collector._support.rate_limited_log import RateLimitedLog

SCAN_EVERY: Final = 10.0  # seconds between two looks for files
LOOK_EVERY: Final = 2.0  # seconds between two looks whether SQL has what was sent
AT_ONCE: Final = 16  # files that are open at a time


class Destination(Protocol):
    """Redis, as a replay needs it."""

    async def push(
        self, producer: str, batch: Batch, need: int, /, *, force: bool = False
    ) -> PushReply: ...
    async def look(self, producer: str, /) -> PushReply: ...
    async def given(self, producer: str, /) -> Intervals: ...


class Replay:
    """Sends what processes that have gone left in the spool.

    Args:
        folder: of the spool.
        destination: Redis.
        log: where trouble is logged.
        failed: told what went wrong, for `statistics()`.
    """

    def __init__(
        self,
        folder: str,
        destination: Destination,
        *,
        log: RateLimitedLog,
        failed: Callable[[str], None],
    ) -> None:
        self._folder = Path(folder)
        self._destination = destination
        self._log = log
        self._failed = failed
        # Invariant under the lock: once it is closed, no file is added that nobody would close. The thread that opens
        # files goes on when whoever waits for it is cancelled.
        self._door = threading.Lock()
        self._closed = False
        self._files: list[_Left] = []

    async def run(self) -> None:
        """Look for files and send what is in them, until cancelled."""
        scan_at = 0.0
        try:
            while True:
                if (now := asyncio.get_running_loop().time()) >= scan_at:
                    scan_at = now + SCAN_EVERY
                    await process.in_thread(self._open_free_files)
                await self._advance()
                await asyncio.sleep(
                    LOOK_EVERY
                )  # no backoff: it is a timer, and rarer than any retry
        finally:
            with self._door:
                self._closed = True
                for file in self._files:
                    file.close()

    async def _advance(self) -> None:
        for file in self._files.copy():
            try:
                if await file.advance(self._destination):
                    self._files.remove(file)
                    await process.in_thread(file.done)
            except StoreUnavailableError as error:  # for the others, too
                self._report(f"cannot replay what is in {self._folder}: {error}")
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are to be sent
                self._report(f"cannot replay the spool file {file.path}: {error!r}")

    def _open_free_files(self) -> None:
        try:
            self._remove_unfinished_files()
            paths = sorted(self._folder.glob(f"*{spool_file.SUFFIX}"))
        except OSError as error:
            self._report(f"cannot look into {self._folder}: {error}")
            return
        for path in paths:
            if self._closed or len(self._files) >= AT_ONCE:
                return
            try:
                descriptor = spool_file.open_locked(path)
                if descriptor is not None:
                    self._take(path, descriptor)
            except OSError as error:  # another user's, for instance
                self._report(f"cannot replay the spool file {path}: {error}")

    def _remove_unfinished_files(self) -> None:
        """Those whose process died before it had put a batch into them."""
        for path in self._folder.glob(f"*{spool_file.UNFINISHED}"):
            descriptor = spool_file.open_locked(path)
            if descriptor is not None:
                path.unlink(missing_ok=True)
                spool_file.close(descriptor)

    def _take(self, path: Path, descriptor: int) -> None:
        try:
            file = _Left(path, descriptor, self._report)
        except spool_file.NewerError:
            spool_file.close(descriptor)
            self._report(f"{path} was written by a newer release; upgrade, or let that replay it")
            return
        except BaseException:
            spool_file.close(descriptor)
            raise
        with self._door:
            if self._closed:
                file.close()
            else:
                self._files.append(file)

    def _report(self, what: str) -> None:
        self._failed(what)
        self._log.trouble("replay", "%s", what)


class _Left:
    """A file that a process has left, and how far it has come."""

    def __init__(self, path: Path, descriptor: int, report: Callable[[str], None]) -> None:
        self.path = path
        self._descriptor = descriptor
        self._producer = ""
        self._frames: list[spool_file.Frame] = []  # not yet known to be saved
        self._damaged = False
        try:
            self._producer, offset = spool_file.producer_in(descriptor)
            for frame in spool_file.frames(descriptor, offset):
                self._frames.append(frame)  # what stands before a damage is good
        except spool_file.DamagedError as error:
            self._damaged = True
            whole = sum(frame.last - frame.first + 1 for frame in self._frames)
            report(
                f"the spool file {path} is damaged ({error}); the {whole} entries before that are sent, and the file "
                f"is then kept as {self._set_aside.name}"
            )

    @property
    def _set_aside(self) -> Path:
        return self.path.with_suffix(spool_file.DAMAGED)

    async def advance(self, destination: Destination) -> bool:
        """Send what Redis does not have; whether SQL has all of it.

        Raises:
            StoreUnavailableError: Redis cannot be used.
            OSError: the file cannot be read.
        """
        reply = await destination.look(self._producer)
        saved = Intervals.parse(reply.saved)
        self._frames = [f for f in self._frames if not saved.covers(f.first, f.last)]
        # Redis itself says what it was given, in the script that takes it: so whatever state it falls back to, it is
        # given the rest.
        given = await destination.given(self._producer)
        for frame in self._frames:
            if frame.last <= reply.seen or given.covers(frame.first, frame.last):
                continue
            payload = await process.in_thread(partial(spool_file.payload, self._descriptor, frame))
            batch = Batch(frame.first, frame.last, content_of(payload))
            answer = await destination.push(self._producer, batch, 0, force=True)
            if answer.kind == "full":
                break
        return not self._frames

    def done(self) -> None:
        """Delete the file, or put it aside if it was damaged; blocks."""
        with suppress(OSError):
            if self._damaged:
                self.path.rename(self._set_aside)
            else:
                self.path.unlink()
        self.close()

    def close(self) -> None:
        """Leave the file to others."""
        spool_file.close(self._descriptor)
