"""How much work some code does, in counts instead of times: they are the same on any machine, however busy it is."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


class Work(NamedTuple):
    """What was done.

    Attributes:
        python: Python functions that were entered, or entered again.
        c: C functions that were called.
        lines: instructions of the interpreter, by the line of code that they belong to.
    """

    python: int
    c: int
    lines: Counter[str]

    @property
    def instructions(self) -> int:
        """Of all lines."""
        return self.lines.total()

    def __sub__(self, other: Work) -> Work:
        lines = Counter(self.lines)
        lines.subtract(other.lines)
        return Work(self.python - other.python, self.c - other.c, lines)

    def table(self, each: int = 1, most: int = 15) -> str:
        """The lines that need most, for the message of a test: where to look for what changed."""
        shown = [f"{count / each:10.2f}  {line}" for line, count in self.lines.most_common(most)]
        return "\n".join(["instructions, by line:", *shown])


@contextmanager
def undisturbed() -> Iterator[None]:
    """No garbage of others is collected meanwhile, and no event loop looks at generators."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.set_asyncgen_hooks(*hooks)


def work_of(action: Callable[[], object]) -> Work:
    """What the action does, once; call it before, where only the first call does something."""
    return _counted(action) - _counted(_nothing)


def _nothing() -> None: ...


def _counted(action: Callable[[], object]) -> Work:
    python = c = 0
    lines: Counter[str] = Counter()

    def profile(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal python, c
        python += event == "call"
        c += event == "c_call"

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode":
            lines[f"{frame.f_code.co_qualname}:{frame.f_lineno}"] += 1
        return trace

    # Those of coverage and debuggers come back afterwards.
    profiling, tracing = sys.getprofile(), sys.gettrace()
    # Before `settrace`, or Python 3.12 passes over the first frame.
    sys._getframe().f_trace_opcodes = True
    sys.setprofile(profile)
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(tracing)
        sys.setprofile(profiling)
    return Work(python, c, lines)


def run(coroutine: Any) -> int:
    """Drive a coroutine that waits for nothing but its turn, without a loop's own work; how many turns it took."""
    turns = 1
    try:
        while True:
            assert coroutine.send(None) is None
            turns += 1
    except StopIteration:
        return turns
