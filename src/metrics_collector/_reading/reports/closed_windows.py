"""What was counted in the steps of a window that are over, remembered until something more arrives in them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from metrics_collector._core.figures import ERROR
from metrics_collector._core.totals import CALLS, Totals
from metrics_collector._storage.base import StepCounts
from metrics_collector._support import process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from metrics_collector._core.rollup_ranges import RollupRange
    from metrics_collector._storage.base import StoreReader

T = TypeVar("T")

_KEPT: Final = 24  # times: a few windows, each with the period before
_KEPT_PARTS: Final = 3 * _KEPT  # of which they consist
_KEPT_FUNCTIONS: Final = 100_000  # in all of these, some 2 kB each


class Part:
    """The figures of all functions in one range, in sum and by step, which may be a single one; not to be changed.

    Attributes:
        sums: by function.
        starts: where the steps begin.
        calls: by function, of each step; in tuples, which the garbage collector does not look at again and again.
        all_calls, all_errors: of all functions together, of each step.
    """

    def __init__(self, sums: Mapping[str, Totals], counts: Sequence[StepCounts]) -> None:
        self.sums = sums
        counts = sorted(counts)
        self.starts = [step.start for step in counts]
        self.all_calls = [sum(step.calls) for step in counts]
        self.all_errors = [sum(step.errors) for step in counts]
        self._total: Totals | None = None
        none = [0] * len(counts)
        own: dict[str, list[int]] = {}
        for number, step in enumerate(counts):
            for name, calls in zip(step.func_names, step.calls, strict=True):
                if name not in own:
                    own[name] = none[:]
                own[name][number] += calls
        self.calls = {name: tuple(steps) for name, steps in own.items()}

    @property
    def total(self) -> Totals:
        """Of all functions together; takes long at first, so that it is asked for in a thread."""
        # No `cached_property`: its lock could be held for ever in a forked child.
        if self._total is None:
            self._total = Totals.sum(self.sums.values())
        return self._total


class Whole:
    """The figures of all functions in some ranges together; not to be changed."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self._sums: Mapping[str, Totals] | None = parts[0].sums if len(parts) == 1 else None

    @property
    def sums(self) -> Mapping[str, Totals]:
        """By function; takes long at first, as `Part.total`."""
        if self._sums is None:
            found: dict[str, Totals] = {}
            for part in self.parts:
                for name, some in part.sums.items():
                    found.setdefault(name, Totals()).merge(some)
            self._sums = found
        return self._sums

    @property
    def total(self) -> Totals:
        """Of all functions together."""
        return Totals.sum(part.total for part in self.parts)

    @property
    def size(self) -> int:
        """How many functions its parts have, those that several have counted in each."""
        return sum(len(part.sums) for part in self.parts)


class Closed:
    """Reads the figures in some time, and remembers the last ones.

    A part stays as it is as long as its rollups, calls, seconds and last call do.
    """

    def __init__(self) -> None:
        self._parts: dict[object, tuple[object, Part]] = {}
        self._wholes: dict[object, Whole] = {}

    async def read(
        self,
        reader: StoreReader,
        label: str,
        ranges: Mapping[RollupRange, int | None],
    ) -> Whole:
        """The figures in these ranges, each of which has the step (seconds) to count by; `None`: it is a single one."""
        db, _ = await reader.state()
        parts = [
            await self._part(reader, (label, db), rollup_range, step)
            for rollup_range, step in ranges.items()
        ]
        key = label, db, tuple(ranges.items())
        known = self._wholes.get(key)
        if known is None or known.parts != parts:
            known = Whole(parts)
        _remember(self._wholes, key, known, _KEPT, lambda one: one.size)
        return known

    async def _part(
        self, reader: StoreReader, where: object, rollup_range: RollupRange, step: int | None
    ) -> Part:
        now = await reader.fingerprint(rollup_range)
        key = where, rollup_range, step
        known = self._parts.get(key)
        if known is None or known[0] != now:
            known = now, await _read(reader, rollup_range, step)
        _remember(self._parts, key, known, _KEPT_PARTS, lambda one: len(one[1].sums))
        return known[1]


def _remember(
    kept: dict[object, T], key: object, value: T, most: int, functions: Callable[[T], int]
) -> None:
    # Threads may share it: one statement each, and whatever order they come in.
    kept.pop(key, None)
    kept[key] = value
    room = _KEPT_FUNCTIONS
    for number, (one, other) in enumerate(reversed(list(kept.items()))):
        room -= functions(other)
        if number >= most or (number and room < 0):
            kept.pop(one, None)


async def _read(reader: StoreReader, rollup_range: RollupRange, step: int | None) -> Part:
    sums = await reader.sums([rollup_range], None)
    if step is None:
        totals = [some.counts for some in sums.values()]
        calls, errors = ([one.get(field, 0) for one in totals] for field in (CALLS, ERROR.counted))
        counts = [StepCounts(rollup_range.start, list(sums), calls, errors)] if sums else []
    else:
        counts = await reader.counts(rollup_range, step)
    return await process.in_thread(partial(Part, sums, counts))
