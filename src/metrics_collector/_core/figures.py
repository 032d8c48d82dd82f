"""The figures of a function and the outcomes of a call, each once: its name, unit and place, and how it is shown.

Fields of Redis, columns of SQL, JSON, the tables of command line and dashboard and the page of the API are made from
`FIGURES`. One more that is made of others takes a line here, and a property of `FunctionMetrics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from metrics_collector._core.models import FunctionMetrics

Kind: TypeAlias = Literal[
    "count", "failures", "share", "seconds", "quantile", "sum", "types", "moment"
]
"""What a figure is, by which each face picks how to show it: whole numbers, those of failures apart; a share of one;
seconds of one call, as a share of all calls (quantile) or of all together (sum); counts by type; a moment."""

_SPARE: Final = 1


class Figure(NamedTuple):
    """One figure of `FunctionMetrics`.

    Attributes:
        name: of the attribute, of the field in JSON, and of the column in SQL unless `column` says otherwise.
        label: in headings, and as a word of the command line.
        kind: what it is, which includes its unit.
        need: how early its column goes where there is not room for all: the lowest goes first, and those of 1 are shown
            only where names are not cut for them. 0: it has no column.
        meaning: what it tells, as a part of a sentence.
        merge: the function of SQL that makes one of several; empty if SQL has no column, as it is made of others.
        column: see `name`.
        live: the field of the live totals in Redis, if that is not the column's name.
    """

    name: str
    label: str
    kind: Kind
    need: int
    meaning: str
    merge: str = ""
    column: str = ""
    live: str = ""

    @property
    def field(self) -> str:
        """Of the live totals in Redis, and the attribute of `Totals` unless it counts."""
        return self.live or self.column or self.name

    @property
    def heading(self) -> str:
        """The label at the head of a column, for a page."""
        return self.label if self.kind == "quantile" else self.label.capitalize()

    @property
    def counts(self) -> bool:
        """Whether it is a whole number; the others of the columns are times."""
        return self.kind in {"count", "failures"}

    @property
    def spare(self) -> bool:
        """Whether its column is shown only where there is room to spare."""
        return self.need <= _SPARE

    def of(self, metrics: FunctionMetrics) -> Any:
        """Its value; most are `None` without calls."""
        return getattr(metrics, self.name)


TOTAL: Final = Figure(
    "total_execution_time",
    "total",
    "sum",
    0,
    "sum of the times of all calls",
    "sum",
    "execution_time",
)
FIGURES: Final = (
    Figure("call_count", "calls", "count", 6, "calls that have ended", "sum"),
    Figure("error_count", "errors", "failures", 8, "calls that raised", "sum"),
    Figure("error_rate", "error rate", "share", 0, "share of the calls that raised"),
    Figure("cancelled_count", "cancelled", "count", 0, "calls that were cancelled", "sum"),
    TOTAL,
    Figure("average_execution_time", "average", "seconds", 2, "average time of a call"),
    Figure("min_execution_time", "min", "seconds", 0, "shortest time of a call", "min", live="min"),
    Figure("max_execution_time", "max", "seconds", 0, "longest time of a call", "max", live="max"),
    Figure("p50", "p50", "quantile", 4, "half of the calls took no longer"),
    Figure("p90", "p90", "quantile", 1, "90 % of the calls took no longer"),
    Figure("p95", "p95", "quantile", 7, "95 % of the calls took no longer"),
    Figure("p99", "p99", "quantile", 5, "99 % of the calls took no longer"),
    Figure("error_types", "error types", "types", 0, "calls that raised, by type of exception"),
    Figure("last_called_at", "last called", "moment", 0, "when the last call ended", "max"),
)
COLUMNS: Final = tuple(figure for figure in FIGURES if figure.need)
"""Those that tables show beside a function's name."""
STORED: Final = tuple(figure for figure in FIGURES if figure.merge)
"""Those of which the others are made: first the counts."""


class Outcome(NamedTuple):
    """How a call can end.

    Attributes:
        name: in JSON, in SQL and where people read it.
        counted: field of the figure that counts it beside the calls, "" without one.
        json: what an entry's JSON says of it, before its error type if it has one.
    """

    name: str
    counted: str
    json: str


OK: Final = Outcome("ok", "", '"error_occurred":0')
ERROR: Final = Outcome("error", "error_count", '"error_occurred":1')
CANCELLED: Final = Outcome(
    "cancelled", "cancelled_count", '"error_occurred":0,"outcome":"cancelled"'
)
OUTCOMES: Final = {one.name: one for one in (OK, ERROR, CANCELLED)}
"""Those that this release knows; another one is kept under its name."""
