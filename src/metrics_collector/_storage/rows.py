"""Totals as rows of figures, as any SQL store keeps them, and back."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json  # in half the time of `json`

from metrics_collector._core.figures import STORED
from metrics_collector._core.pipeline_types import Numbered, Rollup
from metrics_collector._core.totals import COUNTS, ERROR_PREFIX, OTHERS, Totals, counts_text
from metrics_collector._storage.base import StepCounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from metrics_collector._storage.base import ErrorCounts

_STORED: Final = [(one.column or one.name, one.merge, one.counts) for one in STORED]
FIGURE_COLUMNS: Final = ", ".join([*(column for column, _, _ in _STORED), "details"])
"""The figures of a function, the same in rollups and totals; details: JSON, "error:{type}" and "h:{bucket}" → count."""
SUMS: Final = ", ".join(
    # PostgreSQL's sum of whole numbers is a decimal one.
    f"CAST({merge}({column}) AS BIGINT)" if counts else f"{merge}({column})"
    for column, merge, counts in _STORED
)
"""Several of these in one, all but details."""

_COUNTED: Final = len(COUNTS)
_DETAILS: Final = len(STORED)
_others_of: Final = attrgetter(*OTHERS)


def as_row(totals: Totals) -> tuple[Any, ...]:
    """The values of `FIGURE_COLUMNS`, in order."""
    details = totals.counts.copy()
    return (
        *(details.pop(field, 0) for field in COUNTS),
        *_others_of(totals),
        counts_text(details),
    )


def as_totals(row: Sequence[Any]) -> Totals:
    """The totals that the values of `FIGURE_COLUMNS` stand for."""
    return _totals_of(row, from_json(row[_DETAILS]))


def all_as_totals(rows: Sequence[Sequence[Any]]) -> list[Totals]:
    """As `as_totals` for each, in four fifths of the time."""
    details = from_json(f"[{','.join([row[_DETAILS] for row in rows])}]")
    return list(map(_totals_of, rows, details))


def as_rollups(rows: Sequence[Sequence[Any]]) -> list[Rollup]:
    """What rows of `FIGURE_COLUMNS`, function and beginning stand for; several of one function and beginning in one."""
    found: dict[tuple[str, int], Totals] = {}
    for row, totals in zip(rows, all_as_totals(rows), strict=True):
        key = (row[-2], row[-1])
        if key in found:
            found[key].merge(totals)
        else:
            found[key] = totals
    return [Rollup(*key, totals) for key, totals in found.items()]


def as_numbered(rows: Iterable[Sequence[Any]]) -> dict[str, Numbered]:
    """What rows of function, `FIGURE_COLUMNS` and commit stand for; several of one function in one."""
    found: dict[str, Numbered] = {}
    for name, *figures, no in rows:
        totals = as_totals(figures)
        other, other_no = found.get(name) or (Totals(), 0)
        totals.merge(other)
        found[name] = Numbered(totals, max(no, other_no))
    return found


def failures(rows: Sequence[Sequence[Any]]) -> ErrorCounts:
    """As `StoreReader.failures`, of rows of details, function and beginning."""
    found: ErrorCounts = {}
    several = from_json(f"[{','.join([details for details, _, _ in rows])}]")
    for (_, name, start), details in zip(rows, several, strict=True):
        for field, by in details.items():
            if field.startswith(ERROR_PREFIX):
                counts = found.setdefault((name, field.removeprefix(ERROR_PREFIX)), {})
                counts[start] = counts.get(start, 0) + by
    return found


def summed(rows: Iterable[Sequence[Any]], details: Iterable[tuple[str, str]]) -> dict[str, Totals]:
    """The sums of rollups by function, of rows of function and `SUMS`, and their details.

    Args:
        details: of some of the rollups each: JSON of their functions, and of their details without the brackets.
    """
    found: dict[str, dict[str, int]] = {}
    for names, several in details:
        for name, some in zip(from_json(names), from_json(f"[{several}]"), strict=True):
            if (counts := found.get(name)) is None:
                found[name] = some
            else:
                for field, by in some.items():
                    counts[field] = counts.get(field, 0) + by
    return {name: _totals_of(row, found[name]) for name, *row in rows}


def step_counts(rows: Iterable[tuple[int, str, str, str]]) -> list[StepCounts]:
    """What rows of beginning, and JSON of functions, of calls and of errors (these without brackets) stand for."""
    return [
        StepCounts(start, from_json(names), from_json(f"[{calls}]"), from_json(f"[{errors}]"))
        for start, names, calls, errors in rows
    ]


def _totals_of(row: Sequence[Any], counts: dict[str, int]) -> Totals:
    for field, number in zip(COUNTS, row, strict=False):
        if number:
            counts[field] = number  # noqa: PERF403 - a dict made beside takes half as long again
    return Totals(counts, *row[_COUNTED:_DETAILS])
