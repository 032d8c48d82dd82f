"""The surface's functions, and `MetricsCollector`, over the one collector."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from metrics_collector._errors import ConfigurationError
from metrics_collector._reading import asking
from metrics_collector._recording import registry
from metrics_collector._runtime.collector import collector

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta
    from types import TracebackType
    from typing import Literal, Self

    from metrics_collector._core.models import FunctionMetrics, HistoryPoint, Statistics
    from metrics_collector._reading.query import Query
    from metrics_collector._runtime.collector import Run
    from metrics_collector._support.settings import Settings


class MetricsCollector:
    """A run of the process's one collector.

    ```python
    async with MetricsCollector():
        ...  # a service's life; a framework's lifespan is the place for it
    ```

    Entries are sent by a daemon thread, which entering starts, as the first record does without any run. Where Redis
    cannot be reached, entries wait, since a service starts without it too. Leaving waits until all is sent, for at most
    `METRICS_EXIT_TIMEOUT` seconds, while the loop goes on. Runs may be nested, and go on on several loops: the last one
    that is left waits.

    Args:
        settings: instead of those of the environment and `.env`.

    Raises:
        ConfigurationError: (on entering) a setting is wrong, or another run with other settings is going on.
        IncompatibleStoreError: (on entering) Redis is older than 6.2.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._entered = False
        self._run: Run | None = None

    async def __aenter__(self) -> Self:
        if self._entered:
            raise ConfigurationError(
                "this MetricsCollector is already running; make a new one for each `async with`"
            )
        self._entered = True
        try:
            self._run = await collector.enter(self._settings)
        except BaseException:
            self._entered = False
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the run, as leaving `async with` does; does nothing if it is not running."""
        self._entered = False
        run, self._run = self._run, None
        if run is not None:
            await collector.leave(run)

    def __del__(self) -> None:
        if self._run is not None:
            warnings.warn(
                "a MetricsCollector was not closed; use `async with` or await `aclose()`",
                ResourceWarning,
                source=self,
                stacklevel=1,
            )
            collector.forget(self._run)


async def get_metrics(
    function: Callable[..., Any] | str,
    *,
    since: datetime | timedelta | str | None = None,
    until: datetime | timedelta | str | None = None,
) -> FunctionMetrics:
    """The figures of one function over all processes: live and of all time, or those between two moments.

    What this process has recorded before the call is included, unless Redis takes no more. A decorated function that
    was not called gives zeros. A window that is read while Redis cannot be used is what the database has, and is
    `partial`.

    Args:
        function: the decorated function, its full name, or an end of that at a dot which matches one function only.
        since, until: an aware datetime, a timedelta back from now, or text such as `"15m"`, `"24h"`, `"7d"`. Windows go
            by whole minutes and need the database file.

    Raises:
        UnknownFunctionError: no function is known by that name.
        AmbiguousNameError: the end of a name matches several.
        ConfigurationError: a time cannot be understood, or a setting is wrong.
        StoreUnavailableError: Redis, or for a window the database, cannot be used. For a window Redis is needed only
            where the database does not know the name.
    """
    begin, end = _span(since, until)

    async def read(query: Query) -> FunctionMetrics:
        name = (
            await query.resolve(function)
            if isinstance(function, str)
            else registry.name_of(function)
        )
        return await query.function(name, begin, end)

    return await asking.read(read, live=begin is None and end is None)


async def list_metrics(
    *,
    since: datetime | timedelta | str | None = None,
    until: datetime | timedelta | str | None = None,
) -> list[FunctionMetrics]:
    """The figures of every function that was called, by name; times and errors as in `get_metrics`.

    Where a window has none, Redis is needed, too: an empty list could not be `partial`.
    """
    begin, end = _span(since, until)

    async def read(query: Query) -> list[FunctionMetrics]:
        found = await query.functions(begin, end)
        if not found:
            query.need_redis()
        return found

    return await asking.read(read, live=begin is None and end is None)


async def history(
    function: Callable[..., Any] | str | None,
    *,
    since: datetime | timedelta | str,
    until: datetime | timedelta | str | None = None,
    resolution: Literal["minute", "hour", "day"] = "minute",
) -> list[HistoryPoint]:
    """The figures of each minute, hour or day in which a function was called, in order of time.

    Args:
        function: as in `get_metrics`; `None`: every function.
        since, until: as in `get_metrics`; the minute, hour or day in which they lie counts in full.
        resolution: `"minute"`, `"hour"` or `"day"` (of UTC).

    Raises:
        As `list_metrics` for a window.
    """
    begin, end = _span(since, until)
    if begin is None:
        raise ConfigurationError("history needs `since`, such as '24h'")
    start = begin

    async def read(query: Query) -> list[HistoryPoint]:
        name = function
        if isinstance(name, str):
            name = await query.resolve(name)
        elif name is not None:
            name = registry.name_of(name)
        found = await query.history(name, start, end, resolution)
        if not found:
            query.need_redis()
        return found

    return await asking.read(read)


async def send() -> None:
    """Bring all that this process recorded before the call to Redis.

    Raises:
        StoreUnavailableError: that did not work within 5 s; the entries are kept and sent later.
        ConfigurationError: a setting is wrong.
        IncompatibleStoreError: Redis is older than 6.2.
    """
    await collector.call(lambda pipeline: pipeline.sender.send(asking.SEND_TIMEOUT))


async def flush() -> int:
    """Send, then save in this process all that Redis holds at the call, without a worker.

    A Redis that takes no more, because it or its backlog is full, has its entries saved first, which makes room.

    Returns:
        The number of entries newly saved. Those that another worker is saving at the moment may count there.

    Raises:
        StoreUnavailableError: Redis or the database cannot be used; the entries stay where they are.
        IncompatibleStoreError: Redis is older than 6.2, or the database is newer than this release or not ours.
        ConfigurationError: a setting is wrong.
    """
    return await collector.call(lambda pipeline: pipeline.flush(asking.SEND_TIMEOUT))


def statistics() -> Statistics:
    """What this process has done with its entries so far; cheap, and safe from any thread."""
    return collector.statistics()


def _span(
    since: datetime | timedelta | str | None, until: datetime | timedelta | str | None
) -> tuple[datetime | None, datetime | None]:
    from datetime import UTC, datetime

    from metrics_collector._core import windows

    return windows.span(since, until, datetime.now(UTC))
