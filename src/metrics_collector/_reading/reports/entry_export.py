"""Entries as SQL has them, one after the other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core import windows
from metrics_collector._reading import asking
from metrics_collector._reading.reports.report_types import StoredEntry
from metrics_collector._storage.sqlite import report_queries as ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from metrics_collector._core.windows import Moment
    from metrics_collector._reading.query import Query

_PAGE: Final = 5000  # entries in one read


async def entry_count(
    name: str | None = None, *, since: Moment = None, until: Moment = None
) -> int:
    """How many entries `entries` would give now. Arguments and errors as there."""

    async def read(query: Query) -> int:
        where = await _where(query, name, since, until)
        async with query.saved() as database:
            if database is None:
                return 0
            return await database.run(ask.entry_count(where))

    return await asking.read(read)


async def entries(
    name: str | None = None, *, since: Moment = None, until: Moment = None
) -> AsyncIterator[list[StoredEntry]]:
    """The saved entries, in lists of some thousand, in the order in which they were saved.

    Each list is a read of its own, so that a long export holds up neither worker nor checkpoints; what is saved after
    the first one is left out.

    Args:
        name: of one function, as in `function`; `None`: of all.
        since, until: as `list_metrics` takes them, and to the very moment; `None`: no bound.

    Raises:
        As `overview`.
    """
    where = await asking.read(lambda query: _where(query, name, since, until))
    after = 0
    last: int | None = None

    async def read(query: Query) -> list[tuple[Any, ...]]:
        nonlocal last
        async with query.saved() as database:
            if database is None:
                return []
            if last is None:
                last = await database.run(ask.last_rowid())
            return await database.run(ask.entries(after, last, where, _PAGE))

    while rows := await asking.read(read):
        after = rows[-1][0]
        yield [StoredEntry(*row[1:]) for row in rows]


async def _where(query: Query, name: str | None, since: Moment, until: Moment) -> ask.Where:
    begin, end = windows.span(since, until, datetime.now(UTC))
    return (
        None if name is None else await query.resolve(name),
        None if begin is None else begin.timestamp(),
        None if end is None else end.timestamp(),
    )
