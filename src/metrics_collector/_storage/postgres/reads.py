"""What readers ask of the database: the questions that all stores share, in PostgreSQL's dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from metrics_collector._storage.queries import Dialect, Queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def given(
    columns: Mapping[str, str], rows: Sequence[Sequence[Any]]
) -> tuple[str, tuple[list[Any], ...]]:
    """As `GivenRows`: from an array for each column."""
    arrays = ", ".join(f"?::{kind}[]" for kind in columns.values())
    names = ", ".join(columns)
    return f"unnest({arrays}) WITH ORDINALITY AS k({names}, n)", tuple(
        map(list, zip(*rows, strict=True))
    )


QUERIES: Final = Queries(
    Dialect(
        given=given,
        names="json_agg(func_name)::text",
        joined="string_agg({}::text, ',')",
        instr="strpos",
        least="least",
        of_one="rollups",
    )
)
