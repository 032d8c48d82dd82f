"""Metrics of an asyncio service: how often each function runs, how long it takes, how it fails.

```python
from metrics_collector import metrics_collector

@metrics_collector
async def checkout(cart): ...
```

Entries go to Redis, live totals beside them, and Taskiq workers save every entry to SQLite exactly once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metrics_collector._api import (
    MetricsCollector,
    flush,
    get_metrics,
    history,
    list_metrics,
    send,
    statistics,
)
from metrics_collector._errors import (
    AmbiguousNameError,
    ConfigurationError,
    IncompatibleStoreError,
    MetricsCollectorError,
    StoreUnavailableError,
    UnknownFunctionError,
)
from metrics_collector._recording.decorator import metrics_collector
from metrics_collector._recording.measure import measure

if TYPE_CHECKING:
    from metrics_collector._core.models import FunctionMetrics, HistoryPoint, Statistics
    from metrics_collector._support.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "AmbiguousNameError",
    "ConfigurationError",
    "FunctionMetrics",
    "HistoryPoint",
    "IncompatibleStoreError",
    "MetricsCollector",
    "MetricsCollectorError",
    "Settings",
    "Statistics",
    "StoreUnavailableError",
    "UnknownFunctionError",
    "flush",
    "get_metrics",
    "history",
    "list_metrics",
    "measure",
    "metrics_collector",
    "send",
    "statistics",
]


# What is not needed to decorate and to record, and takes longer to load than all the rest: pydantic and dataclasses.
_LATER = {
    "FunctionMetrics": "_core.models",
    "HistoryPoint": "_core.models",
    "Settings": "_support.settings",
    "Statistics": "_core.models",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
