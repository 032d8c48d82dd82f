"""One function in a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metrics_collector._reports._shapes import FunctionReport
    from metrics_collector._timespan import Moment


async def function(name: str, since: Moment, until: Moment = None) -> FunctionReport:
    """One function in a window.

    Args:
        name: its full name, or an end of that at a dot which fits one function only.
        since, until: as `list_metrics` takes them; `None` as `until` is now.

    Raises:
        UnknownFunctionError, AmbiguousNameError: as `get_metrics`.
        Others: as `overview`.
    """
    raise NotImplementedError
