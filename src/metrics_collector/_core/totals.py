"""Totals: what is counted of one function over some set of entries.

One shape serves everywhere: the deltas of a batch, the live hash in Redis, SQL's rollups and totals. `counts` holds
whole numbers under the very field names of `app:metrics:{func_name}` (`call_count`, `error_count`, `cancelled_count`,
`outcome:{name}` for one that this release does not know, `error:{type}`, `h:{bucket}`), so merging over processes,
machines and time is addition.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from contextlib import suppress
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from metrics_collector._core import histogram
from metrics_collector._core.figures import CANCELLED, ERROR, STORED
from metrics_collector._support import fork_hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

CALLS: Final = "call_count"
COUNTS: Final = tuple(figure.field for figure in STORED if figure.counts)
"""Fields that are figures by themselves."""
OTHERS: Final = tuple(figure.field for figure in STORED if not figure.counts)
"""What is no count, as attributes of `Totals`."""
OUTCOME_PREFIX: Final = "outcome:"
ERROR_PREFIX: Final = "error:"
BUCKET_PREFIX: Final = "h:"
# What the fields of counts begin with.
_BEGINNINGS: Final = (BUCKET_PREFIX, ERROR_PREFIX, OUTCOME_PREFIX, *COUNTS)
_others_of: Final = attrgetter(*OTHERS)
_STAMP: Final = "as_of"  # the field of the hash in Redis that is there once SQL's part is in it
_NUMBERS: Final = {int, float}
_MOST_NAMES: Final = 4096  # of fields that are not decoded again
_CALLS_A_FUNCTION: Final = 20  # that are counted in the time that a function takes beside


class OtherOutcome(NamedTuple):
    """An outcome that this release does not know, and the name that its error is counted under, if it is one."""

    name: str
    error_type: str | None


Mark: TypeAlias = "str | OtherOutcome | None"
"""How a call ended: `None` for ok, "" for cancelled, the error type's name, or an outcome of another release."""


class Totals:
    """Counts, and the sum, extremes and last time that are no counts.

    The others are in the order of `OTHERS`.

    Attributes:
        counts: field name → whole number.
        execution_time: sum over all entries, seconds.
        min, max: seconds; `None` without entries.
        last_called_at: UTC epoch seconds; `None` without entries.
    """

    __slots__ = ("counts", "execution_time", "last_called_at", "max", "min")

    def __init__(
        self,
        counts: dict[str, int] | None = None,
        execution_time: float = 0.0,
        min: float | None = None,  # noqa: A002 - the figures' own names
        max: float | None = None,  # noqa: A002 - as above
        last_called_at: float | None = None,
    ) -> None:
        self.counts = {} if counts is None else counts
        self.execution_time = execution_time
        self.min = min
        self.max = max
        self.last_called_at = last_called_at

    def add(self, execution_time: float, created_at: float, mark: Mark) -> None:
        """Count one call."""
        counts = self.counts
        bucket = histogram.bucket(execution_time)  # first, as it refuses an invalid time
        counts[bucket] = counts.get(bucket, 0) + 1
        counts[CALLS] = counts.get(CALLS, 0) + 1
        for field in _fields(mark):
            counts[field] = counts.get(field, 0) + 1
        self.execution_time += execution_time
        if self.min is None or execution_time < self.min:
            self.min = execution_time
        if self.max is None or execution_time > self.max:
            self.max = execution_time
        if self.last_called_at is None or created_at > self.last_called_at:
            self.last_called_at = created_at

    def add_all(
        self,
        execution_times: Sequence[float],
        last_called_at: float,
        marks: Iterable[Mark],
        *,
        unit: float = 1.0,
    ) -> None:
        """As `add` for many calls, at least one, in a fraction of the time.

        Args:
            execution_times: seconds, or whole numbers of which a second has `unit`.
            last_called_at: the latest end, UTC epoch seconds.
            marks: of all but those that were ok.
        """
        counts = self.counts
        times = sorted(execution_times)
        buckets = histogram.counted(times, unit)
        seconds, least, most = sum(times) / unit, times[0] / unit, times[-1] / unit
        if counts:
            for bucket, by in buckets.items():
                counts[bucket] = counts.get(bucket, 0) + by
            self.execution_time += seconds
            self.min = _extreme(min, self.min, least)
            self.max = _extreme(max, self.max, most)
            self.last_called_at = _extreme(max, self.last_called_at, last_called_at)
        else:  # as of a batch, where each function is counted once
            self.counts = counts = buckets
            self.execution_time = seconds
            self.min, self.max, self.last_called_at = least, most, last_called_at
        counts[CALLS] = counts.get(CALLS, 0) + len(times)
        for mark in marks:
            for field in _fields(mark):
                counts[field] = counts.get(field, 0) + 1

    def merge(self, other: Totals) -> None:
        """Add the other's figures to these."""
        counts = self.counts
        if counts:
            for field, by in other.counts.items():
                counts[field] = counts.get(field, 0) + by
        else:  # a copy takes a tenth of the time
            counts.update(other.counts)
        self.execution_time += other.execution_time
        self.min = _extreme(min, self.min, other.min)
        self.max = _extreme(max, self.max, other.max)
        self.last_called_at = _extreme(max, self.last_called_at, other.last_called_at)

    def dumps(self) -> str:
        """The compact JSON in which scripts take totals; what is `None` is left out, as Lua has no such value."""
        others = {"min": self.min, "max": self.max, "last": self.last_called_at}
        known = {key: value for key, value in others.items() if value is not None}
        return _to_json()({"c": self.counts, "sum": self.execution_time, **known}).decode()

    @classmethod
    def loads(cls, text: str | bytes) -> Totals:
        """What `dumps` wrote."""
        shape = json.loads(text)
        others = shape.get("min"), shape.get("max"), shape.get("last")
        return cls(shape["c"], float(shape["sum"]), *others)

    @classmethod
    def from_hash(cls, pairs: Sequence[bytes]) -> tuple[Totals, bool]:
        """The totals in the hash `app:metrics:{func_name}`, and whether SQL's part is in them.

        A field that is no figure is passed over.

        Args:
            pairs: its fields, every one followed by its value.
        """
        try:
            # The values as JSON, which is read in half the time.
            values = _from_json()(b"[%b]" % b",".join(pairs[1::2]))
            counts = dict(zip(map(_names.__getitem__, pairs[::2]), values, strict=True))
            whole = counts.pop(_STAMP, None) is not None
            totals = cls(counts)
            for attribute in OTHERS:
                if attribute in counts:
                    setattr(totals, attribute, float(counts.pop(attribute)))
            whole_numbers = isinstance(sum(counts.values()), int)
            if not (whole_numbers and {*map(type, values)} <= _NUMBERS):
                return cls._from_odd_hash(pairs)
        except (TypeError, ValueError, OverflowError):
            return cls._from_odd_hash(pairs)
        return totals, whole

    @classmethod
    def _from_odd_hash(cls, pairs: Sequence[bytes]) -> tuple[Totals, bool]:
        totals, whole = cls(), False
        for raw, value in zip(pairs[::2], pairs[1::2], strict=True):
            with suppress(ValueError):
                field = _names[raw]
                if field == _STAMP:
                    whole = True
                elif field in OTHERS:
                    setattr(totals, field, float(value))
                else:
                    totals.counts[field] = int(value)
        return totals, whole

    @classmethod
    def sum(cls, parts: Iterable[Totals]) -> Totals:
        """All the parts in one."""
        whole = cls()
        for part in parts:
            whole.merge(part)
        return whole


class Tally:
    """Calls that are yet to be counted, as to count many at once is several times as fast."""

    __slots__ = ("_ends", "_marks", "_order", "_texts", "_times", "_totals", "begun")

    def __init__(self) -> None:
        self.begun = False  # whether some of the calls are counted
        self._totals: dict[str, Totals] = {}
        # Of some of these: JSON of the fields, and of their numbers.
        self._texts: dict[str, tuple[bytes, bytes]] = {}
        # Of each function, one number of each of its calls.
        self._times: defaultdict[str, list[float]] = defaultdict(list)
        self._ends: defaultdict[str, list[float]] = defaultdict(list)
        self._order: list[str] = []  # of those that are counted next, the last one first
        self._marks: dict[str, list[Mark]] = {}  # of the calls that were not ok

    def add_all(
        self,
        func_names: Sequence[str],
        functions: Sequence[int],
        times: Sequence[float],
        ends: Sequence[float],
        marks: Mapping[int, Mark],
    ) -> None:
        """Note calls, as `Columns` has them: their functions, numbers and marks."""
        for columns, numbers in ((self._times, times), (self._ends, ends)):
            lists = list(map(columns.__getitem__, func_names))
            # Consumed by a queue that keeps nothing, since a loop takes half as long again.
            deque(map(list.append, map(lists.__getitem__, functions), numbers), maxlen=0)
        for position, mark in marks.items():
            self._marks.setdefault(func_names[functions[position]], []).append(mark)

    def add(self, func_name: str, execution_time: float, created_at: float, mark: Mark) -> None:
        """Count one call, as `Totals.add` does."""
        self._totals.setdefault(func_name, Totals()).add(execution_time, created_at, mark)
        self._texts.pop(func_name, None)

    def count(self, some: int) -> bool:
        """Count some of the calls, fewer where there are many functions; whether that leaves any."""
        self.begun = True
        while some > 0 and self._times:
            self._order = self._order or [*reversed(self._times)]
            func_name = self._order.pop()
            times, ends = self._times.pop(func_name), self._ends.pop(func_name)
            if times:  # else it was only named
                totals = self._totals.setdefault(func_name, Totals())
                totals.add_all(times, max(ends) / 1e6, self._marks.pop(func_name, ()), unit=1e9)
                self._texts[func_name] = _fields_and_numbers(totals)
            some -= len(times) + _CALLS_A_FUNCTION
        return bool(self._times)

    def totals(self) -> dict[str, Totals]:
        """The totals of each function."""
        while self.count(1):
            pass
        return self._totals

    def deltas(self) -> bytes:
        """JSON of the totals of all functions, each with calls: the fields of each one, and then their numbers."""
        texts = [
            self._texts.get(name) or _fields_and_numbers(totals)
            for name, totals in self.totals().items()
        ]
        return b"[[%b],[%b]]" % tuple(b",".join([pair[part] for pair in texts]) for part in (0, 1))


def _fields_and_numbers(totals: Totals) -> tuple[bytes, bytes]:
    to_json = _to_json()
    counts = totals.counts
    return to_json((*OTHERS, *counts)), to_json((*_others_of(totals), *counts.values()))


def counts_text(counts: Mapping[str, int]) -> str:
    """Counts as compact JSON, in a third of the time that `json` takes where no name needs an escape."""
    names = "".join(counts)
    if not (names.isascii() and names.isprintable()) or any(map(names.__contains__, '"\\%')):
        return json.dumps(counts, separators=(",", ":"))
    return ('{"' + '":%d,"'.join(counts) + '":%d}') % tuple(counts.values()) if counts else "{}"


@lru_cache(maxsize=1024)
def _fields(mark: Mark) -> tuple[str, ...]:
    """What is counted of a call beside the call itself."""
    if mark is None:
        return ()
    if isinstance(mark, OtherOutcome):
        return (OUTCOME_PREFIX + mark.name, *_fields(mark.error_type))
    return (ERROR.counted, ERROR_PREFIX + mark) if mark else (CANCELLED.counted,)


class _Names(dict[bytes, str]):
    """The names of fields of the hash in Redis; as a dictionary, since a function's call takes twice as long."""

    def __missing__(self, raw: bytes) -> str:
        """Look at a field that is not known yet.

        Raises:
            ValueError: it is no figure's.
        """
        field = raw.decode("utf-8", "replace")
        if not field.startswith(_BEGINNINGS) and field not in OTHERS and field != _STAMP:
            raise ValueError(field)
        if len(self) < _MOST_NAMES:
            self[raw] = field
        return field


_names: Final = _Names()


# What is imported when it is first needed, as it takes its time: nobody needs it before there is a sender or a reader.


@lru_cache(maxsize=1)
def _from_json() -> Callable[[bytes], list[Any]]:
    from pydantic_core import from_json

    return from_json


@lru_cache(maxsize=1)
def _to_json() -> Callable[[Any], bytes]:
    from pydantic_core import to_json

    # Its first use takes a lock, which the child of a fork at that time would wait for.
    with fork_hooks.no_fork():
        to_json({"": 0.0})
    return to_json


def _extreme(pick: Any, one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    chosen: float = pick(one, other)
    return chosen
