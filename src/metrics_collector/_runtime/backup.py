"""A copy of the database, made while workers save."""

from __future__ import annotations

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._runtime import assembly
from metrics_collector._runtime.collector import collector
from metrics_collector._storage.reopening import reopening


@reopening
async def backup(file: str) -> int:
    """Write a copy of the database into an empty file, by its absolute path; its size in bytes.

    It is of one moment, has been checked, and is whole without a write-ahead log.

    Raises:
        ConfigurationError: a setting is wrong.
        StoreUnavailableError: there is no database, it cannot be read or is damaged, or the disk has no room.
        IncompatibleStoreError: it is too new, or not ours.
    """
    store = assembly.database(collector.settings())
    async with store.reading() as reader:
        if reader is None:
            raise StoreUnavailableError(f"there is no database at {store.label} yet")
        return await reader.copy(file)
