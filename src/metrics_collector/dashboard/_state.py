"""What a page shows, as its URL says it: window, search, order and page. Going back in the browser goes back in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlencode

from metrics_collector._core import windows
from metrics_collector._errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

WINDOWS: Final[Mapping[str, str]] = {
    "15m": "15 min",
    "1h": "1 hour",
    "24h": "24 hours",
    "7d": "7 days",
    "30d": "30 days",
}
_USUAL_WINDOW: Final = "1h"
_LONGEST_SEARCH: Final = 200  # characters
_SHOWN: Final = 40  # characters of an unknown parameter


def check(query: Mapping[str, str], takes: Collection[str]) -> None:
    """Check that a query string has no parameter but those that a view takes.

    Raises:
        ConfigurationError: it has another one.
    """
    unknown = next((name for name in query if name not in takes), None)
    if unknown is not None:
        there_are = f"there are {', '.join(takes)}" if takes else "it takes none"
        raise ConfigurationError(f"there is no parameter {unknown[:_SHOWN]!r} here; {there_are}")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a page shows."""

    window: str = _USUAL_WINDOW  # back from now, as `list_metrics` takes it; unused with `since`
    since: datetime | None = None  # of a custom window
    until: datetime | None = None
    search: str = ""  # a part of a name, in any case
    sort: str = ""  # name of a column
    descending: bool = True  # the greatest first
    page: int = 1  # from 1 on
    live: bool = True  # whether the page renews itself

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Self:
        """The state that a query string stands for.

        Raises:
            ConfigurationError: a value is not allowed.
        """
        since, until = _moment("since", query), _moment("until", query)
        if until is not None and since is None:
            raise ConfigurationError("until needs since: give both, or window instead")
        window = query.get("window", "")
        if window and since is not None:
            raise ConfigurationError("window and since exclude each other: give one of them")
        try:
            windows.moment(window or _USUAL_WINDOW, datetime.now(UTC))
        except ConfigurationError:  # it names what only Python has
            raise ConfigurationError(
                "window is a number above 0 and its unit, back from now, such as 15m, 24h or 7d"
            ) from None
        page = query.get("page", "1")
        if not re.fullmatch(r"[1-9][0-9]{0,5}", page):
            raise ConfigurationError("page is a whole number from 1 on")
        sort = query.get("sort", "")
        if not re.fullmatch(r"-?[a-z0-9_]{0,30}", sort):
            raise ConfigurationError(
                "sort is the name of a column, with a - before it: greatest first"
            )
        live = query.get("live", "")
        if live not in {"", "off"}:
            raise ConfigurationError("live is off, or left out")
        return cls(
            window=window or _USUAL_WINDOW,
            since=since,
            until=until,
            search=query.get("q", "").strip()[:_LONGEST_SEARCH],
            sort=sort.removeprefix("-"),
            descending=sort.startswith("-") or not sort,
            page=int(page),
            live=not live,
        )

    @property
    def begin(self) -> datetime | str:
        """What reports take as `since`."""
        return self.window if self.since is None else self.since

    @property
    def custom(self) -> bool:
        """Whether the window is none of the usual ones."""
        return self.since is not None or self.window not in WINDOWS

    def query(self, **more: str) -> str:
        """The query string of this state, `?` included; what is as usual is left out."""
        fields: dict[str, str] = dict(more)
        if self.since is not None:
            fields["since"] = _text(self.since)
            if self.until is not None:
                fields["until"] = _text(self.until)
        elif self.window != _USUAL_WINDOW:
            fields["window"] = self.window
        if self.search:
            fields["q"] = self.search
        if self.sort:
            fields["sort"] = f"{'-' if self.descending else ''}{self.sort}"
        if self.page > 1:
            fields["page"] = str(self.page)
        if not self.live:
            fields["live"] = "off"
        return f"?{urlencode(fields)}" if fields else ""

    def but(self, **changes: Any) -> State:
        """The same with other values; on the first page, unless one is given."""
        return replace(self, **{"page": 1, **changes})

    def elsewhere(self) -> State:
        """What of it also counts on another page: the window, and whether it is live."""
        return self.but(search="", sort="", descending=True)


def _moment(name: str, query: Mapping[str, str]) -> datetime | None:
    text = query.get(name, "").strip()
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        # What a browser's field for date and time gives has no zone; the pages say that it is UTC.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{name} is a date and time such as 2026-11-26T14:30 (UTC) or 2026-11-26T15:30+01:00"
        ) from None


def _text(moment: datetime) -> str:
    unit = "seconds" if moment.second else "minutes"
    return moment.replace(tzinfo=None).isoformat(timespec=unit) + "Z"
