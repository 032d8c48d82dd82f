"""`demo`: a pretend order service, measured for some seconds, and what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

from metrics_collector import _api
from metrics_collector._core.units import count, counted
from metrics_collector._errors import ConfigurationError, StoreUnavailableError
from metrics_collector._runtime import assembly
from metrics_collector._support.environment import variables
from metrics_collector._support.settings import Settings, mask_url
from metrics_collector.cli import _demo_database, _figures, _health, _next_steps, _shop
from metrics_collector.cli._choice import rank
from metrics_collector.cli._console import console
from metrics_collector.cli._live import LiveView

if TYPE_CHECKING:
    from metrics_collector._core.models import FunctionMetrics
    from metrics_collector._storage.base import Store

_FRAME: Final = 0.1  # seconds between two looks at the counts
_FIGURES_EVERY: Final = 0.5  # seconds between two readings of the figures
_WORKER_TIME: Final = 3.0  # seconds that a worker has to save something; news of it come every two


def run(seconds: float) -> None:
    """Run the command."""
    settings = _settings()
    database = assembly.database(settings)
    if assembly.is_embedded(settings):
        _demo_database.renew(database)
    asyncio.run(_run(seconds, settings, database))


def _settings() -> Settings:
    named = variables(("METRICS_REDIS_URL", "REDIS_URL"))
    settings = Settings() if named else Settings(redis_url="memory://")
    if not settings.enabled:
        raise ConfigurationError(
            "METRICS_ENABLED is false, so nothing would be measured; set it to true for the demo"
        )
    if not assembly.is_embedded(settings):
        return settings
    try:
        assembly.embedded_server()
    except ConfigurationError as error:
        raise ConfigurationError(
            "no Redis is named, and one inside the process needs an extra: "
            "pip install 'metrics-collector[embedded]', or name a Redis in REDIS_URL"
        ) from error
    # Its own, whatever DATABASE_NAME and METRICS_DATABASE_URL say: that may be where a real service saves.
    return Settings(
        redis_url="memory://", database_name=str(_demo_database.PATH), database_url=None
    )


async def _run(seconds: float, settings: Settings, database: Store) -> None:
    embedded = assembly.is_embedded(settings)
    if not embedded:  # what would fail at the end fails better now
        async with assembly.redis_for_a_while(settings) as redis:
            await redis.check_server()
    where = "inside this process" if embedded else f"through {mask_url(settings.redis_url)}"
    _say(f"A pretend order service, measured for {seconds:g} s {where}.")
    async with _api.MetricsCollector(settings):
        before = await _figures_so_far()
        await _trade(seconds, sum(one.error_count for one in before))
        figures = await _figures_so_far()
        console.print(_figures.functions(figures, console.width), "", sep="\n")
        if failures := _figures.failures(figures, console.width):
            console.print(failures, "", sep="\n")
        if before:
            _say("Earlier demos on this Redis are in these figures, too.")
        await (_tell_saved() if embedded else _tell_worker(settings))
    # Never broken, so that it can be copied.
    console.print(f"  {database.label}", "", sep="\n", soft_wrap=True)
    _next_steps.tell(settings.database_name, database.examples, embedded=embedded)


async def _trade(seconds: float, errors_before: int) -> None:
    """Run the service, in a thread with a loop of its own: neither display nor Redis, if in this process, delay it."""
    closing = threading.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        closing.set()
        loop.remove_signal_handler(signal.SIGINT)  # a second Ctrl-C ends the program

    loop.add_signal_handler(signal.SIGINT, interrupted)
    loop.call_later(seconds, closing.set)
    try:
        trading = asyncio.create_task(asyncio.to_thread(_shop.trade, closing.is_set))
        if console.is_interactive:
            with LiveView(console, seconds, errors_before) as view:
                await _watch(trading, view)
        await trading
    finally:
        closing.set()
        loop.remove_signal_handler(signal.SIGINT)


async def _watch(trading: asyncio.Task[None], view: LiveView) -> None:
    begin, recorded = time.monotonic(), _api.statistics().recorded

    async def read() -> None:
        while True:
            with contextlib.suppress(StoreUnavailableError):  # the end will tell
                view.figures = await _figures_so_far()
            await asyncio.sleep(_FIGURES_EVERY)

    reading = asyncio.create_task(read())
    while not trading.done():
        view.show(time.monotonic() - begin, _api.statistics().recorded - recorded)
        await asyncio.wait({trading}, timeout=_FRAME)
    reading.cancel()


async def _figures_so_far() -> list[FunctionMetrics]:
    """Those of the demo's functions, of all processes, with the most total time first."""
    figures = [one for one in await _api.list_metrics() if one.func_name.startswith(_shop.PREFIX)]
    return sorted(figures, key=lambda one: rank(one, "total"))


async def _tell_saved() -> None:
    await _api.flush()
    saved = counted(_api.statistics().saved, "entry is", "entries are")
    _say(f"{saved} saved in this SQLite database:")


async def _tell_worker(settings: Settings) -> None:
    deadline = time.monotonic() + _WORKER_TIME
    while True:
        counts = _api.statistics()
        # Fewer than this send no flush request, and wait for the scheduler or the worker's own timer.
        if counts.recorded - counts.saved < settings.max_items or time.monotonic() > deadline:
            break
        await asyncio.sleep(_FRAME)
    entries = counted(counts.recorded, "entry", "entries")
    if counts.saved:
        _say(
            f"A worker is alive and has saved {count(counts.saved)} of {entries} so far; "
            f"it saves the rest within {settings.max_waiting_time} s (MAX_WAITING_TIME)."
        )
    else:
        _say(f"{entries} wait in Redis, and no worker has saved any yet.")
        _say((await _health.look("worker", settings)).line)
    setting = "METRICS_DATABASE_URL" if settings.database_url else "DATABASE_NAME"
    _say(f"Workers save to what {setting} names where they run; here that is:")


def _say(text: str) -> None:
    console.print(text, "", sep="\n")
