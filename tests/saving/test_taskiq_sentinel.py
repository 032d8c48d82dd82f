"""The broker and its results on a master that Sentinels name."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from taskiq import TaskiqResult

from metrics_collector._saving import taskiq
from metrics_collector._saving.taskiq.broker import FlushRequestBroker
from metrics_collector._saving.taskiq.result_backend import Results
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.helpers.fake_sentinel import FakeSentinel, view, watched_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.helpers.redis_server import RedisServer

pytestmark = pytest.mark.integration

NOWHERE = "redis+sentinel://:secret@[::1]:1,localhost:1/name"


async def test_they_follow_the_sentinels_to_another_master(
    start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    old, new = start_redis(), start_redis()
    told = FakeSentinel(old.port)
    async with watched_by(told) as url:
        broker = taskiq.make_broker(f"{url}/2", f"{url}/3", log=RateLimitedLog())
        assert isinstance(broker, FlushRequestBroker)
        results: Any = broker.result_backend
        done = TaskiqResult(is_err=False, return_value=7, execution_time=0.0)
        async with aclosing(broker.listen()) as messages:
            await taskiq.request_flush(broker)
            await anext(messages)
            await results.set_result("a", done)
            told.answer = view(new.port, epoch=2)
            with Redis.from_url(old.url) as admin:
                admin.replicaof("127.0.0.1", str(new.port))
            await taskiq.request_flush(broker)  # on a connection of its own
            await anext(messages)
            await results.set_result("b", done)  # which says that the old one is a replica
            await results.set_result("c", done)
            assert (await results.get_result("c")).return_value == 7
        await broker.shutdown()
    assert caplog.text.count("cannot") == 1  # a line a minute at most


async def test_away_they_say_so_without_a_secret() -> None:
    broker = FlushRequestBroker(NOWHERE, RateLimitedLog())
    with pytest.raises(Exception, match="none of its Sentinels answers") as caught:
        await taskiq.request_flush(broker)
    results = Results(NOWHERE, RateLimitedLog())
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r} {results.redis_pool!r}"
