"""What the parts of the pipeline hand to one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from metrics_collector._core.totals import Totals


class PushReply(NamedTuple):
    """What Redis answered to a batch or a look.

    Attributes:
        kind: `ok`, `skip` (already there), `gap` (an earlier batch is missing), `full` or `look`.
        seen: the highest number that Redis has seen of this producer.
        saved: the numbers that SQL has, as text.
        request_flush: whether this producer is the one to send a flush request.
        bad: functions whose totals could not be counted, since their key holds something else.
        lists: the numbers of the lists of which Redis may have held something just before. What `metrics_list` holds
            from one claim to the next is a list; the last number is that of the one that a batch goes into.
    """

    kind: str
    seen: int
    saved: str
    request_flush: bool
    bad: int
    lists: range = range(1)


class Claim(NamedTuple):
    """A claim to save.

    Attributes:
        token: its name; "" when there is nothing to do.
        life: of Redis; another one means that it has lost its data.
        fresh: whether it was made just now, of all that `metrics_list` held.
    """

    token: str
    life: str
    fresh: bool


class FunctionState(NamedTuple):
    """What the acknowledgement of a chunk says of one function.

    Attributes:
        delta: d, the figures of all its numbered entries in the chunk; `None` without any.
        total: A, all that SQL has of it.
        no: the commit that last changed A.
        previous: that number before this commit, if all of d was newly saved and nothing else; else `None`.
    """

    delta: Totals | None
    total: Totals
    no: int
    previous: int | None


class Saved(NamedTuple):
    """What one transaction did.

    Attributes:
        db: the database's id.
        no: number of this commit.
        functions: of each function in the chunk, what Redis is to learn.
        producers: the numbers of each producer that SQL has, as text, for those who wait to forget them.
        saved, rejected: entries newly saved, and newly rejected as no entries.
    """

    db: str
    no: int
    functions: dict[str, FunctionState]
    producers: dict[str, str]
    saved: int
    rejected: int


class Acknowledged(NamedTuple):
    """What an acknowledgement did.

    Attributes:
        taken: whether the claim was as expected, so that the elements are off it.
        ahead: the functions of which Redis has seen a later commit than the acknowledged one, and that commit.
        share: of the bytes that one request may have, how many it takes; 1.0 for all.
    """

    taken: bool
    ahead: dict[str, int]
    share: float


class Numbered(NamedTuple):
    """SQL's totals of a function, and the commit that last changed them."""

    totals: Totals
    no: int


class Live(NamedTuple):
    """The live totals of a function; `whole`: SQL's part is in them."""

    totals: Totals
    whole: bool


class Waiting(NamedTuple):
    """An element that is not known to be saved.

    Attributes:
        raw: as it stands in Redis.
        token: of the claim that it is in; "" if it is in `metrics_list`.
        distance: from the end of the claim, 1 for the last element; in `metrics_list`, from its start.
    """

    raw: bytes
    token: str
    distance: int


def unnumbered(token: str) -> str:
    """What stands for the producer of those elements of a claim that bring no number of their own.

    Their number is the distance from the claim's end, which stays the same when another worker takes the claim over.
    """
    return f"claim:{token}"


class Rollup(NamedTuple):
    """The figures of one function in one minute, hour or day; `start` is UTC epoch seconds."""

    func_name: str
    start: int
    totals: Totals


class Purged(NamedTuple):
    """What a purge has deleted.

    Attributes:
        entries: rows of `metrics`.
        minutes, hours, days: rollups.
        rejected: rows of `rejected_entries`.
        freed_bytes: given back to the disk.
    """

    entries: int
    minutes: int
    hours: int
    days: int
    rejected: int
    freed_bytes: int
