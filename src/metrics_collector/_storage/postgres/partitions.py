"""The entries of a day (UTC) lie in a table of their own, so that a whole day can be dropped."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.rollup_ranges import SECONDS, floor
from metrics_collector._errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psycopg

    from metrics_collector._storage.postgres.connection import Connection

OTHERS: Final = "metrics_default"
"""The table of entries whose day has none."""

_DAY: Final = SECONDS["day"]
# Days around now that get tables. What clocks say that are wrong by more goes into `metrics_default`.
_BEFORE: Final = 400
_AHEAD: Final = 2
_COUNTING: Final = 600.0  # seconds that it may take to count a day's entries
LOCK_TIMEOUT: Final = "3s"
_REST: Final = 600.0  # seconds after which a table that could not be made is tried again
_BROKEN: Final = ("08", "57P")  # how the SQLSTATE of a lost connection begins
_PREFIX: Final = "metrics_2"  # of the years 2000 to 2999

# Until when a table is not tried again: URL without secrets and day → of the monotonic clock.
_not_before: dict[tuple[str, int], float] = {}


def known(connection: Connection) -> dict[int, str]:
    """The tables that there are: the beginning of the day (UTC epoch seconds) → name."""
    rows = connection.execute(
        "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'metrics_collector.metrics'::regclass AND starts_with(c.relname::text, ?)",
        (_PREFIX,),
    )
    return {_day(name): name for (name,) in rows}


def make(connection: Connection, days: Iterable[int], now: float) -> None:
    """Make tables for some days, and for the next ones from now; outside any transaction.

    One that cannot be made now (somebody reads for long, or `metrics_default` has entries of that day) is not needed:
    its entries go into `metrics_default`. It is not tried again at once, as others wait for each attempt.
    """
    today = floor(now, "day")
    wanted = {today + ahead * _DAY for ahead in range(_AHEAD + 1)}
    wanted |= {day for day in days if today - _BEFORE * _DAY <= day <= max(wanted)}
    for day in sorted(wanted - known(connection).keys()):
        key, tried = (connection.label, day), time.monotonic()
        if tried < _not_before.get(key, -math.inf):
            continue
        try:
            connection.use(partial(_make, day=day))
        except StoreUnavailableError as error:
            # A connection that broke is no refusal: without a table now, its day could not get one later.
            state = getattr(error.__cause__, "sqlstate", None)
            if state is None or state.startswith(_BROKEN):
                raise
            _not_before[key] = tried + _REST


def drop(connection: Connection, name: str) -> tuple[int, int]:
    """Drop a table of a day: how many entries it had, and bytes; none of both while somebody reads for long.

    Entries that come into it while they are counted are not.
    """

    def work(driver: psycopg.Connection[Any]) -> tuple[int, int]:
        with driver.transaction():
            driver.execute("SET LOCAL search_path TO metrics_collector")
            # Less than the second after which the server looks for a deadlock, which it may end by breaking off a save.
            driver.execute("SET LOCAL lock_timeout TO '500ms'")
            # One purge at a time: two that have counted would wait for each other, and all for both of them.
            driver.execute(f"LOCK TABLE {name} IN SHARE UPDATE EXCLUSIVE MODE")
            found: Any = driver.execute(
                f"SELECT (SELECT count(*) FROM {name}), pg_total_relation_size('{name}')"
            ).fetchone()
            driver.execute(f"DROP TABLE {name}")
        return int(found[0]), int(found[1])

    with suppress(StoreUnavailableError):
        return connection.use(work, patience=_COUNTING)
    return 0, 0


def _make(driver: psycopg.Connection[Any], day: int) -> None:
    name = _name(day)
    with driver.transaction():
        driver.execute("SET LOCAL search_path TO metrics_collector")
        driver.execute(f"SET LOCAL lock_timeout TO '{LOCK_TIMEOUT}'")
        # Else a save that has begun would put entries of that day into `metrics_default`, which takes none of them now.
        driver.execute("SELECT FROM meta WHERE shard = 0 FOR UPDATE")
        # Whoever comes later waits behind this, and while it looks through `metrics_default`.
        driver.execute("SET LOCAL lock_timeout TO '1s'; SET LOCAL statement_timeout TO '3s'")
        driver.execute(f"CREATE TABLE {name} (LIKE metrics INCLUDING DEFAULTS)")
        driver.execute(
            f"ALTER TABLE metrics ATTACH PARTITION {name} FOR VALUES FROM ({day}) TO ({day + _DAY})"
        )


def _name(day: int) -> str:
    return f"metrics_{datetime.fromtimestamp(day, UTC):%Y%m%d}"


def _day(name: str) -> int:
    moment = datetime.strptime(name.removeprefix("metrics_"), "%Y%m%d").replace(tzinfo=UTC)
    return int(moment.timestamp())
