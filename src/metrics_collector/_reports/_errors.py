"""Errors by type and function."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metrics_collector._reports._shapes import ErrorRow, Window
    from metrics_collector._timespan import Moment


async def errors(since: Moment, until: Moment = None) -> tuple[Window, tuple[ErrorRow, ...]]:
    """Every type of error of every function in a window, the one seen last first.

    Args:
        since, until: as `list_metrics` takes them; `None` as `until` is now.

    Raises:
        As `overview`.
    """
    raise NotImplementedError
