"""Files that are there as a whole or not at all."""

from __future__ import annotations

import secrets
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from metrics_collector._errors import ConfigurationError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO


@contextmanager
def whole_file(name: str) -> Iterator[TextIO]:
    """A text file (UTF-8) to be written, which bears its name only once the block has ended well.

    Until then it is beside it under another name, and gone if the block fails. Devices and pipes are written as they
    are.

    Raises:
        ConfigurationError: there can be no such file.
        StoreUnavailableError: the disk has no room, or fails.
    """
    path = Path(name).resolve()  # through links: they stay what they are
    aside = path
    if path.is_file() or not path.exists():
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        file = aside.open("w", encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise ConfigurationError(f"{name!r} cannot be written: {error.strerror}") from error
    try:
        with file:
            yield file
        if aside is not path:
            aside.replace(path)
    except BaseException as error:
        if aside is not path:
            with suppress(OSError):
                aside.unlink()
        if isinstance(error, BrokenPipeError) or not isinstance(error, OSError):
            raise
        raise StoreUnavailableError(f"{name!r} cannot be written: {error.strerror}") from error
