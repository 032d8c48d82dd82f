"""Windows in steps: how fine what is drawn may be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from metrics_collector._core import windows
from metrics_collector._core.rollup_ranges import SECONDS, RollupRange, cover
from metrics_collector._errors import ConfigurationError
from metrics_collector._reading.reports.report_types import Window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metrics_collector._core.windows import Moment

_MINUTE: Final = SECONDS["minute"]
_HOUR: Final = SECONDS["hour"]
_DAY: Final = SECONDS["day"]
_STEPS: Final = (
    *(n * _MINUTE for n in (1, 2, 5, 10, 15, 20, 30)),
    *(n * _HOUR for n in (1, 2, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 7, 14, 30, 90, 365)),
)
# For all functions minutes are read of a few hours, and hours of some days: more rows would take too long.
_LONGEST: Final = {"minute": 4 * _HOUR, "hour": 8 * _DAY}


def window(
    since: Moment,
    until: Moment,
    purged: Mapping[str, int],
    *,
    steps: int,
    coarse: bool = False,
) -> Window:
    """The window that was asked for, in whole steps, each made of rollups that are kept.

    Args:
        steps: how many there are at most, or one more, as they are whole.
        coarse: it is to be read for all functions.
    """
    now = datetime.now(UTC)
    begin, end = windows.span(since, until, now)
    if begin is None:
        raise ConfigurationError("a window needs `since`, such as '24h'")
    start, stop = max(begin.timestamp(), 0.0), min(end or now, now).timestamp()
    if stop <= 0:
        raise ConfigurationError("the window ends before 1970, and so before all calls")
    if start >= stop:
        raise ConfigurationError(f"the window begins at {begin.isoformat()}, which is yet to come")
    finest = next(
        SECONDS[name]
        for name in SECONDS
        if name == "day"
        or (purged.get(name, 0) <= start and (not coarse or stop - start <= _LONGEST[name]))
    )
    step = next((s for s in _STEPS if s >= finest and (stop - start) / s <= steps), _STEPS[-1])
    first = int(start // step) * step
    starts = tuple(range(first, -int(-stop // step) * step, step))
    return Window(
        since=datetime.fromtimestamp(first, UTC),
        until=datetime.fromtimestamp(stop, UTC),
        step=step,
        starts=starts,
        before=datetime.fromtimestamp(max(0, first - len(starts) * step), UTC),
    )


def rollup_range(window: Window) -> RollupRange:
    """The rollups that it is made of, as coarse as its steps allow."""
    resolution = next(name for name in reversed(SECONDS) if window.step % SECONDS[name] == 0)
    return RollupRange(resolution, window.starts[0], window.starts[-1] + window.step)


def finest(rollup_range: RollupRange, purged: Mapping[str, int]) -> str:
    """The finest resolution that is kept of all of a time."""
    return next(
        name for name in SECONDS if name == "day" or purged.get(name, 0) <= rollup_range.start
    )


def ranges_before(window: Window, purged: Mapping[str, int]) -> list[RollupRange]:
    """The rollups that the period before is made of."""
    return cover(int(window.before.timestamp()), window.starts[0], purged)
