"""What figures of a window lack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from metrics_collector._core.units import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What figures of a window lack of the entries that are not saved yet."""

    # Entries in Redis, too many to be read now; `None`: it is not known how many there are.
    left_out: int | None
    redis_error: str | None  # why Redis cannot be used, or takes no more entries; or `None`

    @property
    def partial(self) -> bool:
        """Whether they lack anything, or may."""
        return self.left_out != 0

    @property
    def line(self) -> str:
        """What that is, with the remedy; empty if nothing."""
        if self.redis_error is not None:
            return (
                "partial figures: entries that are not saved yet are missing; check Redis and REDIS_URL. "
                f"{self.redis_error}"
            )
        if not self.left_out:
            return ""
        entries = counted(self.left_out, "waiting entry is", "waiting entries are")
        return f"partial figures: {entries} missing, too many to be read; check that the worker keeps up"

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it, beside the figures."""
        return {
            "partial": self.partial,
            "left_out": self.left_out,
            "redis_error": self.redis_error,
        }
