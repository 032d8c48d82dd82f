"""How entries travel at the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metrics_collector._reports._shapes import Pipeline


async def pipeline() -> Pipeline:
    """How entries travel at the moment. What cannot be reached is part of the report, not an error.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    raise NotImplementedError
