"""The file that `demo` saves in: fresh each time, and never anybody else's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from metrics_collector._errors import (
    ConfigurationError,
    MetricsCollectorError,
    StoreUnavailableError,
)
from metrics_collector._reading.asking import functions_in
from metrics_collector.cli._shop import PREFIX

if TYPE_CHECKING:
    from metrics_collector._storage.base import Store

PATH: Final = Path("metrics-demo.db")


def renew(store: Store) -> None:
    """Delete what an earlier demo has left at `PATH`, and make the file anew.

    Raises:
        ConfigurationError: what is there is no demo's.
        StoreUnavailableError: it cannot be deleted or made.
    """
    if PATH.exists():
        _delete(store)
    try:
        asyncio.run(_make(store))
    except StoreUnavailableError as error:
        raise StoreUnavailableError(
            f"no database can be made in {Path.cwd()}; start the demo in a folder that this user may write to"
        ) from error


async def _make(store: Store) -> None:
    async with store.writing():
        pass


def _delete(store: Store) -> None:
    if not asyncio.run(_is_a_demo(store)):
        raise ConfigurationError(
            f"{PATH.absolute()} holds something else than an earlier demo; move it, or start the demo in another folder"
        )
    try:
        for path in (PATH, Path(f"{PATH}-wal"), Path(f"{PATH}-shm")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreUnavailableError(
            f"{PATH.absolute()}, of an earlier demo, cannot be deleted: {error.strerror}"
        ) from error


async def _is_a_demo(store: Store) -> bool:
    """Whether it is a store of ours that knows no functions but the demo's."""
    try:
        names = await functions_in(store)
    except MetricsCollectorError:
        return False
    return names is not None and all(name.startswith(PREFIX) for name in names)
