"""Programs as processes of their own: started, waited for, signalled, and gone with the test."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).parents[2]
# Absolute, since the processes start in the test's own folder.
_INHERITED = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
SEARCH_PATH = [str(ROOT), *(str(Path(folder).absolute()) for folder in _INHERITED)]
LIMIT = 60.0  # seconds that a condition may take before it counts as never
LOOK_EVERY = 0.02

# What `python -m taskiq` does on a machine without uvloop.
WITHOUT_UVLOOP = (
    "import sys; sys.modules['uvloop'] = None; from taskiq.__main__ import main; main()"
)


class Process:
    """A `program`, or this Python, with `arguments`, in a session and process group of its own.

    Its output, and that of its children, is collected in the file `output`. `close`, or the end of
    the `with` block, kills the whole group, also what outlived its leader.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        output: Path,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = (sys.executable,),
    ) -> None:
        self._output = output
        with output.open("ab") as sink:
            self._process = subprocess.Popen(
                [*program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(SEARCH_PATH),
                    "PYTHONUNBUFFERED": "1",
                    **(environment or {}),
                },
            )

    @property
    def pid(self) -> int:
        """Process id of the program, which is also that of its group."""
        return self._process.pid

    @property
    def output(self) -> str:
        """All that the group has written so far."""
        return self._output.read_text(errors="replace")

    def send(self, signum: signal.Signals) -> None:
        """Send a signal to the program alone, as a container does."""
        self._process.send_signal(signum)

    def send_to_group(self, signum: signal.Signals) -> None:
        """Send a signal to the program and all its children, as a terminal does."""
        os.killpg(self.pid, signum)

    def wait(self, limit: float = LIMIT) -> int:
        """Wait until the program has ended; returns its exit status, TimeoutError after `limit`."""
        try:
            return self._process.wait(limit)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"still running after {limit:g} s; {self._story()}") from None

    def terminate(self, limit: float = LIMIT) -> int:
        """Send SIGTERM and wait; returns the exit status, TimeoutError after `limit`."""
        self.send(signal.SIGTERM)
        return self.wait(limit)

    def until(self, condition: Callable[[], bool], limit: float = LIMIT) -> None:
        """Wait for a condition; TimeoutError after `limit`, RuntimeError if the program ends."""
        deadline = time.monotonic() + limit
        while not condition():
            if self._process.poll() is not None:
                raise RuntimeError(f"ended with {self._process.returncode}; {self._story()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not true within {limit:g} s; {self._story()}")
            time.sleep(LOOK_EVERY)

    def close(self) -> None:
        """Kill what is left of the group."""
        with suppress(ProcessLookupError):
            self.send_to_group(signal.SIGKILL)
        self._process.wait()

    def _story(self) -> str:
        return f"the output of {self._process.args!r}:\n{self.output}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def resident(pid: int) -> int:
    """Bytes of a process that are in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def taskiq(
    *arguments: str,
    output: Path,
    environment: Mapping[str, str] | None = None,
    uvloop: bool = True,
) -> Process:
    """Start `taskiq worker …` or `taskiq scheduler …`; `uvloop=False`: as if that were missing."""
    program = ["-m", "taskiq"] if uvloop else ["-c", WITHOUT_UVLOOP]
    return Process([*program, *arguments], output=output, environment=environment)


def worker(folder: Path, environment: Mapping[str, str], *arguments: str) -> Process:
    """Start our worker, whose output goes to that folder."""
    broker = "metrics_collector.tasks:broker"
    output = folder / "worker.log"
    return taskiq("worker", broker, *arguments, output=output, environment=environment)


def scheduler(folder: Path, environment: Mapping[str, str]) -> Process:
    """Start our scheduler, whose output goes to that folder."""
    program = ("scheduler", "metrics_collector.tasks:scheduler")
    return taskiq(*program, output=folder / "scheduler.log", environment=environment)


def busy_service(folder: Path, environment: Mapping[str, str], name: str = "producer") -> Process:
    """Start the service that makes a known number of calls, whose output goes to that folder."""
    program = ["-m", "tests.helpers.busy_service"]
    return Process(program, output=folder / f"{name}.log", environment=environment)
