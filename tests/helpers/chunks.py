"""Chunks of claims, without a loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metrics_collector._storage import chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metrics_collector._storage.chunks import Chunk


def chunk_of(token: str, length: int, elements: Sequence[bytes]) -> Chunk:
    """The head of a claim of that length, as a store takes it."""
    preparing = chunks.prepare(token, length, elements)
    while True:
        try:
            next(preparing)
        except StopIteration as end:
            chunk: Chunk = end.value
            return chunk
