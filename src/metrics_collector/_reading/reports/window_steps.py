"""Windows in steps: which time is counted, and how fine what is drawn may be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from metrics_collector._core import windows
from metrics_collector._core.rollup_ranges import SECONDS, RollupRange, ceil, cover, floor
from metrics_collector._errors import ConfigurationError
from metrics_collector._reading.reports.report_types import Comparison, Window

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
    beginning: int | None = None,
) -> Window:
    """The window that was asked for, moved to the whole minutes (hours, days) of what is kept, in steps.

    Args:
        steps: how many there are at most, or one more, as they begin with whole ones.
        coarse: it is to be read for all functions.
        beginning: where what is kept begins, for the period before; without there is none.
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
    last = None if end is None else ceil(end.timestamp(), "minute")
    covered = cover(floor(start, "minute"), last, purged)
    first, last = covered[0].start, covered[-1].end
    finest = next(
        SECONDS[name]
        for name in SECONDS
        if name == "day"
        or (purged.get(name, 0) <= first and (not coarse or stop - start <= _LONGEST[name]))
    )
    step = next((s for s in _STEPS if s >= finest and (stop - start) / s <= steps), _STEPS[-1])
    until_at = now.timestamp() if last is None else min(last, now.timestamp())
    return Window(
        since=datetime.fromtimestamp(first, UTC),
        until=datetime.fromtimestamp(until_at, UTC),
        end=last,
        step=step,
        starts=_starts(first, until_at, step),
        comparison=_comparison(first, until_at, purged, beginning),
    )


def _starts(first: int, last: float, step: int) -> tuple[int, ...]:
    """Where steps begin: at multiples of their length, but for the first one.

    Less than half a step says little by itself, and is a part of the one beside it.
    """
    inner = range(first // step * step + step, ceil(last, "minute"), step)
    return first, *(at for at in inner if at - first >= step / 2 and last - at >= step / 2)


def _comparison(
    first: int, last: float, purged: Mapping[str, int], beginning: int | None
) -> Comparison | None:
    """What is compared of a window: minutes that are over; hours or days of a long one, or where only those are kept.

    There is nothing to compare if what is kept begins later than the period before.
    """

    def before_by(unit: str) -> int:
        return floor(last, unit) - 2 * floor(last - first, unit)

    unit = next(
        name
        for name in SECONDS
        if name == "day"
        or (
            purged.get(name, 0) <= before_by(name)
            and last - first <= _LONGEST[name] + SECONDS[name]
        )
    )
    before, until, length = before_by(unit), floor(last, unit), floor(last - first, unit)
    if not length or beginning is None or before < max(beginning, purged.get("day", 0)):
        return None
    return Comparison(
        before=datetime.fromtimestamp(before, UTC),
        since=datetime.fromtimestamp(until - length, UTC),
        until=datetime.fromtimestamp(until, UTC),
        unit=unit,
    )


def resolution(window: Window) -> str:
    """Of the rollups that it is made of, as coarse as its steps allow; finer ones at its ends."""
    return next(name for name in reversed(SECONDS) if window.step % SECONDS[name] == 0)


def ranges(window: Window, purged: Mapping[str, int]) -> list[RollupRange]:
    """The rollups that it is made of, what is over apart from what goes on; none goes beyond a step."""
    within = cover(window.starts[0], window.end, purged, resolution(window))
    return _cut(within, floor(window.until.timestamp(), resolution(window)))


def ranges_compared(window: Window, purged: Mapping[str, int]) -> list[RollupRange]:
    """Those of the part that is compared, cut so that as many as can be are also ranges of the window."""
    if window.comparison is None:
        return []
    _, since, until, unit = window.comparison
    compared = cover(int(since.timestamp()), int(until.timestamp()), purged, unit)
    return _cut(compared, ceil(window.starts[0], unit))


def ranges_before(window: Window, purged: Mapping[str, int]) -> list[RollupRange]:
    """Those of the period before that."""
    if window.comparison is None:
        return []
    before, since, *_ = window.comparison
    return cover(int(before.timestamp()), int(since.timestamp()), purged)


def _cut(ranges: list[RollupRange], at: int) -> list[RollupRange]:
    """The same ranges, of which none goes beyond a moment at which rollups of them begin."""
    return [
        piece
        for one in ranges
        for piece in (
            (one._replace(end=at), one._replace(start=at))
            if one.start < at and (one.end is None or at < one.end)
            else (one,)
        )
    ]
