"""Both kinds of session on a database, from outside of any loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from metrics_collector._errors import MetricsCollectorError, StoreUnavailableError
from metrics_collector._storage.sqlite import SQLiteStore
from tests.helpers.driving import drive
from tests.helpers.pipeline import NOON, foreign
from tests.storage.test_contract import TOKEN, save

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from metrics_collector._core.pipeline_types import Saved
    from metrics_collector._core.totals import Totals

T = TypeVar("T")


class Runner:
    """Runs coroutines on one kind of session."""

    def __init__(self, *, plain: bool) -> None:
        self.plain = plain

    def store(self, path: Path) -> SQLiteStore:
        """The database."""
        return SQLiteStore(str(path), plain=self.plain)

    def __call__(self, work: Coroutine[Any, Any, T]) -> T:
        return drive(work) if self.plain else asyncio.run(work)

    def save(
        self, path: Path, elements: Sequence[bytes], *, token: str = TOKEN, now: float = NOON
    ) -> Saved:
        """Save one claim in one chunk."""
        return self(save(self.store(path), elements, token=token, now=now))

    def refused_save(self, path: Path) -> str:
        """The message of the error that saving raises."""
        return refusal(lambda: self.save(path, [foreign()]), StoreUnavailableError)

    def read(self, path: Path) -> dict[str, Totals] | None:
        """The totals of all functions; `None` without a database."""

        async def work() -> dict[str, Totals] | None:
            async with self.store(path).reading() as database:
                if database is None:
                    return None
                found = await database.all_totals()
                return {name: numbered.totals for name, numbered in found.items()}

        return self(work())


def refusal(work: Callable[[], object], kind: type[MetricsCollectorError]) -> str:
    """The message of the error, which is to be one line."""
    with pytest.raises(kind) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message
    return message


def assert_no_threads() -> None:
    others = [t for t in threading.enumerate() if "connection_worker" in t.name]
    for thread in others:
        thread.join(5)  # it has said that it is done, and is about to end
    assert not any(thread.is_alive() for thread in others)
