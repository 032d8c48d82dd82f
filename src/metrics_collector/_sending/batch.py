"""A batch: what a producer sends to Redis in one go, in memory or on disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from metrics_collector._core.encoding import encode, tally_of
from metrics_collector._core.totals import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metrics_collector._core.columns import Columns

SLICE: Final = 200  # calls encoded between two pauses for other threads


class HasPayload(Protocol):
    """What the spool writes of a batch."""

    @property
    def payload(self) -> bytes:
        """The entries' JSON, joined by newlines."""


class Content(NamedTuple):
    """What Redis gets of a batch.

    Attributes:
        payload: the entries' JSON, joined by newlines.
        functions: the names of the functions in it.
        deltas: JSON, the fields of each of them and then their numbers, as the script of a push takes them.
    """

    payload: bytes
    functions: tuple[str, ...]
    deltas: bytes


def content(payload: bytes, tally: Tally) -> Content:
    """The content with this payload, whose figures are those of the tally."""
    return Content(payload, tuple(tally.totals()), tally.deltas())


def content_of(payload: bytes) -> Content:
    """The content with this payload: the figures come from the numbers in the JSON, so they are the same again."""
    return content(payload, tally_of(payload))


async def count(tally: Tally) -> None:
    """Count what the tally has noted, with a pause for other threads before each part."""
    uncounted = True
    while uncounted:
        await asyncio.sleep(0)
        uncounted = tally.count(2 * SLICE)  # which takes half as long


class MemoryCopy(NamedTuple):
    """A batch in memory, as columns: a sixth of what its content takes, which is the same each time it is made."""

    producer: str
    first: int
    slices: tuple[Columns, ...]

    def _encoded(self, tally: Tally | None = None) -> Iterator[bytes]:
        first = self.first
        for columns in self.slices:
            yield encode(columns, self.producer, first, tally)[0]
            first += columns.count

    @property
    def payload(self) -> bytes:
        """The entries' JSON, made in one go."""
        return b"\n".join(self._encoded())

    async def read(self) -> Content:
        """Make the content, with pauses for other threads."""
        tally, texts = Tally(), []
        for text in self._encoded(tally):
            texts.append(text)
            await asyncio.sleep(0)
        await count(tally)
        return content(b"\n".join(texts), tally)


class DiskCopy(Protocol):
    """The copy of a batch on disk. Both methods block."""

    def read(self) -> Content:
        """Read it.

        Raises:
            OSError: it cannot be read, or is damaged.
        """

    def discard(self) -> None:
        """Note that it is not needed any more."""


class Batch:
    """A run of entries, `first` to `last`, whose bytes and deltas never change.

    Attributes:
        content: `None` while nobody needs it; it can be made of one of the copies.
        memory_copy: `None` if it is on disk, and not being sent from memory.
        disk_copy: `None` if it is not on disk.
        sent: whether Redis has acknowledged it, and has not lost it since.
        force: Redis is to take it whatever it has seen of the producer.
        list_number: of the list (`PushReply.lists`) that it was in, or one before.
        losses: how often Redis has lost it since it was seen.
    """

    __slots__ = (
        "content",
        "disk_copy",
        "first",
        "force",
        "last",
        "list_number",
        "losses",
        "memory_copy",
        "sent",
    )

    def __init__(
        self,
        first: int,
        last: int,
        content: Content,
        memory_copy: MemoryCopy | None = None,
        *,
        force: bool = False,
    ) -> None:
        self.first = first
        self.last = last
        self.content: Content | None = content
        self.memory_copy = memory_copy
        self.disk_copy: DiskCopy | None = None
        self.sent = False
        self.force = force
        self.list_number = 0
        self.losses = 0

    def __len__(self) -> int:
        return self.last - self.first + 1

    def shrink(self) -> None:
        """Keep one copy of it: nobody is sending it."""
        self.content = None
        if self.disk_copy is not None:
            self.memory_copy = None

    @property
    def in_memory(self) -> bool:
        """Whether its entries are in memory, in either form."""
        return self.content is not None or self.memory_copy is not None
