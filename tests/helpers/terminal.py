"""A command in a real pseudo-terminal, and what a person would see on its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import pyte

from tests.helpers.commands import LIMIT, PROGRAM

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping, Sequence

# Makes the terminal that it is given the one that sends Ctrl-C to it.
IN_CONTROL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class _Screen(pyte.Screen):
    """An emulator that knows the one thing more that our programs need: a screen aside, which leaves no trace."""

    aside = False

    def set_mode(self, *modes: int, **options: Any) -> None:
        super().set_mode(*modes, **options)
        self._turn(modes, options, aside=True)

    def reset_mode(self, *modes: int, **options: Any) -> None:
        super().reset_mode(*modes, **options)
        self._turn(modes, options, aside=False)

    def _turn(self, modes: tuple[int, ...], options: dict[str, Any], *, aside: bool) -> None:
        if options.get("private") and 1049 in modes:
            self.aside = aside
            self.erase_in_display(2)
            self.cursor_position()

    def report_device_status(self, *modes: int, **options: Any) -> None:
        """Answers nobody: the program gets keys only."""


class Terminal:
    """A command in a terminal of its own, as large as asked for; ours, or another `program`.

    Attributes:
        shown: all that was written to it.
    """

    def __init__(
        self,
        *arguments: str,
        columns: int,
        lines: int = 40,
        program: Sequence[str] = PROGRAM,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.shown = ""
        self._bytes = b""
        self._screen = _Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        self._resize(columns, lines)
        self._modes = termios.tcgetattr(self._master)
        self._process = subprocess.Popen(
            [sys.executable, "-c", IN_CONTROL, *program, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=os.environ | {"TERM": "xterm-256color"} | dict(environment or {}),
        )
        self._slave = slave  # kept open, so that its modes can be asked for at the end

    @property
    def screen(self) -> list[str]:
        """The lines that are on the screen, without blanks at their ends."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def aside(self) -> bool:
        """Whether the program has a screen of its own, and what was there before will be back."""
        return self._screen.aside

    @property
    def cursor_hidden(self) -> bool:
        """Whether the cursor cannot be seen."""
        return bool(self._screen.cursor.hidden)

    def as_it_was(self) -> bool:
        """Whether the terminal has the modes again that it began with."""
        return termios.tcgetattr(self._master) == self._modes

    def read_until(self, text: str) -> None:
        """Read until a text was written."""
        self.until(lambda: text in self.shown, repr(text))

    def see(self, *texts: str) -> None:
        """Read until all these texts are on the screen at once."""
        self.until(lambda: all(text in "\n".join(self.screen) for text in texts), repr(texts))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Read until something is so; AssertionError if it is not in time, or the command has ended before."""
        deadline = time.monotonic() + LIMIT
        while not condition():
            ended = self._process.poll() is not None
            left = deadline - time.monotonic()
            picture = "\n".join(self.screen)
            assert left > 0, f"{what} did not come; the screen is\n{picture}"
            if not self._read(min(left, 0.1)) and ended:
                assert condition(), f"{what} did not come before the end; the screen is\n{picture}"

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Make the terminal larger or smaller, as a person does with the mouse."""
        self._screen.resize(lines, columns)
        self._resize(columns, lines)

    def send(self, number: signal.Signals) -> None:
        """Send the command a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Read what is left; returns the exit status."""
        self.until(lambda: self._process.poll() is not None, "the end")
        while self._read(0):
            pass
        return self._process.wait()

    def _resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self, limit: float) -> bool:
        """Read what there is, waiting some seconds for it; whether there was anything."""
        if not select.select([self._master], [], [], limit)[0]:
            return False
        chunk = os.read(self._master, 65536)
        self._bytes += chunk
        self._stream.feed(chunk)
        self.shown = self._bytes.decode(errors="replace")
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)
        with suppress(OSError):
            os.close(self._slave)
