"""The processes whose heartbeats are in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

STARTED_BY: Final[Mapping[str, str]] = {
    "worker": "taskiq worker metrics_collector.tasks:broker",
    "scheduler": "taskiq scheduler metrics_collector.tasks:scheduler",
}
