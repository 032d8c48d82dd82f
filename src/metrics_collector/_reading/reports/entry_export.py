"""Entries as SQL has them, one after the other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from metrics_collector._core import windows
from metrics_collector._reading import asking
from metrics_collector._storage.base import EntryFilter, EntryPage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from metrics_collector._core.windows import Moment
    from metrics_collector._reading.query import Query
    from metrics_collector._storage.base import StoredEntry

_PAGE: Final = 5000  # entries in one read


async def entry_count(
    name: str | None = None, *, since: Moment = None, until: Moment = None
) -> int:
    """How many entries `entries` would give now."""

    async def read(query: Query) -> int:
        which = await _which(query, name, since, until)
        async with query.saved() as reader:
            return 0 if reader is None else await reader.entry_count(which)

    return await asking.read(read)


async def entries(
    name: str | None = None, *, since: Moment = None, until: Moment = None
) -> AsyncIterator[list[StoredEntry]]:
    """The saved entries, in lists of some thousand, in the order in which they were saved.

    Each list is a read of its own, so that a long export holds up neither worker nor checkpoints; what is saved after
    the first one is left out.

    Args:
        since: the moment from which on; `None`: no limit.
        until: the moment before which; `None`: no limit.
    """
    which = await asking.read(lambda query: _which(query, name, since, until))
    cursor: str | None = None

    async def read(query: Query) -> EntryPage:
        async with query.saved() as reader:
            if reader is None:
                return EntryPage([], None)
            return await reader.entries(which, cursor, _PAGE)

    while True:
        some, cursor = await asking.read(read)
        if some:
            yield some
        if cursor is None:
            return


async def _which(query: Query, name: str | None, since: Moment, until: Moment) -> EntryFilter:
    begin, end = windows.span(since, until, datetime.now(UTC))
    return EntryFilter(
        None if name is None else await query.resolve(name),
        None if begin is None else begin.timestamp(),
        None if end is None else end.timestamp(),
    )
