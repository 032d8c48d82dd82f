"""The command line, `metrics-collector`.

`health` is part of the plain install and quick to start, since containers run it every few seconds. All other commands
are typer's, in `_app`, and come with the extra `cli`.

Exit status: 0, 1 if something cannot be done now or a check failed, 2 for wrong input and wrong settings.
"""

from __future__ import annotations

import errno
import os
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Final

from metrics_collector._errors import (
    AmbiguousNameError,
    ConfigurationError,
    MetricsCollectorError,
    UnknownFunctionError,
)
from metrics_collector.cli._text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_INTERRUPTED: Final = 130  # as a shell says of a program that Ctrl-C ended
# What a file says that is full, broken or closed; of other files than standard output the commands tell it themselves.
_WRITE_FAILS: Final = frozenset({errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})
_EXTRA: Final = "pip install 'metrics-collector[cli]'"
_PLAIN_HELP: Final = f"""\
Usage: metrics-collector COMMAND [ARGUMENTS]...

How often functions run, how long they take and how they fail.

Options:
  --version  Show the version and exit.
  --help     Show this message and exit.

Commands:
  health  Check whether this host's worker or scheduler is alive.

The other commands, such as `demo`, come with an extra:
{_EXTRA}
"""


def main() -> None:
    """Run the command that the program's arguments name, and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit status."""
    try:
        return _written(list(arguments))
    except (ConfigurationError, UnknownFunctionError, AmbiguousNameError) as error:
        _complain(error)
        return 2
    except MetricsCollectorError as error:
        _complain(error)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _written(arguments: list[str]) -> int:
    """Run a command, and write its output to the end."""
    if sys.stdout is None:  # as in `metrics-collector stats >&-`
        raise MetricsCollectorError("standard output cannot be written: it is closed")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every terminal can show a µ
    try:
        status = _dispatch(arguments)
        sys.stdout.flush()  # here, where a failure can be reported
    except BrokenPipeError:  # as in `metrics-collector demo | head`
        _discard_output()
        return 1
    except OSError as error:
        if error.errno not in _WRITE_FAILS or error.filename is not None:
            raise
        _discard_output()
        raise MetricsCollectorError(
            f"standard output cannot be written: {error.strerror}"
        ) from error
    return status


def _discard_output() -> None:
    # What is still to be written would raise again while the interpreter exits.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(arguments: list[str]) -> int:
    if arguments[:1] == ["health"]:
        from metrics_collector.cli import _health

        return _health.run(arguments[1:])
    try:
        from metrics_collector.cli import _app

        return _app.run(arguments or ["--help"])
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"plotille", "rich", "textual", "typer"}:
            raise
    return _plain(arguments)


def _plain(arguments: list[str]) -> int:
    """What there is without the extra."""
    if arguments[:1] == ["--version"]:
        from metrics_collector import __version__

        sys.stdout.write(f"metrics-collector {__version__}\n")
    elif not arguments or arguments[0] == "--help":
        sys.stdout.write(_PLAIN_HELP)
    else:
        raise ConfigurationError(
            f"without an extra there is only `health`; for the other commands: {_EXTRA}"
        )
    return 0


def _complain(error: Exception) -> None:
    for line in str(error).splitlines():
        sys.stderr.write(f"metrics-collector: {printable(line)}\n")
