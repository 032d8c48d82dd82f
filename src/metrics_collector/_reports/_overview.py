"""All functions in a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metrics_collector._reports._shapes import Overview
    from metrics_collector._timespan import Moment


async def overview(since: Moment, until: Moment = None) -> Overview:
    """All functions in a window.

    Args:
        since, until: as `list_metrics` takes them; `None` as `until` is now.

    Raises:
        ConfigurationError: a time cannot be understood, or a setting is wrong.
        StoreUnavailableError: Redis or the database cannot be read, or the latter is on another machine.
        IncompatibleStoreError: one of them is too old or too new.
    """
    raise NotImplementedError
