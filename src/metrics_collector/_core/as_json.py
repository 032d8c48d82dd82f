"""Records as JSON: fields bear the names of attributes, and moments are ISO 8601 in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from metrics_collector._core.figures import FIGURES

if TYPE_CHECKING:
    from metrics_collector._core.models import FunctionMetrics


def as_json(value: Any) -> Any:
    """What JSON has of a value.

    Args:
        value: a record, which may say by itself what it is (`as_dict`), or what stands in one: a mapping, a list or
            tuple, an aware datetime, and what JSON knows.
    """
    if hasattr(value, "as_dict"):
        return value.as_dict()
    if is_dataclass(value):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Mapping):
        return {key: as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    return value


def figures_as_json(metrics: FunctionMetrics) -> dict[str, Any]:
    """All figures of a function under their names."""
    return {figure.name: as_json(figure.of(metrics)) for figure in FIGURES}


def iso(moment: datetime | float) -> str:
    """A moment in ISO 8601, `2026-11-29T11:42:18.123456Z`; `datetime.fromisoformat` reads it.

    Args:
        moment: an aware datetime, or UTC epoch seconds.
    """
    at = moment if isinstance(moment, datetime) else datetime.fromtimestamp(moment, UTC)
    return at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
