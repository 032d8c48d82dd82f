"""Calls that can be told apart: by a function's name and an error's type, and both are in each entry."""

from __future__ import annotations

import json
from collections import Counter
from typing import NamedTuple

FUNCTIONS = 60
KINDS = 100  # of errors; kind 0 is none


class Plan(NamedTuple):
    """What a producer is to do."""

    name: str  # with which all its functions' names begin
    calls: int  # 0: until SIGTERM
    rate: int  # calls a second
    progress: str  # file for `Progress`

    def dumps(self) -> str:
        return json.dumps(self._asdict())


def function_of(name: str, index: int) -> str:
    """The name of one of a producer's functions."""
    return f"{name}.f{index}"


def error_of(kind: int) -> str | None:
    """The name of an error's type; `None` for the kind that is no error."""
    return f"Error{kind}" if kind else None


def split(number: int) -> tuple[int, int]:
    """Function and kind of a producer's call; the first 6,000 calls have each pair once."""
    return number % FUNCTIONS, number // FUNCTIONS % KINDS


def expected(name: str, calls: int) -> Counter[tuple[str, str | None]]:
    """How often SQL must have each pair of function and error type after so many calls of a producer."""
    times, rest = divmod(calls, FUNCTIONS * KINDS)
    counts: Counter[tuple[str, str | None]] = Counter()
    for number in range(FUNCTIONS * KINDS):
        index, kind = split(number)
        if count := times + (number < rest):
            counts[function_of(name, index), error_of(kind)] = count
    return counts
