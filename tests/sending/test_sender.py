"""The sender and a Redis that refuses, hangs, loses answers, is full, or forgets."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Self

import pytest

from metrics_collector import StoreUnavailableError
from metrics_collector._core.pipeline_types import PushReply
from metrics_collector._errors import IncompatibleStoreError
from metrics_collector._sending import sender
from metrics_collector._sending.batch import SLICE
from metrics_collector._sending.memory_limit import MemoryLimit
from metrics_collector._sending.outbox import BATCH, Outbox
from metrics_collector._sending.sender import (
    LONGEST_PAUSE,
    LOOK_EVERY,
    REQUEST_GRACE,
    Sender,
    keep_entries,
)
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.helpers.cancelling import at_each_await
from tests.helpers.jumping_loop import jumping

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from metrics_collector._recording.recorder import Record
    from metrics_collector._sending.batch import Batch


class Redis:
    """Takes batches as the script does; `fates` says what becomes of each push, "ok" when there is none.

    After its fate comes: "ok" the answer, "refused" an error and no effect, "lost" the effect and an error, "hangs"
    neither ever, "hangs late" the effect and nothing ever, "full" that answer.
    """

    def __init__(self) -> None:
        self.fates: deque[str] = deque()
        self.always: str | None = None
        self.taken: list[int] = []
        self.seen = 0
        self.saved = ""
        self.request_flush = False
        self.bad = 0
        self.sizes: list[int] = []
        self.looks = 0
        self.tries = 0
        self.stored_dropped = 0
        self._busy = False

    async def push(self, _producer: str, batch: Batch, need: int, /) -> PushReply:
        self.tries += 1
        return await self._alone(self._pushed(batch, need))

    async def store_dropped(self, _producer: str, count: int, /) -> None:
        self.stored_dropped = count

    async def look(self, _producer: str, /) -> PushReply:
        self.looks += 1
        return await self._alone(self._looked())

    async def _alone(self, answer: Coroutine[Any, Any, PushReply]) -> PushReply:
        assert not self._busy, "two commands at once"
        self._busy = True
        try:
            return await answer
        finally:
            self._busy = False

    async def _pushed(self, batch: Batch, need: int) -> PushReply:
        fate = self.always or (self.fates.popleft() if self.fates else "ok")
        await asyncio.sleep(0)
        if fate == "hangs":
            await asyncio.Event().wait()
        if fate == "refused":
            raise StoreUnavailableError("refused")
        if fate == "broken":
            raise ZeroDivisionError("a bug")
        if fate == "full":
            return self._reply("full")
        kind = "ok"
        if batch.last <= self.seen:
            kind = "skip"
        elif self.seen < need:
            kind = "gap"
        else:
            self.seen = batch.last
            self.taken += range(batch.first, batch.last + 1)
            self.sizes.append(len(batch))
        await asyncio.sleep(0)
        if fate == "hangs late":
            await asyncio.Event().wait()
        if fate == "lost":
            raise StoreUnavailableError("no answer came")
        return self._reply(kind)

    async def _looked(self) -> PushReply:
        await asyncio.sleep(0)
        if self.always == "hangs":
            await asyncio.Event().wait()
        if self.always == "refused":
            raise StoreUnavailableError("refused")
        return self._reply("look")

    def _reply(self, kind: str) -> PushReply:
        return PushReply(
            kind, self.seen, self.saved, request_flush=self.request_flush, bad=self.bad
        )


class Scene:
    """A sender and all that belongs to it; its clock is that of the loop."""

    def __init__(self, **options: Any) -> None:
        self.buffer: deque[Record] = deque()
        self.outbox = Outbox(self.buffer)
        self.redis = Redis()
        self.errors: list[str] = []
        self.flush_requests: list[str] = []
        self._running: asyncio.Task[None] | None = None
        self.sender = self.another(**options)

    def another(self, **options: Any) -> Sender:
        """Another sender for the same outbox and Redis."""
        log = RateLimitedLog(lambda: asyncio.get_running_loop().time())
        most = options.pop("max_buffered", 10_000)
        usual: dict[str, Any] = {
            "interval": 0.1,
            "memory_limit": MemoryLimit(self.outbox, most, log=log, failed=self.errors.append),
            "request_flush": self._request_flush,
            "log": log,
            "failed": self.errors.append,
        }
        return Sender(self.outbox, self.redis, **{**usual, **options})

    async def _request_flush(self) -> None:
        self.flush_requests.append("flush")

    def record(self, count: int) -> None:
        self.buffer.extend(("f", 0.0, 1.0, None) for _ in range(count))

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.sender.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        assert not self._running.done(), self._running
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    def assert_all_taken(self, count: int) -> None:
        """Every entry came, once, and in order."""
        assert self.redis.taken == list(range(1, count + 1))


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture(autouse=True)
def whole_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "metrics_collector")


def said(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [line for line in caplog.messages if part in line]


@pytest.mark.parametrize(
    ("options", "count", "sizes"), [({}, 4500, [2000, 2000, 500]), ({"batch": 7}, 20, [7, 7, 6])]
)
@jumping
async def test_send_brings_all_that_was_recorded_before_it(
    options: dict[str, int], count: int, sizes: list[int]
) -> None:
    scene = Scene(**options)
    scene.record(count)

    await scene.sender.send(5.0)

    scene.assert_all_taken(count)
    assert scene.redis.sizes == sizes
    assert scene.outbox.counts().sent == count


@jumping
async def test_send_does_not_wait_for_what_is_recorded_meanwhile(scene: Scene) -> None:
    scene.record(100)
    real = scene.redis.push

    async def push_and_record(*arguments: Any) -> PushReply:
        scene.record(1000)
        return await real(*arguments)

    scene.redis.push = push_and_record  # type: ignore[method-assign]  # the callers of a busy service
    await scene.sender.send(5.0)

    assert scene.redis.tries == 1
    scene.assert_all_taken(100)


@jumping
async def test_sends_at_the_same_time_take_turns(scene: Scene) -> None:
    async with scene:
        for _ in range(5):
            scene.record(300)
            async with asyncio.TaskGroup() as group:
                for _ in range(10):
                    group.create_task(scene.sender.send(5.0))

    scene.assert_all_taken(1500)


@jumping
async def test_the_loop_goes_on_between_slices(scene: Scene) -> None:
    scene.record(2000)
    turns = 0

    async def other_work() -> None:
        nonlocal turns
        while not scene.redis.tries:
            turns += 1
            await asyncio.sleep(0)

    await asyncio.gather(scene.sender.send(5.0), other_work())

    assert turns >= 2000 / SLICE - 1


@jumping
async def test_the_next_batch_is_made_while_redis_is_at_work() -> None:
    scene = Scene(batch=10)
    scene.record(30)
    waiting: list[int] = []
    push = scene.redis.push

    async def slow_push(producer: str, batch: Batch, need: int) -> PushReply:
        for _ in range(10):
            await asyncio.sleep(0)
        waiting.append(len(scene.buffer))
        return await push(producer, batch, need)

    scene.redis.push = slow_push  # type: ignore[method-assign]  # in its place, and slower
    await scene.sender.send(5.0)

    assert waiting == [10, 0, 0]
    scene.assert_all_taken(30)


@jumping
async def test_only_one_batch_is_made_ahead_however_long_redis_is_away() -> None:
    scene = Scene(batch=10)
    scene.redis.always = "refused"
    scene.record(100)
    async with scene:
        await asyncio.sleep(60)
        assert len(scene.buffer) == 80  # which may be dropped still, the oldest first
        scene.redis.always = None
        await asyncio.sleep(10)
    scene.assert_all_taken(100)


@jumping
async def test_a_cancel_leaves_nothing_on_its_way() -> None:
    for turns in range(8):
        scene = Scene(batch=10)
        scene.redis.always = "hangs"
        scene.record(1000)
        sending = asyncio.create_task(scene.sender.send(5.0))
        for _ in range(turns):
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}


@jumping
async def test_what_cannot_be_encoded_does_not_disturb_the_batch_on_its_way() -> None:
    scene = Scene(batch=10)
    scene.record(10)
    scene.buffer.append(("f", "no time", 1.0, None))  # type: ignore[arg-type]  # no time, by intent
    await scene.sender.send(5.0)
    scene.record(1)
    await scene.sender.send(5.0)

    scene.assert_all_taken(11)
    counts = scene.outbox.counts()
    assert (counts.sent, counts.dropped, counts.retried) == (11, 1, 0)
    (error,) = scene.errors
    assert "TypeError" in error


@jumping
async def test_what_is_recorded_is_sent_without_being_asked(scene: Scene) -> None:
    async with scene:
        for count in (1, 3000, 2):
            scene.record(count)
            await asyncio.sleep(1.0)

        scene.assert_all_taken(3003)


@jumping
async def test_a_lost_answer_leaves_no_copy(scene: Scene) -> None:
    scene.redis.fates.extend(["lost", "refused", "lost"])
    scene.record(10)

    await scene.sender.send(10.0)

    scene.assert_all_taken(10)
    assert scene.outbox.counts().retried == 30
    assert scene.errors == ["no answer came", "refused", "no answer came"]


@pytest.mark.parametrize("batch", [BATCH, SLICE - 1])
@jumping
async def test_cancelled_at_any_await_nothing_is_lost_or_doubled(batch: int) -> None:
    scene = Scene(batch=batch)
    recorded = 0

    async def send() -> None:
        scene.redis.fates.extend(["lost", "full", "ok", "refused"])
        await scene.sender.send(60.0)

    async def record_and_send() -> None:
        nonlocal recorded
        scene.record(2 * SLICE + 1)
        recorded += 2 * SLICE + 1
        await send()

    async for _ in at_each_await(record_and_send):
        scene.redis.fates.clear()
        counts = scene.outbox.counts()
        assert counts.recorded == counts.sent + counts.buffered == recorded
    await scene.sender.send(60.0)

    scene.assert_all_taken(recorded)


@pytest.mark.parametrize("fate", ["ok", "lost", "hangs", "hangs late"])
@jumping
async def test_stopped_at_any_moment_another_sender_goes_on(fate: str) -> None:
    for turns in range(25):
        scene = Scene(interval=0.001)
        scene.redis.fates.append(fate)
        scene.record(SLICE + 5)
        async with scene:
            for _ in range(turns):
                await asyncio.sleep(0)
                if turns > 12:
                    await asyncio.sleep(0.0002)
        scene.redis.fates.clear()
        await scene.another().send(60.0)
        scene.assert_all_taken(SLICE + 5)


@jumping
async def test_the_memory_limit_is_kept_while_redis_hangs(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(max_buffered=500)
    scene.redis.always = "hangs"
    async with scene:
        for _ in range(50):
            scene.record(100)
            await asyncio.sleep(0.15)
        counts = scene.outbox.counts()

    assert counts.recorded == 5000
    assert counts.buffered <= 500
    assert counts.recorded == counts.buffered + counts.dropped
    (line,) = said(caplog, "dropped the oldest")
    assert "the memory limit of 500" in line
    assert any("dropped" in error for error in scene.errors)


@jumping
async def test_what_was_dropped_is_reported() -> None:
    scene = Scene(max_buffered=500)
    scene.redis.always = "refused"
    async with scene:
        for _ in range(10):
            scene.record(100)
            await asyncio.sleep(0.15)
        scene.redis.always = None
        scene.record(1)
        await scene.sender.send(10.0)

    assert scene.redis.stored_dropped == scene.outbox.counts().dropped > 0


@jumping
async def test_the_memory_limit_is_kept_while_no_worker_saves() -> None:
    scene = Scene(max_buffered=500, batch=100)
    async with scene:
        for _ in range(50):
            scene.record(100)
            await asyncio.sleep(0.3)
        scene.assert_all_taken(5000)
        counts = scene.outbox.counts()
        kept = sum(map(len, scene.outbox._batches))

    assert (counts.sent, counts.dropped) == (5000, 0)
    assert kept <= 500


@jumping
async def test_what_redis_lost_is_sent_again_or_reported(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(max_buffered=100, batch=50)
    async with scene:
        for _ in range(4):
            scene.record(50)
            await asyncio.sleep(1.0)
        scene.redis.seen = 0
        scene.redis.taken.clear()
        await asyncio.sleep(2 * LOOK_EVERY)

    assert scene.redis.taken == list(range(101, 201))
    counts = scene.outbox.counts()
    assert (counts.sent, counts.dropped) == (100, 100)
    assert len(said(caplog, "Redis has lost 100 entries")) == 1
    assert "Redis lost 100 entries" in scene.errors


@pytest.mark.parametrize(
    ("fate", "message"),
    [
        ("refused", "not all entries could be sent within 5 s: refused"),
        ("hangs", "not all entries could be sent within 5 s: no answer"),
        ("full", "within 5 s: Redis holds as many unsaved entries as the backlog limit allows"),
    ],
)
@jumping
async def test_send_gives_up_in_time_and_keeps_all(scene: Scene, fate: str, message: str) -> None:
    scene.redis.always = fate
    scene.record(3)
    start = asyncio.get_running_loop().time()

    with pytest.raises(StoreUnavailableError, match=message):
        await scene.sender.send(5.0)

    assert 5.0 <= asyncio.get_running_loop().time() - start <= 5.5
    assert scene.outbox.counts().buffered == 3


@jumping
async def test_send_gives_up_in_time_when_others_wait_for_a_hanging_redis(scene: Scene) -> None:
    scene.redis.always = "hangs"
    scene.record(3)
    async with scene:
        await asyncio.sleep(1.0)  # the background's push hangs now
        results = await asyncio.gather(
            *(scene.sender.send(2.0) for _ in range(5)), return_exceptions=True
        )

    assert [str(result) for result in results] == [
        "not all entries could be sent within 2 s: no answer"
    ] * 5


@pytest.mark.parametrize(
    "error", [StoreUnavailableError("refused at once"), IncompatibleStoreError("too old")]
)
@jumping
async def test_send_raises_what_redis_raises_without_waiting(error: Exception) -> None:
    async def push(*_: object) -> PushReply:
        raise error

    scene = Scene()
    scene.redis.push = push  # type: ignore[method-assign]  # in its place
    scene.record(1)

    with pytest.raises(type(error), match=str(error)):
        await scene.sender.send(10.0)


@jumping
async def test_the_impatient_try_once(scene: Scene) -> None:
    scene.redis.always = "refused"
    scene.record(1)

    with pytest.raises(StoreUnavailableError, match=r"^refused$"):
        await scene.sender.send(5.0, patient=False)

    assert scene.redis.tries == 1


@jumping
async def test_trouble_is_logged_once_a_minute_and_its_end_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.redis.always = "refused"
    scene.record(5)
    async with scene:
        await asyncio.sleep(599.0)
        assert len(said(caplog, "refused; 5 entries wait in this process")) == 10
        assert 590 / LONGEST_PAUSE <= scene.redis.tries <= 620 / (LONGEST_PAUSE / 2)
        scene.redis.always = None
        await asyncio.sleep(LONGEST_PAUSE + 1)

        scene.assert_all_taken(5)
        await asyncio.sleep(60.0)
    assert len(said(caplog, "Redis takes entries again")) == 1
    assert len(said(caplog, "refused")) == 10


@jumping
async def test_after_a_short_trouble_it_is_tried_again_soon(scene: Scene) -> None:
    scene.redis.fates.append("refused")
    scene.record(1)
    async with scene:
        await asyncio.sleep(0.5)

        scene.assert_all_taken(1)


@pytest.mark.parametrize("fate", ["full", "broken"])
@jumping
async def test_the_sender_goes_on_whatever_comes(
    scene: Scene, fate: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene.redis.fates.extend([fate] * 3)
    async with scene:
        scene.record(5)
        await asyncio.sleep(10.0)
        scene.assert_all_taken(5)
    assert len(scene.errors) == 3
    assert len(said(caplog, "entries wait")) == 1
    expected = {"full": "backlog limit", "broken": "ZeroDivisionError('a bug')"}
    assert expected[fate] in caplog.text


@jumping
async def test_an_answer_that_makes_no_sense_does_not_end_the_sender(scene: Scene) -> None:
    async with scene:
        scene.redis.saved = "everything"
        scene.record(1)
        await asyncio.sleep(10.0)
        scene.redis.saved = ""
        scene.record(1)
        await asyncio.sleep(10.0)

        scene.assert_all_taken(2)


@jumping
async def test_redis_is_asked_for_news_while_something_is_kept(scene: Scene) -> None:
    async with scene:
        await asyncio.sleep(60.0)
        assert scene.redis.looks == 0
        scene.record(3)
        await asyncio.sleep(10 * LOOK_EVERY)
        assert 8 <= scene.redis.looks <= 10
        scene.redis.saved = "1-3"
        await asyncio.sleep(2 * LOOK_EVERY)
        looks = scene.redis.looks
        await asyncio.sleep(60.0)

        assert scene.redis.looks == looks
        assert scene.outbox.counts().saved == 3


@jumping
async def test_answers_to_pushes_are_news_enough(scene: Scene) -> None:
    async with scene:
        for _ in range(200):
            scene.record(1)
            await asyncio.sleep(0.3)

        assert scene.redis.looks == 0


@jumping
async def test_one_flush_request_at_a_time() -> None:
    started = 0
    over = asyncio.Event()

    async def request_flush() -> None:
        nonlocal started
        started += 1
        await over.wait()

    scene = Scene(request_flush=request_flush, batch=10)
    scene.redis.request_flush = True
    scene.record(100)
    await scene.sender.send(5.0)
    assert started == 1

    over.set()
    await scene.sender.aclose()
    scene.record(1)
    await scene.sender.send(5.0)
    await scene.sender.aclose()
    assert started == 2


@jumping
async def test_a_slow_flush_request_does_not_hold_up_the_sends() -> None:
    async def request_flush() -> None:
        await asyncio.sleep(3600.0)

    scene = Scene(request_flush=request_flush, batch=10)
    scene.redis.request_flush = True
    scene.record(100)
    start = asyncio.get_running_loop().time()

    await scene.sender.send(5.0)
    await scene.sender.aclose()

    scene.assert_all_taken(100)
    assert asyncio.get_running_loop().time() - start < 2 * REQUEST_GRACE
    assert asyncio.all_tasks() == {asyncio.current_task()}


@jumping
async def test_a_failed_flush_request_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def request_flush() -> None:
        raise OSError("no broker")

    scene = Scene(request_flush=request_flush, batch=10)
    scene.redis.request_flush = True
    for _ in range(5):
        scene.record(10)
        await scene.sender.send(5.0)
        await scene.sender.aclose()

    assert said(caplog, "cannot send a flush request") == [
        "cannot send a flush request; workers flush by their own timer: no broker"
    ]
    assert scene.errors == ["flush request: no broker"] * 5
    scene.assert_all_taken(50)


@jumping
async def test_uncounted_totals_are_logged(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.redis.bad = 2
    scene.record(1)

    await scene.sender.send(5.0)

    assert said(caplog, "2 keys app:metrics:") != []


# The last send


@jumping
async def test_finish_brings_what_is_left(scene: Scene) -> None:
    scene.redis.fates.append("lost")
    scene.sender.reached = True
    scene.record(10)

    await scene.sender.finish(2.0)

    scene.assert_all_taken(10)
    assert scene.redis.looks == 0


@jumping
async def test_finish_asks_once_whether_redis_still_has_it(scene: Scene) -> None:
    scene.record(10)
    await scene.sender.send(5.0)

    await scene.sender.finish(2.0)
    assert (scene.redis.tries, scene.redis.looks) == (1, 1)

    scene.redis.seen = 0
    scene.redis.taken.clear()
    await scene.sender.finish(2.0)
    scene.assert_all_taken(10)


@jumping
async def test_finish_says_nothing_where_nothing_is_kept(scene: Scene) -> None:
    scene.redis.always = "refused"

    await scene.sender.finish(2.0)

    assert (scene.redis.tries, scene.redis.looks) == (0, 0)


@pytest.mark.parametrize("fate", ["refused", "hangs"])
@jumping
async def test_finish_is_content_if_all_was_acknowledged(
    scene: Scene, fate: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene.record(10)
    await scene.sender.send(5.0)
    scene.redis.always = fate
    await scene.sender.finish(2.0)
    assert not caplog.messages


@pytest.mark.parametrize(("reached", "tries"), [(False, 1), (True, 5)])
@jumping
async def test_finish_is_patient_only_with_a_redis_that_was_there(
    scene: Scene, *, reached: bool, tries: int
) -> None:
    if reached:
        scene.record(1)
        await scene.sender.send(5.0)
        scene.redis.tries = 0
    scene.redis.always = "refused"
    scene.record(1)
    with pytest.raises(StoreUnavailableError):
        await scene.sender.finish(2.0)
    assert scene.redis.tries >= tries
    assert reached or scene.redis.tries == 1


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (StoreUnavailableError("wrong settings"), "wrong settings"),
        (ImportError("no redis"), "ImportError('no redis')"),
    ],
)
@jumping
async def test_where_there_is_nothing_to_send_to_entries_are_kept_within_the_memory_limit(
    cause: Exception, told: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sender, "USUAL_MAX_BUFFERED", 20)
    scene = Scene()
    log = RateLimitedLog(lambda: asyncio.get_running_loop().time())
    keeping = keep_entries(scene.outbox, cause, log=log, failed=scene.errors.append)
    holding = asyncio.create_task(keeping)
    await asyncio.sleep(0)
    assert scene.errors == [told]  # at once, for those who look
    for recorded in (10, 20, 30, 40, 50):
        scene.record(10)
        await asyncio.sleep(10.0)
        counts = scene.outbox.counts()
        assert counts.recorded == recorded
        assert counts.buffered <= 20
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    assert len(said(caplog, told)) == 1
