"""Entries as SQL has them, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from metrics_collector._reports._shapes import StoredEntry
    from metrics_collector._timespan import Moment


async def entry_count(
    name: str | None = None, *, since: Moment = None, until: Moment = None
) -> int:
    """How many entries `entries` would give now."""
    raise NotImplementedError


def entries(
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
    raise NotImplementedError
