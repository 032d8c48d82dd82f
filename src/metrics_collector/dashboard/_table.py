"""A table that may have thousands of rows: searched, sorted and cut into pages here; a browser gets one page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from metrics_collector._errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from metrics_collector.dashboard._state import State

Row = TypeVar("Row")

PER_PAGE: Final = 25


def page(
    rows: Sequence[Row],
    state: State,
    *,
    columns: Mapping[str, Callable[[Row], Any]],
    names: Callable[[Row], Sequence[str]],
    usual: str,
    show: Callable[[Row], Mapping[str, Any]],
) -> dict[str, Any]:
    """One page of a table, as JSON has it; past the last one, the last one is given.

    Args:
        columns: by which it can be sorted; a key of `None` is always last.
        names: gives the texts of a row that are searched.
        usual: the column if the state names none.
        show: what JSON has of a row.

    Raises:
        ConfigurationError: the state names another column.
    """
    sort = state.sort or usual
    if sort not in columns:
        raise ConfigurationError(
            f"there is no column {sort!r} to sort by; there are {', '.join(columns)}"
        )
    wanted = state.search.casefold()
    found = [row for row in rows if any(wanted in name.casefold() for name in names(row))]
    key = columns[sort]
    keyed = [(key(row), row) for row in found]
    ordered = sorted(
        (pair for pair in keyed if pair[0] is not None),
        key=lambda pair: pair[0],
        reverse=state.descending,
    )
    ordered += [pair for pair in keyed if pair[0] is None]
    pages = max(1, -(-len(ordered) // PER_PAGE))
    number = min(state.page, pages)
    shown = ordered[(number - 1) * PER_PAGE : number * PER_PAGE]
    return {
        "rows": [show(row) for _, row in shown],
        "found": len(found),
        "of": len(rows),
        "page": number,
        "pages": pages,
        "per_page": PER_PAGE,
        "sort": sort,
        "descending": state.descending,
        "search": state.search,
    }
