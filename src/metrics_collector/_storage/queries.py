"""What readers ask, for every store that speaks SQL: each question once, in what their dialects have in common."""

from __future__ import annotations

import json
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

from metrics_collector._core.intervals import Intervals
from metrics_collector._core.rollup_ranges import SECONDS
from metrics_collector._core.totals import ERROR_PREFIX
from metrics_collector._storage import rows as shared
from metrics_collector._storage.base import StoredEntry
from metrics_collector._storage.rows import FIGURE_COLUMNS, SUMS
from metrics_collector._storage.steps import Statement, compute

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from metrics_collector._core.pipeline_types import Numbered, Rollup
    from metrics_collector._core.rollup_ranges import RollupRange
    from metrics_collector._core.totals import Totals
    from metrics_collector._storage.base import EntryFilter, ErrorCounts, ErrorTime, StepCounts
    from metrics_collector._storage.chunks import RollupKey
    from metrics_collector._storage.steps import Compute

    T = TypeVar("T")
    Steps = Generator[Statement | Compute, list[Any], T]

ENTRY: Final = ", ".join(StoredEntry._fields)
"""The columns of a `StoredEntry`."""
_TIMES: Final = {
    "func_name": "text",
    "error_type": "text",
    "first": "bigint",
    "before": "bigint",
    "field": "text",
}


class GivenRows(Protocol):
    """How a statement gets rows from its parameters."""

    def __call__(
        self, columns: Mapping[str, str], rows: Sequence[Sequence[Any]]
    ) -> tuple[str, Sequence[Any]]:
        """What comes after FROM for a table `k` of these columns and `n`, a row's place; and the parameters.

        Args:
            columns: name → type.
            rows: at least one.
        """


class Dialect(NamedTuple):
    """What differs from one SQL to another.

    Attributes:
        given: see there.
        names: aggregate: JSON of the functions.
        joined: aggregate: texts or numbers, in the same order, with commas between them; `{}` is the column.
        instr: function: where in a text another one is, 0 if nowhere.
        least: function: the least of its arguments.
        of_one: the table of the rollups, for those of one function.
    """

    given: GivenRows
    names: str
    joined: str
    instr: str
    least: str
    of_one: str


class Queries:
    """`StoreReader`, in one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._sql = dialect

    def function_names(self) -> Steps[list[str]]:
        """As `OpenStore.function_names`."""
        rows = yield Statement("SELECT DISTINCT func_name FROM totals")
        return [name for (name,) in rows]

    def totals_of(self, func_names: Iterable[str], which: str = "") -> Steps[dict[str, Numbered]]:
        """As `OpenStore.totals_of`; of all shards, or of those that a condition on `t` names."""
        names = [(name,) for name in func_names]
        if not names:
            return {}
        given, parameters = self._sql.given({"value": "text"}, names)
        rows = yield Statement(
            f"SELECT t.func_name, {FIGURE_COLUMNS}, t.no "
            f"FROM {given} CROSS JOIN totals AS t WHERE t.func_name = k.value {which}",
            parameters,
        )
        return shared.as_numbered(rows)

    def all_totals(self) -> Steps[dict[str, Numbered]]:
        """As `StoreReader.all_totals`."""
        rows = yield Statement(f"SELECT func_name, {FIGURE_COLUMNS}, no FROM totals")
        return shared.as_numbered(rows)

    def purged(self) -> Steps[dict[str, int]]:
        """As `StoreReader.purged`."""
        return dict((yield Statement("SELECT resolution, before FROM purged")))

    def ledger(self, producers: Iterable[str]) -> Steps[dict[str, Intervals]]:
        """As `StoreReader.ledger`."""
        known: dict[str, Intervals] = {}
        if some := [(producer,) for producer in producers]:
            given, parameters = self._sql.given({"value": "text"}, some)
            rows = yield Statement(
                "SELECT producer, first, last FROM ledger "
                f"WHERE producer IN (SELECT k.value FROM {given}) ORDER BY producer, first",
                parameters,
            )
            for producer, first, last in rows:
                known.setdefault(producer, Intervals()).add(first, last)
        return known

    def rollups_at(self, keys: Iterable[RollupKey]) -> Steps[dict[RollupKey, Totals]]:
        """The rollups of these keys that there are: those that are written, without a release and of shard 0."""
        some = [*keys]
        if not some:
            return {}
        columns = {"resolution": "text", "start": "bigint", "func_name": "text"}
        given, parameters = self._sql.given(columns, some)
        rows = yield Statement(
            f"SELECT r.resolution, r.start, r.func_name, {FIGURE_COLUMNS} "
            f"FROM {given} CROSS JOIN rollups AS r "
            "WHERE r.resolution = k.resolution AND r.start = k.start AND r.func_name = k.func_name "
            "AND r.release = '' AND r.shard = 0",
            parameters,
        )
        return {
            (resolution, start, name): shared.as_totals(figures)
            for resolution, start, name, *figures in rows
        }

    def rollups(self, ranges: Iterable[RollupRange], func_name: str | None) -> Steps[list[Rollup]]:
        """As `StoreReader.rollups`."""
        found: list[Rollup] = []
        for rollup_range in ranges:
            source, parameters = self._kept_in(rollup_range, func_name)
            rows = yield Statement(
                f"SELECT {FIGURE_COLUMNS}, func_name, start FROM {source}", parameters
            )
            found += yield from compute(partial(shared.as_rollups, rows))
        return found

    def sums(
        self, ranges: Iterable[RollupRange], func_name: str | None
    ) -> Steps[dict[str, Totals]]:
        """As `StoreReader.sums`."""
        found: dict[str, Totals] = {}

        def add(rows: Sequence[Any], details: Sequence[Any]) -> None:
            for name, totals in shared.summed(rows, details).items():
                if name in found:
                    found[name].merge(totals)
                else:
                    found[name] = totals

        for rollup_range in ranges:
            source, parameters = self._kept_in(rollup_range, func_name)
            rows = yield Statement(
                f"SELECT func_name, {SUMS} FROM {source} GROUP BY func_name", parameters
            )
            # As they lie there, since to sort them by function takes twice as long.
            details = yield Statement(
                f"SELECT {self._sql.names}, {self._joined('details')} FROM {source} GROUP BY start",
                parameters,
            )
            yield from compute(partial(add, rows, details))
        return found

    def beginning(self) -> Steps[int | None]:
        """As `StoreReader.beginning`."""
        gone = yield from self.purged()
        first: int | None = None
        for resolution in reversed(SECONDS):
            if first is None or gone.get(resolution, 0) <= first:
                ((start,),) = yield Statement(
                    "SELECT min(start) FROM rollups WHERE resolution = ?", (resolution,)
                )
                first = first if start is None else start
        return first

    def fingerprint(self, rollup_range: RollupRange) -> Steps[list[Any]]:
        """As `StoreReader.fingerprint`: number of rollups and of calls, and the last call.

        No sum of seconds, which depends on the order in which a server adds them.
        """
        source, parameters = self._kept_in(rollup_range, None)
        return (
            yield Statement(
                f"SELECT count(*), sum(call_count), max(last_called_at) FROM {source}", parameters
            )
        )

    def counts(self, rollup_range: RollupRange, step: int) -> Steps[list[StepCounts]]:
        """As `StoreReader.counts`."""
        source, parameters = self._kept_in(rollup_range, None)
        start = "start" if step == SECONDS[rollup_range.resolution] else f"start / {step} * {step}"
        rows = yield Statement(
            f"SELECT {start}, {self._sql.names}, {self._joined('call_count')}, {self._joined('error_count')} "
            f"FROM {source} GROUP BY 1",
            parameters,
        )
        return (yield from compute(partial(shared.step_counts, rows)))

    def failures(self, ranges: Iterable[RollupRange], func_name: str | None) -> Steps[ErrorCounts]:
        """As `StoreReader.failures`."""
        found: list[Any] = []
        for rollup_range in ranges:
            source, parameters = self._kept_in(rollup_range, func_name)
            found += yield Statement(
                f"SELECT details, func_name, start FROM {source} AND error_count > 0",
                parameters,
            )
        return (yield from compute(partial(shared.failures, found)))

    def occurrences(
        self, times: Sequence[ErrorTime], by: str, *, last: bool
    ) -> Steps[list[float | None]]:
        """As `StoreReader.occurrences`; an error that came without a type is counted as an Exception."""
        if not times:
            return []
        # The very text that the rollups were written with; paths of SQLite's JSON functions cannot name every key.
        keys = [(*time, json.dumps(ERROR_PREFIX + time.error_type) + ":") for time in times]
        given, parameters = self._sql.given(_TIMES, keys)
        if by == "entry":
            moment = (
                "m.created_at FROM metrics AS m WHERE m.func_name = k.func_name "
                "AND m.created_at >= k.first AND m.created_at < k.before AND m.error_occurred = 1 "
                "AND coalesce(nullif(m.error_type, ''), 'Exception') = k.error_type ORDER BY m.created_at"
            )
        else:
            moment = (
                f"start FROM {self._sql.of_one} WHERE func_name = k.func_name AND resolution = '{by}' "
                f"AND start >= k.first AND start < k.before AND {self._sql.instr}(details, k.field) > 0 "
                "ORDER BY start"
            )
        rows = yield Statement(
            f"SELECT (SELECT {moment} {'DESC' if last else 'ASC'} LIMIT 1) FROM {given} ORDER BY k.n",
            parameters,
        )
        return [moment for (moment,) in rows]

    def slowest(
        self, func_name: str, rollup_range: RollupRange, count: int
    ) -> Steps[list[StoredEntry]]:
        """As `StoreReader.slowest`.

        So many are in so many rollups with the highest maxima, and no others need be looked at; but two more, as a part
        of the first one's entries may no longer be kept, and a part of the last one's may lie after the time.
        """
        source, parameters = self._kept_in(rollup_range, func_name)
        columns = ", ".join(f"m.{column}" for column in StoredEntry._fields)
        rows = yield Statement(
            f"SELECT {columns} FROM ("
            f"SELECT start FROM {source} GROUP BY start ORDER BY max(max_execution_time) DESC LIMIT ?"
            ") AS r CROSS JOIN metrics AS m WHERE m.func_name = ? "
            f"AND m.created_at >= r.start AND m.created_at < {self._sql.least}(r.start + ?, ?) "
            "ORDER BY m.execution_time DESC LIMIT ?",
            (
                *parameters,
                count + 2,
                func_name,
                SECONDS[rollup_range.resolution],
                inf if rollup_range.end is None else float(rollup_range.end),
                count,
            ),
        )
        return [StoredEntry(*row) for row in rows]

    def entry_count(self, which: EntryFilter) -> Steps[int]:
        """As `StoreReader.entry_count`."""
        conditions, parameters = matching(which)
        ((count,),) = yield Statement(
            f"SELECT count(*) FROM metrics WHERE TRUE {conditions}", parameters
        )
        return int(count)

    def extent(self) -> Steps[dict[str, Any]]:
        """What `StoreDescription` says of one that can be read, but for its size."""
        ((saved, oldest, rejected, db),) = yield Statement(
            "SELECT (SELECT sum(call_count) FROM totals), "
            "(SELECT min((SELECT min(created_at) FROM metrics AS m WHERE m.func_name = t.func_name)) "
            "FROM totals AS t), "
            "(SELECT count(*) FROM rejected_entries), (SELECT db FROM meta WHERE shard = 0)"
        )
        return {"saved": int(saved or 0), "oldest": oldest, "rejected": rejected, "db": db}

    def _joined(self, column: str) -> str:
        return self._sql.joined.format(column)

    def _kept_in(
        self, rollup_range: RollupRange, func_name: str | None
    ) -> tuple[str, list[object]]:
        """What comes after FROM for the rollups in some time, of one function or all (`None`), and its parameters."""
        where = "resolution = ? AND start >= ?"
        parameters: list[object] = [rollup_range.resolution, rollup_range.start]
        if rollup_range.end is not None:
            where += " AND start < ?"
            parameters.append(rollup_range.end)
        if func_name is None:
            return f"rollups WHERE {where}", parameters
        return f"{self._sql.of_one} WHERE {where} AND func_name = ?", [*parameters, func_name]


def matching(which: EntryFilter) -> tuple[str, list[object]]:
    """Conditions for these entries, to be added to others, and their parameters."""
    conditions = ("func_name = ?", "created_at >= ?", "created_at < ?")
    given = [pair for pair in zip(conditions, which, strict=True) if pair[1] is not None]
    return "".join(f" AND {condition}" for condition, _ in given), [value for _, value in given]
