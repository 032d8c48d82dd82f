"""`purge` and the time of day: an age counts back from what both clocks call now, a date needs none."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from metrics_collector._redis.connection import RedisConnection
from tests.helpers.dashboard import Call, save
from tests.helpers.rows import saved

if TYPE_CHECKING:
    from tests.cli.conftest import Complaint, Output
    from tests.helpers.redis_server import RedisServer

DATABASE = Path("metrics.db")
DAY = 86400.0
BY_AGE = ["purge --yes --entries-older-than 30d", "purge --yes"]
REMEDY = "a date, such as --entries-older-than 2026-05-17, does without"


@pytest.fixture(autouse=True)
def calls(own_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is half a minute younger than 30 days, and one that is as much older."""
    due = time.time() - 30 * DAY
    asyncio.run(save([Call("app.f", due + 30), Call("app.f", due - 30)], DATABASE))
    monkeypatch.setenv("METRICS_RETENTION", "30")  # not before, as the embedded worker would purge


@pytest.fixture
def redis(shared_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", shared_server.url)


def let_it_be(ahead: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of Redis, by so many seconds later than by this machine's."""

    async def now(_: RedisConnection) -> float:
        return time.time() + ahead

    monkeypatch.setattr(RedisConnection, "time", now)


@pytest.mark.integration
@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("command", BY_AGE)
@pytest.mark.parametrize(("ahead", "left"), [(-59.0, 2), (0.0, 1), (59.0, 1)])
def test_of_two_clocks_the_one_that_is_behind_counts(
    command: str, ahead: float, left: int, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_it_be(ahead, monkeypatch)
    assert output(command).startswith(f"deleted {2 - left} entr")
    assert saved(DATABASE) == left


@pytest.mark.integration
@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("command", BY_AGE)
@pytest.mark.parametrize(("ahead", "said"), [(7200, "2:00:00 behind"), (-7200, "2:00:00 ahead of")])
def test_nothing_is_deleted_by_its_age_while_clocks_differ(
    command: str, ahead: float, said: str, complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_it_be(ahead, monkeypatch)
    found = complaint(command, status=1)
    assert found.startswith(f"the clock of this machine is {said} that of Redis; set right ")
    assert REMEDY in found
    assert saved(DATABASE) == 2


@pytest.mark.integration
def test_nor_where_redis_does_not_tell_its_time(
    redis_server: RedisServer, complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Redis.from_url(redis_server.url, protocol=2) as admin:
        admin.acl_setuser("default", enabled=True, commands=["-time"])
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    assert "allow +time in its ACL, " in complaint(BY_AGE[0], status=1)
    assert saved(DATABASE) == 2


@pytest.mark.parametrize("command", BY_AGE)
def test_nor_where_it_is_away_but_by_a_date(
    command: str, complaint: Complaint, output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    found = complaint(command, status=1)
    assert "cannot be used" in found
    assert REMEDY in found
    assert saved(DATABASE) == 2
    date = datetime.fromtimestamp(time.time() - 29 * DAY, UTC).isoformat()
    assert output(f"purge --yes --entries-older-than {date}").startswith("deleted 2 entries, ")
