"""Many things some at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")


def in_groups(things: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The things in their order, in groups of at most `size`."""
    for start in range(0, len(things), size):
        yield things[start : start + size]
