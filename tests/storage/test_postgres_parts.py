"""Parts of the store for which a server would have to be in a rare state, or another process to look on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._storage.postgres import state
from metrics_collector._storage.postgres.connection import Connection
from metrics_collector._storage.reopening import ClosedByForkError

if TYPE_CHECKING:
    from collections.abc import Generator


def answered(steps: Generator[Any, list[Any], Any], *answers: tuple[Any, ...]) -> Any:
    """What steps return whose statements get these rows."""
    next(steps)
    try:
        for answer in answers:
            steps.send([answer])
    except StopIteration as end:
        return end.value
    raise AssertionError("it asked for more")


def test_what_a_server_may_lose() -> None:
    assert "set fsync = on" in answered(state.warning(), ("off", "on"))
    assert "none of them is synchronous" in answered(state.warning(), ("on", "on"), (1, ""))
    assert answered(state.warning(), ("on", "on"), (1, "*")) is None
    assert answered(state.warning(), ("on", "on"), (0, "")) is None


def test_a_standby_cannot_be_written() -> None:
    standby = (True, "me", "metrics", True, True, "me", True)
    assert "read-only standby" in answered(state.refusal(), standby)


def test_what_a_child_has_of_its_parents_connection(postgres_url: str) -> None:
    connection = Connection(postgres_url, "the database", patience=10.0)
    connection.open()
    assert connection.execute("SELECT 1") == [(1,)]
    connection.leave_to_parent()
    connection._pid += 1
    with pytest.raises(ClosedByForkError):
        connection.execute("SELECT 1")
    connection._pid -= 1
    connection.close()
    with pytest.raises(StoreUnavailableError, match="was closed"):
        connection.execute("SELECT 1")


def test_what_a_commit_waits_for() -> None:
    answers = (9,), ("15.1 (Debian)", "off"), (1, "*"), (4, 5.0, 0, "id")
    found = answered(state.extent(), *answers)
    assert found["server"] == "PostgreSQL 15.1, synchronous_commit = on, 1 standby"
