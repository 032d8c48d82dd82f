"""The process's one collector: its runs, and its thread, of which no entry is lost or doubled."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import sys
import threading
import time
from contextlib import ExitStack, closing
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
from taskiq import InMemoryBroker

from metrics_collector import (
    ConfigurationError,
    IncompatibleStoreError,
    MetricsCollector,
    Settings,
    StoreUnavailableError,
    flush,
    get_metrics,
    list_metrics,
    measure,
    metrics_collector,
    send,
    statistics,
    tasks,
)
from metrics_collector._core.decoding import decode
from metrics_collector._recording.recorder import buffer
from metrics_collector._redis.worker_commands import WorkerCommands
from metrics_collector._runtime import assembly
from metrics_collector._runtime import collector as collector_module
from metrics_collector._runtime.collector import collector
from metrics_collector._runtime.sending_pipeline import SendingPipeline
from metrics_collector._saving.flush import Flush
from metrics_collector._saving.worker import Worker
from metrics_collector._storage.sqlite import session
from metrics_collector._support import process
from metrics_collector._support.backoff import Backoff
from tests.helpers.commands import finished
from tests.helpers.pipeline import commands_on
from tests.helpers.threads import allow_no_loops, allow_no_more, at_once, working

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from taskiq.message import BrokerMessage

    from metrics_collector._redis.connection import RedisConnection
    from metrics_collector._runtime.sender_thread import SenderThread
    from metrics_collector._storage.base import Store

SENDER = "metrics_collector"  # the thread's name


@metrics_collector(name="f")
def f() -> None: ...


class World:
    """A Redis in this process that can go away, with the settings that lead to it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.server = fakeredis.FakeServer()
        self.connections = 0  # that were made for it
        self.too_old = False
        self.silent = False

    def connect(self, _settings: Settings, _server: object) -> RedisConnection:
        """In place of what connects to the URL."""
        self.connections += 1
        client = fakeredis.FakeAsyncRedis(server=self.server)
        connection = commands_on(client).connection
        connection.check_server = self.check_server  # type: ignore[method-assign]  # which fakeredis lacks
        return connection

    async def check_server(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        if self.silent:
            await asyncio.Event().wait()
        if self.too_old:
            raise IncompatibleStoreError("Redis is version 5.0; metrics-collector needs 6.2")

    def numbers(self) -> list[tuple[str, int]]:
        """Producer and number of each entry, in order."""
        with fakeredis.FakeRedis(server=self.server) as client:
            elements = client.lrange("metrics_list", 0, -1)
        entries = [decode(element) for element in elements]
        return [(entry.producer or "", entry.number) for entry in entries]

    def assert_has(self, count: int) -> None:
        """Each entry is in Redis, once, and in order; and Redis counted as many."""
        assert self.numbers() == [(collector.outbox.producer, n + 1) for n in range(count)]
        with fakeredis.FakeRedis(server=self.server) as client:
            assert int(client.hget("app:metrics:f", "call_count") or 0) == count
        figures = statistics()
        assert (figures.recorded, figures.sent, figures.buffered) == (count, count, 0)

    def exit_at_once(self) -> None:
        """For a Redis that is away: nobody waits for it at an end."""
        collector.reset(self.settings.model_copy(update={"exit_timeout": 0.0}))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A process that has recorded nothing yet, and a Redis for it."""
    settings = Settings(
        redis_url="redis://here:1/0", max_items=10**6, send_interval=0.005, exit_timeout=20
    )
    world = World(settings)
    # The machine may be busy.
    monkeypatch.setattr("metrics_collector._runtime.sending_pipeline._CHECK_TIMEOUT", 20.0)
    monkeypatch.setattr(assembly, "redis_connection", world.connect)
    monkeypatch.setattr(collector, "log", type(collector.log)())
    collector.reset(settings)
    yield world
    collector.reset()
    assert not sender_threads()


@pytest.fixture
def last_sends(monkeypatch: pytest.MonkeyPatch) -> list[SendingPipeline]:
    """Those that were told to send what is left."""
    pipelines: list[SendingPipeline] = []
    real = SendingPipeline.finish

    async def finish(pipeline: SendingPipeline, timeout: float, *, plain: bool = False) -> bool:
        pipelines.append(pipeline)
        return await real(pipeline, timeout, plain=plain)

    monkeypatch.setattr(SendingPipeline, "finish", finish)
    return pipelines


def sender_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == SENDER]


def call(count: int) -> None:
    for _ in range(count):
        f()


def sender_thread() -> SenderThread:
    assert collector._thread is not None
    return collector._thread


async def settled(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def all_sent() -> bool:
    figures = statistics()
    return figures.recorded == figures.sent


def in_thread(work: Callable[[], Coroutine[Any, Any, object]]) -> threading.Thread:
    """A thread with a loop of its own, at work."""
    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    return thread


class TestRun:
    """`async with MetricsCollector()`."""

    async def test_sends_what_was_recorded_in_it_at_its_end(self, world: World) -> None:
        async with MetricsCollector():
            assert len(sender_threads()) == 1
            call(300)

        world.assert_has(300)

    async def test_sends_without_being_asked(self, world: World) -> None:
        async with MetricsCollector():
            call(3)
            await settled(all_sent)
            world.assert_has(3)

    async def test_nested_ones_share_the_outermost(self, world: World) -> None:
        async with MetricsCollector():
            thread = sender_thread()
            async with MetricsCollector(), MetricsCollector(world.settings):
                assert sender_thread() is thread
                call(1)
            assert sender_thread() is thread
            call(1)
            await send()
            assert world.connections == 1

        world.assert_has(2)

    async def test_ones_that_begin_together_are_one(self, world: World) -> None:
        runs = [MetricsCollector() for _ in range(5)]
        await asyncio.gather(*(run.__aenter__() for run in runs))
        call(1)
        assert world.connections == 1
        await asyncio.gather(*(run.aclose() for run in runs[:-1]))
        await runs[-1].aclose()

        world.assert_has(1)

    async def test_one_on_another_loop_shares_it_too(self, world: World) -> None:
        async def other() -> None:
            async with MetricsCollector():
                call(10)
                await send()
                assert (await get_metrics("f")).call_count == 10

        async with MetricsCollector():
            thread = sender_thread()
            await asyncio.to_thread(lambda: asyncio.run(other()))
            assert sender_thread() is thread

        world.assert_has(10)

    async def test_the_last_one_to_be_left_waits_wherever_it_is(
        self, world: World, last_sends: list[SendingPipeline]
    ) -> None:
        begun, over = threading.Event(), threading.Event()

        async def other() -> None:
            async with MetricsCollector():
                begun.set()
                await asyncio.to_thread(over.wait, 20)
                call(1)

        async with MetricsCollector():
            thread = in_thread(other)
            await asyncio.to_thread(begun.wait, 20)
            call(1)
        assert not last_sends
        over.set()
        await asyncio.to_thread(thread.join)

        assert len(last_sends) == 1
        world.assert_has(2)

    async def test_the_loop_goes_on_while_the_last_entries_are_sent(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ending, go_on = threading.Event(), threading.Event()
        finish = SendingPipeline.finish

        async def slow(pipeline: SendingPipeline, timeout: float, *, plain: bool = False) -> bool:
            ending.set()
            await asyncio.to_thread(go_on.wait, 20)
            return await finish(pipeline, timeout, plain=plain)

        run = await MetricsCollector().__aenter__()
        call(1)
        monkeypatch.setattr(SendingPipeline, "finish", slow)
        leaving = asyncio.ensure_future(run.aclose())
        await settled(ending.is_set)
        assert not leaving.done()
        go_on.set()
        await leaving
        world.assert_has(1)

    async def test_the_thread_rests_between_pieces_of_work(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rests: list[bool] = []
        sleep = time.sleep

        def rest(seconds: float) -> None:
            rests.append(threading.current_thread() in sender_threads())
            sleep(seconds)

        call(1)
        await send()
        monkeypatch.setattr(time, "sleep", rest)

        async def pieces(_pipeline: SendingPipeline) -> None:
            for _ in range(10):
                await asyncio.sleep(0)

        await collector.call(pieces)
        monkeypatch.undo()
        assert len(rests) >= 10
        assert all(rests)  # the application's own loop does not
        world.assert_has(1)

    async def test_what_comes_later_is_sent_too(self, world: World) -> None:
        async with MetricsCollector():
            call(1)
        call(1)

        await settled(all_sent)
        world.assert_has(2)

    async def test_sends_at_its_end_even_if_it_began_as_another_ended(self, world: World) -> None:
        for turns in range(1, 13):
            run = await MetricsCollector().__aenter__()
            call(1)
            leaving = asyncio.ensure_future(run.aclose())
            for _ in range(turns):
                await asyncio.sleep(0)
            async with MetricsCollector():
                await leaving
                call(1)
            world.assert_has(2 * turns)

    async def test_can_be_entered_once_at_a_time(self, world: World) -> None:
        run = MetricsCollector()
        async with run:
            with pytest.raises(ConfigurationError, match="already running; make a new one"):
                await run.__aenter__()
            call(1)
        async with run:
            call(1)

        world.assert_has(2)

    async def test_can_be_closed_any_number_of_times(self, world: World) -> None:
        run = MetricsCollector()
        await run.aclose()
        async with run:
            call(1)
            await run.aclose()
            await run.aclose()
        await run.aclose()

        world.assert_has(1)

    async def test_refuses_other_settings_than_those_it_has(self, world: World) -> None:
        other = world.settings.model_copy(update={"max_items": 10**7})
        async with MetricsCollector():
            with pytest.raises(ConfigurationError, match="already running, with other settings"):
                await MetricsCollector(other).__aenter__()
            call(1)

        world.assert_has(1)
        async with MetricsCollector(other):
            assert collector.settings().max_items == 10**7
            call(1)
        async with MetricsCollector():
            assert collector.settings() is world.settings
            call(1)
        assert world.connections == 3  # a thread for each change
        world.assert_has(3)

    async def test_raises_for_a_wrong_setting_and_breaks_nothing(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        collector.reset()  # the environment's settings
        monkeypatch.setenv("MAX_ITEMS", "many")
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="MAX_ITEMS='many'"):
                await MetricsCollector().__aenter__()
            call(1)

        monkeypatch.setenv("MAX_ITEMS", "50")
        async with MetricsCollector():
            call(1)

        world.assert_has(3)

    async def test_a_thread_that_fails_as_a_run_begins_is_replaced(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        starting, go = threading.Event(), threading.Event()

        async def fail(_pipeline: SendingPipeline) -> None:
            starting.set()
            while not go.is_set():
                await asyncio.sleep(0.001)
            raise ConfigurationError("what the environment said before")

        with monkeypatch.context() as patch:
            patch.setattr(SendingPipeline, "start", fail)
            call(1)
            while not starting.is_set():
                await asyncio.sleep(0.001)
        entering = asyncio.ensure_future(MetricsCollector().__aenter__())
        await asyncio.sleep(0)  # for it to wait for the thread's pipeline
        go.set()
        await (await entering).aclose()
        world.assert_has(1)

    async def test_switched_off_records_nothing(self, world: World) -> None:
        off = world.settings.model_copy(update={"enabled": False})
        async with MetricsCollector(off):
            call(5)
            assert not sender_threads()
        assert statistics().recorded == 0

        async with MetricsCollector():
            call(1)
        world.assert_has(1)

    async def test_raises_if_redis_is_too_old(self, world: World) -> None:
        world.too_old = True
        call(1)
        results = await asyncio.gather(
            *(MetricsCollector().__aenter__() for _ in range(3)), return_exceptions=True
        )
        assert [type(result) for result in results] == [IncompatibleStoreError] * 3
        assert asyncio.all_tasks() == {asyncio.current_task()}
        with pytest.raises(IncompatibleStoreError, match=r"6\.2"):
            await send()

        world.too_old = False
        async with MetricsCollector():
            call(1)
        world.assert_has(2)

    async def test_begins_without_redis_and_says_so(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        world.exit_at_once()
        world.server.connected = False
        async with MetricsCollector():
            call(3)
        assert len(caplog.messages) == 1
        assert statistics().buffered == 3

        world.server.connected = True
        await settled(all_sent)
        world.assert_has(3)

    async def test_does_not_wait_for_a_redis_that_does_not_answer(
        self, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("metrics_collector._runtime.sending_pipeline._CHECK_TIMEOUT", 0.01)
        world.exit_at_once()
        world.silent = True
        async with MetricsCollector():
            call(1)

        assert "Redis does not answer" in caplog.text
        assert statistics().buffered == 1
        world.silent = False

    async def test_that_was_given_up_leaves_nothing_behind(self, world: World) -> None:
        call(1)
        await send()
        for turns in range(12):
            entering = asyncio.ensure_future(MetricsCollector().__aenter__())
            for _ in range(turns):
                await asyncio.sleep(0)
            if entering.cancel():
                await asyncio.gather(entering, return_exceptions=True)
            else:
                await (await entering).aclose()
            call(1)
        await send()

        world.assert_has(13)

    async def test_is_joined_even_if_who_began_it_gave_up(self, world: World) -> None:
        first = asyncio.ensure_future(MetricsCollector().__aenter__())
        run = MetricsCollector()
        second = asyncio.ensure_future(run.__aenter__())
        await asyncio.sleep(0)
        first.cancel()

        await second
        call(1)
        await run.aclose()
        world.assert_has(1)

    async def test_cut_short_at_its_end_leaves_the_rest_to_a_thread(self, world: World) -> None:
        for turns in range(1, 13):
            run = await MetricsCollector().__aenter__()
            call(300)
            leaving = asyncio.ensure_future(run.aclose())
            for _ in range(turns):
                await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        await settled(all_sent)

        world.assert_has(3600)


@pytest.mark.usefixtures("recorded_metrics")
async def test_an_embedded_run_that_is_slow_to_start_asks_nobody_for_a_flush(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load, request, requested = process.load, SendingPipeline._request_flush, threading.Event()

    async def late(*modules: str) -> None:
        if "aiosqlite" in modules:
            await asyncio.to_thread(requested.wait, 20)
        await load(*modules)

    async def early(pipeline: SendingPipeline) -> None:
        try:
            await request(pipeline)
        finally:
            requested.set()

    monkeypatch.setattr(process, "load", late)
    monkeypatch.setattr(SendingPipeline, "_request_flush", early)
    call(1)
    async with MetricsCollector(Settings(max_items=1, send_interval=0.005)):
        pass

    assert statistics().saved == 1
    assert not caplog.messages


@pytest.mark.usefixtures("recorded_metrics")
class TestEmbeddedReads:
    """Live totals in the embedded mode, while entries are saved."""

    @pytest.fixture(autouse=True)
    def between_commit_and_acknowledgement(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Hold what is acknowledged while `held`, from `committed` until `go`."""
        self.held, self.committed, self.go = False, threading.Event(), threading.Event()
        acknowledge = WorkerCommands.acknowledge

        async def late(commands: WorkerCommands, token: str, *args: Any, **more: Any) -> Any:
            if self.held and token:
                self.committed.set()
                await asyncio.to_thread(self.go.wait, 60)
            return await acknowledge(commands, token, *args, **more)

        monkeypatch.setattr(WorkerCommands, "acknowledge", late)

    @pytest.mark.parametrize("cancelled", [False, True])
    async def test_what_a_flush_has_committed_counts_once(self, cancelled: bool) -> None:
        async with MetricsCollector():
            call(1)
            await flush()
            self.held = True
            call(10)
            with measure("new"):
                pass
            flushing = asyncio.create_task(flush())
            assert await asyncio.to_thread(self.committed.wait, 60)
            if cancelled:
                flushing.cancel()
                await asyncio.wait({flushing})
                self.held = False
            reading = asyncio.create_task(list_metrics())
            await asyncio.wait({reading}, timeout=0.1)  # as long as it might take to read too early
            self.go.set()
            assert {one.func_name: one.call_count for one in await reading} == {"f": 11, "new": 1}
            await asyncio.wait({flushing})

    async def test_a_flush_begins_after_who_is_reading(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add, begun = SendingPipeline._add_what_others_saved, threading.Event()

        async def add_late(pipeline: SendingPipeline, database: Store) -> None:
            begun.set()
            await asyncio.to_thread(self.committed.wait, 0.3)  # too early a flush commits now
            await add(pipeline, database)

        monkeypatch.setattr(SendingPipeline, "_add_what_others_saved", add_late)
        # By a timer, one might begin before the reader.
        monkeypatch.setattr(Worker, "flush", lambda _worker: asyncio.sleep(0, 0))
        async with MetricsCollector():
            call(1)
            await flush()
            self.held = True
            call(10)
            reading = asyncio.create_task(list_metrics())
            assert await asyncio.to_thread(begun.wait, 60)
            flushing = asyncio.create_task(flush())
            assert [one.call_count for one in await reading] == [11]
            self.go.set()
            assert await flushing == 10

    async def test_a_flush_without_end_keeps_nobody_from_reading(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def busy(_flush: Flush, **_options: bool) -> int:
            await asyncio.sleep(0)
            return 1

        monkeypatch.setattr(Flush, "drain", busy)
        async with MetricsCollector():
            call(3)
            async with asyncio.timeout(60):
                assert [one.call_count for one in await list_metrics()] == [3]


class TestFlush:
    """`flush()`, where no worker is about."""

    async def test_makes_room_in_a_backlog_that_is_full(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with MetricsCollector(world.settings.model_copy(update={"max_backlog": 5})):
            call(5)
            await send()
            call(12)
            # What is sent now is in vain, so nobody is to wait for it.
            monkeypatch.setattr("metrics_collector._reading.asking.SEND_TIMEOUT", 0.05)
            refused = ""
            while "backlog limit" not in refused:  # the answer may come too late
                with pytest.raises(StoreUnavailableError) as caught:
                    await send()
                refused = str(caught.value)

            monkeypatch.setattr("metrics_collector._reading.asking.SEND_TIMEOUT", 20.0)
            assert await flush() == 17
            figures = statistics()
            assert (figures.saved, figures.buffered) == (17, 0)

    async def test_raises_where_there_is_nothing_to_make_room_for(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with MetricsCollector():
            call(1)
            await send()
            call(1)
            world.server.connected = False
            monkeypatch.setattr("metrics_collector._reading.asking.SEND_TIMEOUT", 0.05)
            with pytest.raises(StoreUnavailableError):
                await flush()

            world.server.connected = True
            monkeypatch.setattr("metrics_collector._reading.asking.SEND_TIMEOUT", 5.0)
            assert await flush() == 2


async def test_a_redis_that_takes_no_more_can_be_read(world: World) -> None:
    async with MetricsCollector(world.settings.model_copy(update={"max_backlog": 5})):
        call(5)
        await send()
        call(12)
        assert (await get_metrics("f")).call_count == 5
        assert [one.call_count for one in await list_metrics()] == [5]
        assert statistics().buffered == 12
        assert "backlog limit" in (statistics().last_error or "")
        await flush()
        assert (await get_metrics("f")).call_count == 17


class TestForgottenRun:
    """One that is never left."""

    @staticmethod
    def forget(settings: Settings | None = None) -> None:
        async def enter() -> None:
            await MetricsCollector(settings).__aenter__()
            call(1)

        def run_and_collect() -> None:
            asyncio.run(enter())
            gc.collect()

        with pytest.warns(ResourceWarning, match="use `async with` or await `aclose"):
            run_and_collect()

    def test_warns_and_leaves_its_entries_to_a_thread(self, world: World) -> None:
        self.forget()
        call(1)

        asyncio.run(send())
        world.assert_has(2)

    def test_sends_without_its_loop_and_can_be_closed_from_another(self, world: World) -> None:
        loop = asyncio.new_event_loop()
        run = MetricsCollector()
        loop.run_until_complete(run.__aenter__())
        call(1)
        asyncio.run(send())
        loop.close()
        call(1)

        asyncio.run(run.aclose())
        world.assert_has(2)
        call(1)
        asyncio.run(send())
        world.assert_has(3)

    def test_is_no_obstacle_to_other_settings_once_it_is_garbage(self, world: World) -> None:
        for settings in (world.settings, world.settings.model_copy(update={"max_items": 10**7})):
            self.forget(settings)
            assert collector.settings() is settings


class TestThread:
    """Without any run."""

    def test_is_started_by_the_first_record(self, world: World) -> None:
        assert not sender_threads()
        call(1)
        assert len(sender_threads()) == 1
        call(1)

        asyncio.run(send())
        assert len(sender_threads()) == 1
        world.assert_has(2)

    def test_serves_repeated_loops(self, world: World) -> None:
        async def work(turn: int) -> None:
            if turn % 2:
                async with MetricsCollector():
                    call(1)
            else:
                call(1)
                await send()
                assert (await get_metrics(f)).call_count == turn + 1

        for turn in range(20):
            asyncio.run(work(turn))
        asyncio.run(settled(lambda: len(sender_threads()) <= 1))

        world.assert_has(20)

    def test_reads_in_any_thread_and_loop(self, world: World) -> None:
        seen: list[int] = []

        async def read() -> None:
            call(1)
            seen.append((await get_metrics("f")).call_count)
            assert [m.func_name for m in await list_metrics()] == ["f"]

        at_once(*[lambda: asyncio.run(read())] * 5)

        assert max(seen) == 5
        world.assert_has(5)

    def test_waits_with_wrong_settings_says_so_once_and_sends_when_they_are_right(
        self, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        collector.reset()
        with monkeypatch.context() as patch:
            patch.setenv("MAX_ITEMS", "many")
            call(3)
            with pytest.raises(ConfigurationError, match="MAX_ITEMS='many'"):
                asyncio.run(send())
            asyncio.run(settled(lambda: bool(caplog.messages)))

            (line,) = caplog.messages
            assert "MAX_ITEMS='many'" in line
            assert statistics().last_error == line.partition(";")[0]
            assert (statistics().recorded, statistics().buffered) == (3, 3)

        asyncio.run(send())
        world.assert_has(3)

    @pytest.mark.usefixtures("world")
    @pytest.mark.parametrize(
        ("allow", "why"),
        [
            (allow_no_more, "can't start new thread"),
            (allow_no_loops, "[Errno 24] Too many open files"),
        ],
    )
    def test_that_cannot_be_started_is_tried_again_after_a_pause(
        self,
        allow: Callable[[pytest.MonkeyPatch], list[None]],
        why: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(collector_module, "USUAL_MAX_BUFFERED", 20)
        monkeypatch.setattr(collector_module, "_PAUSE", 600.0)
        with monkeypatch.context() as patch:
            tries = allow(patch)
            call(30)
            gc.collect()  # which complains of a loop that was not closed
        assert len(tries) == 1
        assert caplog.messages == [f"cannot start the sender thread; retrying: {why}"]
        assert why in str(statistics().last_error)
        figures = statistics()
        assert (figures.recorded, figures.buffered, figures.dropped) == (30, 20, 10)

        asyncio.run(send())
        assert statistics().sent == 20

    @pytest.mark.usefixtures("world")
    def test_is_not_started_as_the_interpreter_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "is_finalizing", lambda: True)

        call(1)

        assert not sender_threads()
        assert statistics().buffered == 1

    def test_with_a_pipeline_that_fails_to_start_waits_and_says_so(
        self, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def start(*_: object) -> None:
            raise ZeroDivisionError("a bug")

        with monkeypatch.context() as patch:
            patch.setattr(SendingPipeline, "start", start)
            call(2)
            with pytest.raises(StoreUnavailableError):
                asyncio.run(send())
        assert "ZeroDivisionError('a bug')" in caplog.text

        async def run() -> None:
            async with MetricsCollector():
                pass

        asyncio.run(run())
        world.assert_has(2)

    @pytest.mark.usefixtures("world")
    def test_is_quiet_in_the_development_mode(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
        call(1)

        loop = sender_thread().loop
        assert loop is not None
        assert not loop.get_debug()


class TestCalls:
    """Whoever wants something of the pipeline, on a loop of their own."""

    def test_nothing_is_lost_or_doubled_as_one_thread_follows_another(self, world: World) -> None:
        over = threading.Event()
        problems: list[Exception] = []

        async def ask() -> None:
            while not over.is_set():
                try:
                    await send()
                    await get_metrics(f)
                except Exception as error:  # noqa: BLE001 - shown below
                    problems.append(error)

        async def run(turn: int) -> None:
            other = world.settings.model_copy(update={"max_items": 10**7 + turn})
            async with MetricsCollector(other):
                await asyncio.sleep(turn / 10_000)

        with working(*[lambda: asyncio.run(ask())] * 3):
            with ExitStack() as recorders:
                for turn in range(50):
                    recorders.enter_context(working(lambda: call(100)))
                    if turn % 5 == 0:
                        asyncio.run(run(turn))
            over.set()
        asyncio.run(send())

        assert not problems
        world.assert_has(5000)

    async def test_one_at_work_as_its_thread_stops_goes_on_in_the_next(self, world: World) -> None:
        seen: list[SendingPipeline] = []

        async def action(pipeline: SendingPipeline) -> str:
            seen.append(pipeline)
            if len(seen) == 1:
                await asyncio.Event().wait()
            return "done"

        call(1)
        asking = asyncio.ensure_future(collector.call(action))
        await settled(lambda: bool(seen))
        async with MetricsCollector(world.settings.model_copy(update={"max_items": 10**7})):
            assert await asking == "done"

        assert len(seen) == 2
        assert seen[0] is not seen[1]

    @pytest.mark.usefixtures("world")
    async def test_one_that_is_cancelled_ends_in_the_thread_too(self) -> None:
        begun, cancelled = threading.Event(), threading.Event()

        async def wait(_: SendingPipeline) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        asking = asyncio.ensure_future(collector.call(wait))
        await settled(begun.is_set)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await settled(cancelled.is_set)

    @pytest.mark.usefixtures("world")
    async def test_its_context_and_what_it_raises_pass_between_the_loops(self) -> None:
        variable: ContextVar[str] = ContextVar("variable", default="")

        async def fail(_: SendingPipeline) -> None:
            raise KeyError(variable.get())

        variable.set("of the caller")
        with pytest.raises(KeyError, match="of the caller"):
            await collector.call(fail)

    @pytest.mark.usefixtures("world")
    async def test_where_no_thread_can_be_started_it_says_so(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        with monkeypatch.context() as patch:
            allow_no_more(patch)
            async with MetricsCollector():
                call(1)
                with pytest.raises(StoreUnavailableError, match="can't start new thread"):
                    await send()
        assert "can't start new thread; entries wait in this process" in caplog.text
        assert statistics().buffered == 1


class NotingBroker(InMemoryBroker):
    """Notes the loops on which it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.loops: list[asyncio.AbstractEventLoop] = []

    async def kick(self, message: BrokerMessage) -> None:  # noqa: ARG002 - its content is that of any broker
        self.loops.append(asyncio.get_running_loop())


class TestOwnBroker:
    """A user's own broker is asked for flushes on the loop of the run."""

    @pytest.fixture
    def broker(self, world: World) -> NotingBroker:
        collector.reset(world.settings.model_copy(update={"max_items": 1}))
        broker = NotingBroker()
        tasks.register_tasks(broker)
        return broker

    async def test_is_used_on_that_loop(self, broker: NotingBroker) -> None:
        async with MetricsCollector():
            call(1)
            await settled(lambda: bool(broker.loops))
        assert set(broker.loops) == {asyncio.get_running_loop()}

    async def test_is_left_alone_without_a_run(
        self, broker: NotingBroker, caplog: pytest.LogCaptureFixture
    ) -> None:
        call(1)
        await send()
        async with MetricsCollector():
            assert not broker.loops
        assert not caplog.messages

    def test_is_left_alone_while_that_loop_stands_still(self, broker: NotingBroker) -> None:
        with asyncio.Runner() as runner:
            run = runner.run(MetricsCollector().__aenter__())
            call(1)
            asyncio.run(send())
            assert not broker.loops
            runner.run(run.aclose())


class TestExit:
    """What the hooks do; processes that really end are in the integration tests."""

    def test_sends_what_is_left_and_once_more_what_other_hooks_record(self, world: World) -> None:
        call(300)
        collector.at_exit()
        assert not sender_threads()
        world.assert_has(300)

        call(1)
        assert not sender_threads()
        collector.at_exit()
        world.assert_has(301)

    def test_does_not_even_look_for_settings_if_nothing_was_recorded(
        self, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        collector.reset()
        monkeypatch.setenv("MAX_ITEMS", "many")

        collector.at_exit()

        assert world.connections == 0
        assert not caplog.messages

    def test_without_threads_it_is_done_here(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        allow_no_more(monkeypatch)
        monkeypatch.setattr(process, "exiting", lambda: True)
        call(3)

        collector.at_exit()

        world.assert_has(3)

    def test_has_a_run_in_a_daemon_thread_send(self, world: World) -> None:
        begun, over = threading.Event(), threading.Event()

        async def serve() -> None:
            async with MetricsCollector():
                call(3)
                begun.set()
                await asyncio.to_thread(over.wait, 20)

        settings = world.settings.model_copy(update={"send_interval": 60.0})
        collector.reset(settings)
        thread = in_thread(serve)
        begun.wait(20)
        assert statistics().buffered == 3

        collector.at_exit()

        world.assert_has(3)
        over.set()
        thread.join()

    def test_waits_for_redis_once_only(
        self, world: World, last_sends: list[SendingPipeline], caplog: pytest.LogCaptureFixture
    ) -> None:
        world.exit_at_once()
        world.server.connected = False

        async def run() -> None:
            async with MetricsCollector():
                call(1)

        asyncio.run(run())
        assert len(last_sends) == 1
        collector.at_exit()
        collector.at_exit()

        assert len(last_sends) == 1
        assert len(caplog.messages) == 1
        assert statistics().buffered == 1

    def test_does_not_wait_for_ever(
        self, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        over = asyncio.Event()

        async def finish(*_: object, **__: object) -> bool:
            await over.wait()
            return False

        monkeypatch.setattr(SendingPipeline, "finish", finish)
        monkeypatch.setattr(collector_module, "GRACE", 0.0)
        world.exit_at_once()
        world.server.connected = False
        call(2)
        (thread,) = sender_threads()
        loop = sender_thread().loop
        assert loop is not None

        collector.at_exit()

        assert thread.is_alive()
        assert "2 entries could not be sent within METRICS_EXIT_TIMEOUT" in caplog.text
        loop.call_soon_threadsafe(over.set)
        thread.join()


async def test_a_drop_names_the_settings(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.server.connected = False
    collector.reset(world.settings.model_copy(update={"max_buffered": 5, "exit_timeout": 0.0}))
    call(50)
    while "raise METRICS_MAX_BUFFERED, or set METRICS_SPOOL_DIR" not in caplog.text:
        await asyncio.sleep(0.01)


def test_reset_begins_anew(world: World) -> None:
    call(5)
    producer = collector.outbox.producer
    old = collector.outbox
    collector.reset(world.settings)

    assert statistics().recorded == 0
    assert collector.outbox.producer != producer
    assert not sender_threads()
    assert not old.unsent
    assert not buffer
    call(1)
    asyncio.run(send())
    assert world.numbers()[-1] == (collector.outbox.producer, 1)


_IN_A_SUBINTERPRETER = """
import asyncio, threading
from metrics_collector import ConfigurationError, MetricsCollector
from metrics_collector import get_metrics, metrics_collector, send, statistics
@metrics_collector(name="f")
def f(): return 42
assert [f(), f()] == [42, 42]
for refused in (MetricsCollector().__aenter__, send, lambda: get_metrics("f")):
    try: asyncio.run(refused())
    except ConfigurationError as error: said = str(error)
    else: raise AssertionError
assert said.startswith("this is a subinterpreter"), said
found = statistics()
assert (found.buffered, found.last_error) == (2, said), found
assert threading.active_count() == 1
"""


def test_a_subinterpreter_is_refused_and_measured_functions_run() -> None:
    """As of mod_wsgi, which ends them: with a thread of ours that aborts the process."""
    program = f"""
import sys, pydantic
try: import _interpreters as interpreters
except ImportError: import _xxsubinterpreters as interpreters
new = sys.version_info >= (3, 13)
one = interpreters.create("legacy") if new else interpreters.create(isolated=False)
wrong = interpreters.run_string(one, {_IN_A_SUBINTERPRETER!r})
interpreters.destroy(one)
print(wrong)
"""
    done = finished(sys.executable, "-c", program, REDIS_URL="redis://127.0.0.1:1/0")
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr
    assert "this is a subinterpreter, from which no metrics are sent" in done.stderr


def test_statistics_add_up_at_any_moment(world: World) -> None:
    over = threading.Event()
    wrong: list[object] = []

    def count() -> None:
        before = 0
        while not over.is_set():
            s = statistics()
            if s.recorded != s.saved + s.sent + s.spooled + s.buffered + s.dropped:
                wrong.append(s)
            if s.recorded < before:
                wrong.append((before, s))
            before = s.recorded

    with working(*[count] * 3):
        for _ in range(10):
            call(200)
            asyncio.run(send())
        over.set()

    assert not wrong
    world.assert_has(2000)


class TestEmbeddedExit:
    """The end of a run with a Redis and a worker inside, while another program holds the database."""

    @pytest.fixture
    def holder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[sqlite3.Connection]:
        """That program, which has not begun yet; who waits for it does so for a moment only."""
        monkeypatch.setattr(session, "BUSY_TIMEOUT", 0.01)
        path = tmp_path / "metrics.db"
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            yield other
        collector.reset()

    @staticmethod
    def settings(tmp_path: Path, exit_timeout: float) -> Settings:
        path = str(tmp_path / "metrics.db")
        return Settings(redis_url="memory://", database_name=path, exit_timeout=exit_timeout)

    async def test_it_saves_when_the_database_is_free(
        self, holder: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free = threading.Thread(target=holder.execute, args=("COMMIT",))
        real = Backoff.next_delay

        def after_a_try(backoff: Backoff) -> float:
            if not free.ident:
                free.start()
            return real(backoff)

        async with MetricsCollector(self.settings(tmp_path, 20)):
            call(1)
            await flush()
            holder.execute("BEGIN IMMEDIATE")
            monkeypatch.setattr(Backoff, "next_delay", after_a_try)
            call(3)

        free.join()
        assert holder.execute("SELECT count(*) FROM metrics").fetchall() == [(4,)]

    async def test_it_says_so_if_that_comes_too_late(
        self, holder: sqlite3.Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with MetricsCollector(self.settings(tmp_path, 0.2)):
            call(1)
            await flush()
            holder.execute("BEGIN IMMEDIATE")
            call(3)

        assert any("at the end" in message for message in caplog.messages)
        assert holder.execute("SELECT count(*) FROM metrics").fetchall() == [(1,)]
        holder.execute("COMMIT")
