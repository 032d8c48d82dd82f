"""When another last send would be in vain."""

from __future__ import annotations

from collections import deque

import pytest

from metrics_collector._core.pipeline_types import PushReply
from metrics_collector._sending.last_send import RECENT, LastSend
from metrics_collector._sending.outbox import Outbox
from metrics_collector._support.rate_limited_log import RateLimitedLog


class Scene:
    def __init__(self) -> None:
        self.now = 100.0
        self.outbox = Outbox(deque(("f", 0.0, 1.0, None) for _ in range(4)))
        log = RateLimitedLog(lambda: self.now)
        self.last = LastSend(self.outbox, log, limit="the exit timeout", clock=lambda: self.now)

    def send(self, count: int) -> None:
        """Redis takes some of it."""
        self.outbox.fill(count)
        self.outbox.close_batch()
        following = self.outbox.next()
        assert following is not None
        batch, _ = following
        self.outbox.replied(PushReply("ok", batch.last, "", request_flush=False, bad=0), batch)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_after_one_that_failed_the_next_would_too_for_a_while(scene: Scene) -> None:
    assert not scene.last.just_failed()
    scene.last.ended(complete=False)
    assert scene.last.just_failed()
    scene.now += RECENT - 1
    assert scene.last.just_failed()
    scene.now += 1
    assert not scene.last.just_failed()


def test_it_is_worth_a_try_when_something_was_sent_meanwhile(scene: Scene) -> None:
    scene.send(1)
    scene.last.ended(complete=False)
    assert scene.last.just_failed()
    scene.send(1)
    assert not scene.last.just_failed()


def test_and_after_one_that_went_well(scene: Scene) -> None:
    scene.last.ended(complete=False)
    scene.last.ended(complete=True)
    assert not scene.last.just_failed()


def test_what_is_left_is_logged(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.last.ended(complete=True)
    assert not caplog.messages
    scene.last.ended(complete=False)
    assert caplog.messages == ["4 entries could not be sent within the exit timeout"]


def test_what_was_sent_is_lost_too_with_a_redis_in_the_process(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.send(3)
    scene.last.ended(complete=False, embedded=True)
    assert caplog.messages == ["4 entries could not be saved within the exit timeout"]


def test_if_all_was_sent_nothing_is_logged(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.send(4)
    scene.last.ended(complete=False)
    assert not caplog.messages
