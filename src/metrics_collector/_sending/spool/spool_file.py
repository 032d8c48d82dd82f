"""A file of the spool: its format, and the lock that is held as long as its process lives.

A first line says what it is: `{"metrics_collector_spool": 1, "producer": "..."}`. Then come the batches: a line
with the first number, the last one, the length in bytes and a checksum, and then
the entries, lines of JSON as in Redis.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from metrics_collector._support import fork_hooks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIX: Final = ".spool"
UNFINISHED: Final = ".new"  # made, and not yet locked or without its first line
DAMAGED: Final = ".damaged"

_MARK: Final = "metrics_collector_spool"
_VERSION: Final = 1
_PRODUCER: Final = re.compile("[0-9a-f]{16}")
_LONGEST_LINE: Final = 200  # bytes
_LONGEST_BATCH: Final = 2**31

# The descriptors that a forked child has to close: a lock lasts as long as any copy of its descriptor is open.
_open: Final[set[int]] = set()


class DamagedError(OSError):
    """What is in the file is not what was written; batches behind the damage cannot be found."""


class NewerError(Exception):
    """The file is of a newer release."""


class Frame(NamedTuple):
    """A batch in a file: the numbers of its entries, and their position, length and checksum."""

    first: int
    last: int
    offset: int
    length: int
    checksum: int


def header(producer: str) -> bytes:
    """The first line of a producer's file."""
    return json.dumps({_MARK: _VERSION, "producer": producer}).encode() + b"\n"


def framed(first: int, last: int, payload: bytes, offset: int) -> tuple[bytes, Frame]:
    """The bytes of a batch to be written at `offset`, and the frame to read them with."""
    checksum = _checksum(first, last, payload)
    line = b"%d %d %d %d\n" % (first, last, len(payload), checksum)
    return line + payload + b"\n", Frame(first, last, offset + len(line), len(payload), checksum)


def producer_in(descriptor: int) -> tuple[str, int]:
    """The id of the producer that wrote the file, and the offset of the first batch.

    Raises:
        DamagedError: it does not begin as such a file does.
        NewerError: it is of a newer release.
    """
    line = _line(descriptor, 0)
    try:
        fields = json.loads(line)
        version, producer = fields[_MARK], fields["producer"]
    except (ValueError, KeyError, TypeError):
        raise DamagedError("it does not begin as a spool file does") from None
    if version != _VERSION:
        raise NewerError
    if not (isinstance(producer, str) and _PRODUCER.fullmatch(producer)):
        raise DamagedError("it does not name its producer")
    return producer, len(line) + 1


def frames(descriptor: int, offset: int) -> Iterator[Frame]:
    """The checked batches in a file from `offset` on.

    Raises:
        DamagedError: what follows is no batch.
    """
    size = os.fstat(descriptor).st_size
    while offset < size:
        line = _line(descriptor, offset)
        try:
            first, last, length, checksum = map(int, line.split(b" "))
        except ValueError:
            raise DamagedError(f"no batch begins at byte {offset}") from None
        frame = Frame(first, last, offset + len(line) + 1, length, checksum)
        if not (1 <= first <= last and 0 < length <= _LONGEST_BATCH):
            raise DamagedError(f"no batch begins at byte {offset}")
        payload(descriptor, frame)
        yield frame
        offset = frame.offset + length + 1


def payload(descriptor: int, frame: Frame) -> bytes:
    """The entries of a batch.

    Raises:
        DamagedError: they are not what was written.
    """
    data = os.pread(descriptor, frame.length + 1, frame.offset)
    found = data[: frame.length]
    if data[frame.length :] != b"\n" or frame.checksum != _checksum(frame.first, frame.last, found):
        raise DamagedError(f"the batch at byte {frame.offset} is not what was written")
    return found


def open_locked(path: Path, *, make: bool = False) -> int | None:
    """Open a file, or make one, and lock it.

    Returns:
        Its descriptor; `None` if another process, or this one, has the lock, or the file was deleted.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL | os.O_APPEND if make else 0)
    with fork_hooks.no_fork():
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileNotFoundError:
            if make:
                raise
            return None
        _open.add(descriptor)
    if _locked(descriptor):
        return descriptor
    close(descriptor)
    return None


def _locked(descriptor: int) -> bool:
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0  # else it has just been deleted


def close(descriptor: int) -> None:
    """Close a file, which releases its lock."""
    if descriptor in _open:
        _open.discard(descriptor)
        os.close(descriptor)


def _line(descriptor: int, offset: int) -> bytes:
    data = os.pread(descriptor, _LONGEST_LINE, offset)
    line, newline, _ = data.partition(b"\n")
    if not newline:
        raise DamagedError(f"the line at byte {offset} has no end")
    return line


def _checksum(first: int, last: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(b"%d %d" % (first, last)))


def _close_in_the_child() -> None:
    # Without unlocking them: the locks are the parent's.
    for descriptor in _open.copy():
        close(descriptor)


fork_hooks.register("spool", in_child=_close_in_the_child)
