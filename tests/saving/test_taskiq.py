"""The broker: its stream, its task and its scheduler, on fakeredis and on other brokers."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import threading
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from taskiq import (
    AckableMessage,
    AsyncBroker,
    BrokerMessage,
    InMemoryBroker,
    ScheduledTask,
    TaskiqResult,
)
from taskiq.exceptions import NoResultError, SendTaskError
from taskiq.kicker import AsyncKicker
from taskiq.schedule_sources import LabelScheduleSource
from typing_extensions import override

from metrics_collector._errors import ConfigurationError, StoreUnavailableError
from metrics_collector._saving import taskiq
from metrics_collector._saving.taskiq import broker as broker_module
from metrics_collector._saving.taskiq import scheduler as scheduler_module
from metrics_collector._saving.taskiq import stream, tasks
from metrics_collector._saving.taskiq.result_backend import Results
from metrics_collector._saving.taskiq.shared import PURGE_NAME, TASK_NAME
from metrics_collector._saving.taskiq.stream import GROUP, STREAM
from metrics_collector._support.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from redis.asyncio import Redis

NOWHERE = "redis://:secret@127.0.0.1:1/0"


class FlakyServer(FakeServer):
    """A Redis that is away for as many tries as `absences` says."""

    absences = 0

    @property
    def connected(self) -> bool:
        if self.absences:
            self.absences -= 1
            return False
        return True

    @connected.setter
    def connected(self, value: bool) -> None:
        assert value


class PatientRedis(FakeAsyncRedis):
    """Waits at least a little for a request, where fakeredis does not: it blocks only without COUNT."""

    @override
    async def xreadgroup(self, *args: Any, **options: Any) -> Any:
        reply = await super().xreadgroup(*args, **options)
        if not reply:
            await asyncio.sleep(0.001)
        return reply


class FakeBroker(taskiq.FlushRequestBroker):
    """The broker on a Redis in this process."""

    def __init__(self, server: FlakyServer) -> None:
        super().__init__(NOWHERE, RateLimitedLog())
        self.server = server

    @override
    def connect(self) -> Redis:
        return PatientRedis(server=self.server)


class Recorder(AsyncBroker):
    """A user's own broker: takes messages, or fails as it is told to."""

    def __init__(self, failures: int = 0, *, hangs: bool = False, in_worker: bool = False) -> None:
        super().__init__()
        self.is_worker_process = in_worker
        self.messages: list[BrokerMessage] = []
        self.failures = failures
        self.hangs = hangs

    @override
    async def kick(self, message: BrokerMessage) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("out of order")
        if self.hangs:
            await asyncio.Event().wait()
        self.messages.append(message)

    @override
    async def listen(self) -> AsyncGenerator[bytes, None]:
        for message in self.messages:
            yield message.message


class Saver:
    """A worker that notes what happens to it; a flush waits for `go`."""

    made: list[Saver]

    def __init__(self) -> None:
        self.made.append(self)
        self.events: list[str] = []
        self.flushes = 0
        self.flushing = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()
        self.closing: Callable[[], Awaitable[None]] | None = None
        self._flush: asyncio.Task[Any] | None = None

    async def start(self) -> None:
        self.events.append("start")

    async def flush(self) -> int:
        self.flushes += 1
        number = self.flushes
        self._flush = asyncio.current_task()
        self.flushing.set()
        await self.go.wait()
        return number

    async def cancel_flush(self) -> None:
        assert self._flush is not None
        self._flush.cancel()

    def begin_purge(self) -> None:
        self.events.append("purge")

    async def aclose(self) -> None:
        self.events.append("close")
        if self.closing is not None:
            await self.closing()


@pytest.fixture(autouse=True)
def workers(monkeypatch: pytest.MonkeyPatch) -> list[Saver]:
    """All workers made in this test."""
    made: list[Saver] = []
    monkeypatch.setattr(Saver, "made", made, raising=False)
    return made


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker(FlakyServer())


def register(broker: AsyncBroker, every: Callable[[], int] | int = 60) -> taskiq.FlushTask:
    return taskiq.register(broker, make_worker=Saver, every=every, log=RateLimitedLog())


@asynccontextmanager
async def listening(
    broker: taskiq.FlushRequestBroker,
) -> AsyncGenerator[Callable[[], Awaitable[Any]], None]:
    """A way to take the next message."""
    async with aclosing(broker.listen()) as messages:
        yield messages.__anext__
    await broker.shutdown()


@pytest.fixture
async def in_memory() -> AsyncGenerator[InMemoryBroker, None]:
    broker = InMemoryBroker()
    yield broker
    await broker.shutdown()


@pytest.fixture
async def flush_metrics(in_memory: InMemoryBroker) -> taskiq.FlushTask:
    """The task on a broker that has started."""
    task = register(in_memory)
    await in_memory.startup()
    return task


async def acknowledge(message: AckableMessage) -> None:
    acknowledged = message.ack()
    assert acknowledged is not None
    await acknowledged


async def answer_one(broker: FakeBroker) -> None:
    async with listening(broker) as following:
        await acknowledge(await following())


async def pending(broker: FakeBroker) -> int:
    async with broker.connect() as redis:
        summary: Any = await redis.xpending(STREAM, GROUP)
    return int(summary["pending"])


async def consumers(broker: FakeBroker) -> list[str]:
    async with broker.connect() as redis:
        return [c["name"].decode() for c in await redis.xinfo_consumers(STREAM, GROUP)]


async def take_and_die(broker: FakeBroker, name: str, *, ago: float) -> None:
    async with broker.connect() as redis:
        await redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        reply: Any = await redis.xreadgroup(GROUP, name, {STREAM: ">"})
        ((_, requests),) = reply
        ids = [request_id for request_id, _ in requests]
        await redis.xclaim(STREAM, GROUP, name, 0, ids, idle=int(ago * 1000))


# The brokers


def test_a_memory_url_gives_the_in_memory_broker() -> None:
    assert isinstance(
        taskiq.make_broker("memory://", NOWHERE, log=RateLimitedLog()), InMemoryBroker
    )


def test_results_go_where_they_should_or_are_not_kept() -> None:
    kept, forgotten = (
        taskiq.make_broker(NOWHERE, url, log=RateLimitedLog()).result_backend
        for url in ("redis://elsewhere:1/3", "memory://")
    )
    assert isinstance(kept, Results)
    assert kept.redis_pool.connection_kwargs["host"] == "elsewhere"
    assert not isinstance(forgotten, Results)


async def test_a_result_that_cannot_be_kept_is_reported_and_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    result = TaskiqResult[int](is_err=False, return_value=1, execution_time=0.1)
    await Results(NOWHERE, RateLimitedLog()).set_result("some-id", result)
    (record,) = caplog.records
    assert record.getMessage().startswith("cannot keep the result of a flush; the flush itself ")
    assert "secret" not in record.getMessage()


async def test_options_in_the_url_do_not_break_the_reading() -> None:
    url = "redis://elsewhere:1/3?decode_responses=yes&socket_timeout=0.1&max_connections=1"
    async with taskiq.FlushRequestBroker(url, RateLimitedLog()).connect() as redis:
        options = redis.connection_pool.connection_kwargs
    assert options["host"] == "elsewhere"
    assert options["db"] == 3
    assert not options["decode_responses"]
    assert options["socket_timeout"] > broker_module.BLOCK
    assert redis.connection_pool.max_connections > 1


async def test_the_stream_takes_no_other_tasks(broker: FakeBroker) -> None:
    @broker.task("somebody:else")
    async def other() -> None: ...

    with pytest.raises(SendTaskError) as caught:
        await other.kiq()
    assert isinstance(caught.value.__cause__, ConfigurationError)
    assert "somebody:else" in str(caught.value.__cause__)


# Listening


async def test_requests_that_wait_together_are_one_message(broker: FakeBroker) -> None:
    for _ in range(3):
        await taskiq.request_flush(broker)
    async with listening(broker) as following:
        message = await following()
        assert await pending(broker) == 3
        await acknowledge(message)
        assert await pending(broker) == 0
        await taskiq.request_flush(broker)
        await acknowledge(await following())
    assert await consumers(broker) == []


async def test_each_task_is_a_message_of_its_own(broker: FakeBroker) -> None:
    for name in (PURGE_NAME, TASK_NAME, PURGE_NAME, TASK_NAME):
        await AsyncKicker(name, broker, {}).kiq()
    async with listening(broker) as following:
        first, second = await following(), await following()
        names = [broker.formatter.loads(m.data).task_name for m in (first, second)]
        assert names == [TASK_NAME, PURGE_NAME]
        assert await pending(broker) == 2  # purges are not requested again when their worker dies
        assert second.ack() is None
        await acknowledge(first)
        assert await pending(broker) == 0


async def test_a_request_is_read_while_a_read_waits(broker: FakeBroker) -> None:
    async with listening(broker) as following:
        waiting = asyncio.ensure_future(following())
        await asyncio.sleep(0)
        await taskiq.request_flush(broker)
        await acknowledge(await waiting)


async def test_an_unanswered_request_keeps_its_consumer(broker: FakeBroker) -> None:
    await taskiq.request_flush(broker)
    async with listening(broker) as following:
        await following()
    assert await pending(broker) == 1
    assert len(await consumers(broker)) == 1


def request_of(**changes: Any) -> bytes:
    usual = {"task_id": "1", "task_name": TASK_NAME, "labels": {}, "args": [], "kwargs": {}}
    return json.dumps(usual | changes).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {b"other": b"field"},
        {b"data": b""},
        {b"data": b"\xff\x00 no JSON"},
        {b"data": b"[1, 2]"},
        {b"data": request_of(task_name="a:b")},
        {b"data": request_of(args=[1])},
        {b"data": request_of(labels={"a": "b"}, labels_types={"a": 2})},
    ],
)
async def test_what_is_no_request_is_skipped_and_reported_once(
    broker: FakeBroker, fields: dict[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with broker.connect() as redis, listening(broker) as following:
        await redis.xadd(STREAM, fields)
        waiting = asyncio.ensure_future(following())
        while not caplog.messages:
            await asyncio.sleep(0.001)
        await redis.xadd(STREAM, fields)
        await taskiq.request_flush(broker)
        await acknowledge(await waiting)
        assert await pending(broker) == 0
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("metrics_collector", "WARNING")


async def test_a_request_that_a_dead_worker_took_is_sent_again(broker: FakeBroker) -> None:
    await taskiq.request_flush(broker)
    await take_and_die(broker, "dead", ago=121)
    await answer_one(broker)
    assert await pending(broker) == 0


async def test_a_request_that_a_living_worker_answers_is_left_to_it(broker: FakeBroker) -> None:
    await taskiq.request_flush(broker)
    await take_and_die(broker, "busy", ago=60)
    await taskiq.request_flush(broker)
    await answer_one(broker)
    assert await pending(broker) == 1


async def test_consumers_of_dead_workers_are_forgotten_unless_they_hold_requests(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "FORGOTTEN_AFTER", -1.0)
    await taskiq.request_flush(broker)
    await take_and_die(broker, "holds one", ago=60)
    async with broker.connect() as redis:
        await redis.xgroup_createconsumer(STREAM, GROUP, "gone")
    await taskiq.request_flush(broker)
    await answer_one(broker)
    assert await consumers(broker) == ["holds one"]


async def test_an_emptied_redis_is_read_again(broker: FakeBroker) -> None:
    async with listening(broker) as following:
        for _ in range(3):
            async with broker.connect() as redis:
                await redis.flushall()
            await taskiq.request_flush(broker)
            await acknowledge(await following())


async def test_an_absence_of_redis_is_survived_with_one_line(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(broker_module, "LONGEST_PAUSE", 0.05)
    await taskiq.request_flush(broker)
    broker.server.absences = 10
    await answer_one(broker)
    assert broker.server.absences == 0
    (line,) = caplog.messages
    assert line.startswith("cannot read flush requests from Redis; retrying: ConnectionError")


async def test_an_acknowledgement_that_fails_does_no_harm(
    broker: FakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    await taskiq.request_flush(broker)
    async with listening(broker) as following:
        message = await following()
        broker.server.absences = 1
        await acknowledge(message)
    said = "cannot acknowledge flush requests; they are answered again: ConnectionError"
    assert caplog.messages[0].startswith(said)


async def test_a_request_lost_with_its_connection_is_sent_again(broker: FakeBroker) -> None:
    await taskiq.request_flush(broker)
    async with listening(broker) as following:
        answered = await following()
        async with broker.connect() as redis:
            # Taken in this worker's name, and the reply never came.
            (name,) = await consumers(broker)
            await redis.xadd(STREAM, {b"data": b""})
            await redis.xreadgroup(GROUP, name, {STREAM: ">"})
        broker.server.absences = 1
        await acknowledge(await following())
        assert await pending(broker) == 1
        await acknowledge(answered)
    assert await pending(broker) == 0


async def test_a_cancellation_that_the_driver_loses_still_ends_the_listening(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = asyncio.Event()

    async def read(_self: stream.Stream, _block: float) -> list[stream.StreamEntry]:
        reading.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return []

    monkeypatch.setattr(stream.Stream, "read", read)
    async with listening(broker) as following:
        waiting = asyncio.ensure_future(following())
        await reading.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_signal_is_heard_while_redis_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "READ_TIMEOUT", None)
    ending = asyncio.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: ending.set())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        async with listening(taskiq.FlushRequestBroker(url, RateLimitedLog())) as following:
            waiting = asyncio.ensure_future(following())
            # From outside, as Taskiq's manager does it, and when the loop waits for its sockets.
            threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGUSR1]).start()
            await ending.wait()
            waiting.cancel()
            await asyncio.wait([waiting])
    signal.signal(signal.SIGUSR1, before)


async def test_starting_needs_no_redis() -> None:
    broker = taskiq.make_broker(NOWHERE, NOWHERE, log=RateLimitedLog())
    broker.is_worker_process = True
    await broker.startup()
    await broker.shutdown()


# The task


async def test_registering_twice_changes_nothing() -> None:
    broker = Recorder(in_worker=True)
    assert register(broker) is register(broker)
    await broker.startup()
    await broker.shutdown()
    assert [worker.events for worker in Saver.made] == [["start", "close"]]


async def test_no_worker_lives_where_only_requests_are_sent() -> None:
    broker = Recorder()
    register(broker)
    await broker.startup()
    await taskiq.request_flush(broker)
    await broker.shutdown()
    assert Saver.made == []


async def test_the_in_memory_broker_answers_its_own_requests(
    in_memory: InMemoryBroker, workers: list[Saver]
) -> None:
    flush_metrics = register(in_memory)
    answers = [
        await (await flush_metrics.kiq()).wait_result(check_interval=0.001) for _ in range(2)
    ]
    assert [answer.return_value for answer in answers] == [1, 2]
    await in_memory.shutdown()
    assert [worker.events for worker in workers] == [["start", "close"]]


def test_each_loop_has_a_worker_of_its_own(workers: list[Saver]) -> None:
    flush_metrics = register(InMemoryBroker())

    async def flush() -> int:
        return await flush_metrics()

    assert [asyncio.run(flush()), asyncio.run(flush())] == [1, 1]
    assert len(workers) == 2


async def test_one_flush_runs_and_one_waits_for_any_number_of_requests(
    flush_metrics: taskiq.FlushTask, workers: list[Saver]
) -> None:
    (worker,) = workers
    worker.go.clear()
    requests = [asyncio.ensure_future(flush_metrics()) for _ in range(5)]
    done, _ = await asyncio.wait(requests[2:])
    assert [request.result() for request in done] == [0, 0, 0]
    worker.go.set()
    assert [await request for request in requests[:2]] == [1, 2]
    assert await flush_metrics() == 3


async def test_a_cancelled_request_does_not_hold_up_the_next(
    flush_metrics: taskiq.FlushTask, workers: list[Saver]
) -> None:
    workers[0].go.clear()
    running, waiting = (asyncio.ensure_future(flush_metrics()) for _ in range(2))
    await workers[0].flushing.wait()
    for request in running, waiting:
        request.cancel()
    await asyncio.wait([running, waiting])
    workers[0].go.set()
    assert await flush_metrics() == 2


async def test_a_flush_that_the_closing_worker_cancels_is_no_error(
    in_memory: InMemoryBroker,
    flush_metrics: taskiq.FlushTask,
    workers: list[Saver],
    caplog: pytest.LogCaptureFixture,
) -> None:
    workers[0].go.clear()
    request = await flush_metrics.kiq()
    await workers[0].flushing.wait()
    workers[0].closing = workers[0].cancel_flush
    await in_memory.shutdown()
    result = await request.wait_result(timeout=60)
    assert (result.is_err, result.return_value) == (False, 0)
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


async def test_what_still_waits_after_the_shutdown_starts_no_other_worker(
    in_memory: InMemoryBroker,
    flush_metrics: taskiq.FlushTask,
    workers: list[Saver],
    caplog: pytest.LogCaptureFixture,
) -> None:
    workers[0].go.clear()
    running, waiting = (asyncio.ensure_future(flush_metrics()) for _ in range(2))
    await workers[0].flushing.wait()
    await in_memory.shutdown()
    late = asyncio.ensure_future(flush_metrics())
    workers[0].go.set()
    await AsyncKicker(PURGE_NAME, in_memory, {}).kiq()
    assert [await flush for flush in (running, waiting, late)] == [1, 0, 0]
    await in_memory.wait_all()
    assert caplog.messages == []
    assert [worker.events for worker in workers] == [["start", "close"]]
    await in_memory.startup()
    assert await flush_metrics() == 1
    await in_memory.shutdown()
    assert [worker.events for worker in workers] == [["start", "close"]] * 2


async def test_a_worker_that_cannot_start_keeps_the_process_from_starting() -> None:
    def broken() -> taskiq.TaskWorker:
        raise ConfigurationError("MAX_ITEMS is 0")

    broker = Recorder(in_worker=True)
    taskiq.register(broker, make_worker=broken, every=1, log=RateLimitedLog())
    with pytest.raises(ConfigurationError, match="MAX_ITEMS is 0"):
        await broker.startup()


async def test_a_flush_is_cut_short_when_the_process_has_to_end(
    broker: FakeBroker, workers: list[Saver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "FLUSH_GRACE", 0.0)
    flush_metrics = register(broker)
    broker.is_worker_process = True
    await broker.startup()
    workers[0].go.clear()
    async with listening(broker) as following:
        reading = asyncio.ensure_future(following())
        flushing = [asyncio.ensure_future(flush_metrics()) for _ in range(2)]
        await workers[0].flushing.wait()
        reading.cancel()
        for flush in flushing:
            with pytest.raises(NoResultError):
                await flush
    assert workers[0].flushes == 1
    assert workers[0].events == ["start", "close"]


async def hangs() -> None:
    await asyncio.Event().wait()


async def breaks() -> None:
    raise RuntimeError("torn")


@pytest.mark.parametrize("closing", [hangs, breaks])
async def test_a_worker_that_does_not_close_holds_up_nobody(
    closing: Callable[[], Awaitable[None]],
    workers: list[Saver],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tasks, "CLOSE_TIMEOUT", 0.01)
    broker = Recorder(in_worker=True)
    register(broker)
    await broker.startup()
    workers[0].closing = closing
    await broker.shutdown()
    (line,) = caplog.messages
    assert line.startswith("the worker did not close as it should")


# Requests


async def test_a_request_carries_the_labels_of_its_task_and_no_data() -> None:
    broker = Recorder()
    register(broker).labels["queue_name"] = "mine"
    await taskiq.request_flush(broker)
    (message,) = broker.messages
    assert message.task_name == "metrics_collector.tasks:flush_metrics"
    assert message.labels == {"queue_name": "mine"}
    assert broker.formatter.loads(message.message).args == []


@pytest.mark.parametrize("broker", [Recorder(failures=1), Recorder(hangs=True)])
async def test_a_request_that_is_not_taken_raises_one_error(
    broker: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "KICK_TIMEOUT", 0.01)
    with pytest.raises(StoreUnavailableError, match=r"OSError: out of order|TimeoutError"):
        await taskiq.request_flush(broker)


async def test_a_failed_request_does_not_tell_the_password() -> None:
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1") as caught:
        await taskiq.request_flush(taskiq.FlushRequestBroker(NOWHERE, RateLimitedLog()))
    assert "secret" not in str(caught.value)


async def test_a_purge_begins_beside_a_flush(workers: list[Saver]) -> None:
    broker = InMemoryBroker(await_inplace=True)
    flush_metrics = register(broker)
    await broker.startup()
    await flush_metrics.kiq()
    await AsyncKicker(PURGE_NAME, broker, {}).kiq()
    await broker.shutdown()
    assert workers[0].events == ["start", "purge", "close"]
    assert workers[0].flushes == 1


# The scheduler


async def test_the_interval_is_read_when_a_scheduler_starts() -> None:
    intervals = [3]
    broker = Recorder()
    register(broker, every=lambda: intervals[0])
    source = LabelScheduleSource(broker)
    intervals[0] = 7
    await source.startup()
    schedules = {one.task_name: one for one in await source.get_schedules()}
    every = {name: one.interval for name, one in schedules.items()}
    assert every == {TASK_NAME: 7, PURGE_NAME: tasks.PURGE_EVERY}
    assert all(one.labels == {} for one in schedules.values())


class Scheduler(taskiq.FlushScheduler):
    """A scheduler with a clock that stands, and all that it needs to send its one schedule."""

    def __init__(self, broker: AsyncBroker) -> None:
        self.beats = 0
        self.beaten = asyncio.Event()
        self.now = 1000.0
        register(broker, every=60)
        super().__init__(broker, beat=self.beat, log=RateLimitedLog(), clock=lambda: self.now)

    async def beat(self) -> None:
        self.beats += 1
        self.beaten.set()
        if self.beats == 1:
            raise OSError("no pulse")

    async def send(self, task: ScheduledTask | None = None) -> None:
        (source,) = self.sources
        if task is None:
            await source.startup()
            schedules = await source.get_schedules()
            task = next(one for one in schedules if one.task_name == TASK_NAME)
        await self.on_ready(source, task)


@pytest.fixture(autouse=True)
def _quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "BEAT_EVERY", 0.001)


async def test_the_scheduler_sends_until_it_is_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scheduler_module, "FIRST_PAUSE", 0.0)
    broker = Recorder(failures=5)
    await Scheduler(broker).send()
    assert len(broker.messages) == 1
    assert caplog.messages == ["cannot send a flush request; retrying: OSError: out of order"]


async def test_other_tasks_are_sent_once() -> None:
    broker = Recorder(failures=1)
    task: dict[str, Any] = {"task_name": "a:b", "labels": {}, "args": [], "kwargs": {}}
    with pytest.raises(SendTaskError):
        await Scheduler(broker).send(ScheduledTask(**task, schedule_id="other", interval=1))


async def test_the_scheduler_beats_while_requests_are_sent_in_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scheduler = Scheduler(Recorder())
    await scheduler.startup()
    await asyncio.sleep(0.01)
    assert scheduler.beats == 0

    await scheduler.send()
    scheduler.now += 60 + scheduler_module.LATE_AFTER - 1
    await scheduler.beaten.wait()
    scheduler.beaten.clear()
    await scheduler.beaten.wait()
    said = "cannot send the heartbeat of the scheduler; retrying: OSError: no pulse"
    assert caplog.messages == [said]

    scheduler.now += 1
    await asyncio.sleep(0.01)
    beats = scheduler.beats
    await asyncio.sleep(0.01)
    assert scheduler.beats == beats
    await scheduler.shutdown()
