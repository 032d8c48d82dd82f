"""A batch: what a producer sends to Redis in one go, in memory or on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from metrics_collector._core.encoding import tally_of

if TYPE_CHECKING:
    from metrics_collector._core.totals import Tally


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
        content: `None` while it is on disk only.
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
        "sent",
    )

    def __init__(self, first: int, last: int, content: Content, *, force: bool = False) -> None:
        self.first = first
        self.last = last
        self.content: Content | None = content
        self.disk_copy: DiskCopy | None = None
        self.sent = False
        self.force = force
        self.list_number = 0
        self.losses = 0

    def __len__(self) -> int:
        return self.last - self.first + 1
