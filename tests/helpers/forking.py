"""Forks in tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def fork(in_child: Callable[[], bool]) -> None:
    """Do something in a child, in which other tests and their fixtures are none of our business; it must be true."""
    child = os.fork()
    if not child:
        status = 1
        try:
            status = 0 if in_child() else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
