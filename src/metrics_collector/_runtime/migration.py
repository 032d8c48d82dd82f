"""The move from the SQLite file to PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metrics_collector._errors import ConfigurationError
from metrics_collector._runtime import assembly
from metrics_collector._runtime.collector import collector

if TYPE_CHECKING:
    from collections.abc import Callable

    from metrics_collector._storage.move import Moved


async def migrate(report: Callable[[int, int], None]) -> Moved:
    """Move all that the file `DATABASE_NAME` has into the empty database `METRICS_DATABASE_URL`.

    It can be broken off anywhere and done again. Producers go on; workers that save into the file do until all is in
    the database, and then refuse it.

    Args:
        report: gets the number of entries that are copied, and of all.

    Raises:
        ConfigurationError: a setting is wrong, or METRICS_DATABASE_URL is not set.
        StoreUnavailableError: one of the two cannot be used, or the database has entries of its own.
        IncompatibleStoreError: one of the two is too new, or not ours.
    """
    settings = collector.settings()
    if settings.database_url is None:
        raise ConfigurationError(
            "METRICS_DATABASE_URL is not set: it names the database into which the file DATABASE_NAME is moved"
        )
    return await assembly.move(settings.database_name, settings.database_url, report)
