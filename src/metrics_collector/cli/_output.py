"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
import secrets
import signal
import stat
from contextlib import contextmanager, suppress
from errno import EEXIST
from pathlib import Path
from typing import TYPE_CHECKING, Final

from metrics_collector._errors import ConfigurationError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import TextIO

_ENDED: Final = 128  # and the signal's number: what a shell says of a program that a signal ended


@contextmanager
def whole_file(name: str) -> Iterator[TextIO]:
    """A text file (UTF-8) to be written, which bears its name only once the block has ended well.

    Until then it is beside it under another name, and gone if the block fails or a signal ends it. A file that it takes
    the place of hands its permissions on. Devices and pipes are written as they are. (The atomic `open_file` of click
    puts half a file in place when the block fails.)

    Raises:
        ConfigurationError: there can be no such file.
        StoreUnavailableError: the disk has no room, or fails.
    """
    with _signals_raise():
        try:
            path = _behind_links(Path(name))
            old = _mode(path)
            written = path
            if old is None or stat.S_ISREG(old):
                # Not made of the name: that may be as long as a name can be.
                written = path.with_name(f".{secrets.token_hex(8)}.part")
                if old is not None:  # nobody reads in it what they could not before
                    written.touch(0o600, exist_ok=False)
            file = written.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        except (OSError, RuntimeError) as error:  # the latter: a loop of links
            why = error.strerror if isinstance(error, OSError) else "its links lead nowhere"
            raise ConfigurationError(f"{name!r} cannot be written: {why}") from error
        try:
            with file:
                yield file
            if written is not path:
                if old is not None:
                    written.chmod(stat.S_IMODE(old))
                written.replace(path)
        except BaseException as error:
            if written is not path:
                with suppress(OSError):
                    written.unlink()
            if isinstance(error, BrokenPipeError) or not isinstance(error, OSError):
                raise
            raise StoreUnavailableError(f"{name!r} cannot be written: {error.strerror}") from error


@contextmanager
def new_file(name: str) -> Iterator[Path]:
    """An empty file to be written, by its absolute path; as `whole_file`, but never in the place of another one.

    Raises:
        ConfigurationError: there is one of that name, or there can be none.
        StoreUnavailableError: the disk fails.
    """
    with _signals_raise():
        path = Path(name).absolute()
        written = path.with_name(f".{secrets.token_hex(8)}.part")
        try:
            _must_be_free(path)
            written.touch(0o600, exist_ok=False)
        except OSError as error:
            raise ConfigurationError(f"{name!r} cannot be written: {error.strerror}") from error
        try:
            yield written
            _must_be_free(path)
            written.rename(path)
        except OSError as error:
            raise StoreUnavailableError(f"{name!r} cannot be written: {error.strerror}") from error
        finally:
            written.unlink(missing_ok=True)


def _must_be_free(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(EEXIST, os.strerror(EEXIST))


def _behind_links(path: Path) -> Path:
    """What is to be written: links stay what they are."""
    path = path.resolve()
    if path.is_symlink():  # from Python 3.13 on a loop of links is no error
        raise RuntimeError("a loop of links")
    return path


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:  # `exists` hides other errors, from Python 3.14 on all of them
        return None


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let the signals that end a program raise SystemExit, so that it can tidy up; those that it ignores stay so."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(_ENDED + number)

    ending = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in ending:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ending:
            signal.signal(number, signal.SIG_DFL)
