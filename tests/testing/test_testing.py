"""The fixture `recorded_metrics`: what it shows, where its test's collector goes, and what is left of it."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from taskiq import InMemoryBroker

from metrics_collector import (
    AmbiguousNameError,
    ConfigurationError,
    FunctionMetrics,
    MetricsCollector,
    Settings,
    UnknownFunctionError,
    flush,
    get_metrics,
    history,
    list_metrics,
    measure,
    metrics_collector,
    send,
    statistics,
    tasks,
)
from metrics_collector._recording import recorder
from metrics_collector._recording.recorder import CANCELLED
from metrics_collector._runtime.collector import collector
from metrics_collector.testing import RecordedEntry, RecordedMetrics
from metrics_collector.testing._recorded import recording
from tests.helpers.threads import working

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from starlette.requests import Request

pytest_plugins = ["pytester"]


@metrics_collector
def divide(by: float = 1.0) -> float:
    return 1.0 / by


@metrics_collector(name="shop.orders.store")
async def store_order() -> None:
    await asyncio.sleep(0)


@metrics_collector(name="shop.carts.store")
def store_cart() -> None: ...


@metrics_collector(name="shop.refund")
async def refund() -> None:
    await asyncio.Event().wait()


@metrics_collector(name="shop.page")
async def page(_request: Request) -> PlainTextResponse:
    await store_order()
    return PlainTextResponse("stored")


def threads() -> list[threading.Thread]:
    """Those that send."""
    return [thread for thread in threading.enumerate() if thread.name == "metrics_collector"]


# What it shows


@pytest.mark.parametrize("asked", [f"{__name__}.divide", "test_testing.divide", divide])
def test_a_function_is_found_by_name_by_its_end_and_by_itself(
    asked: Any, recorded_metrics: RecordedMetrics
) -> None:
    divide()
    divide()
    with pytest.raises(ZeroDivisionError):
        divide(0)

    found = recorded_metrics[asked]

    assert type(found) is FunctionMetrics
    assert found.func_name == f"{__name__}.divide"
    assert (found.call_count, found.error_count, found.cancelled_count) == (3, 1, 0)
    assert found.error_types == {"ZeroDivisionError": 1}
    assert asked in recorded_metrics


def test_what_was_got_stays_as_it_is(recorded_metrics: RecordedMetrics) -> None:
    divide()
    before = recorded_metrics[divide]
    divide()

    assert before.call_count == 1
    assert recorded_metrics[divide].call_count == 2


def test_a_decorated_and_uncalled_function_gives_zeros(recorded_metrics: RecordedMetrics) -> None:
    assert recorded_metrics["refund"] == FunctionMetrics(func_name="shop.refund")
    assert recorded_metrics[refund] == FunctionMetrics(func_name="shop.refund")
    assert "shop.refund" not in recorded_metrics
    assert refund not in recorded_metrics


@pytest.mark.parametrize(
    ("unknown", "message"),
    [
        ("shop.refnd", r"'shop\.refnd'; close: .*'shop\.refund'"),
        (threads, rf"{__name__}\.threads' is not decorated"),
    ],
)
def test_an_unknown_name_and_an_undecorated_function_raise(
    unknown: Any, message: str, recorded_metrics: RecordedMetrics
) -> None:
    with pytest.raises(UnknownFunctionError, match=message):
        recorded_metrics[unknown]
    assert unknown not in recorded_metrics


def test_an_end_that_fits_several_raises(recorded_metrics: RecordedMetrics) -> None:
    store_cart()

    with pytest.raises(AmbiguousNameError, match=r"'shop\.carts\.store', 'shop\.orders\.store'"):
        recorded_metrics["store"]
    assert recorded_metrics["carts.store"].call_count == 1


def test_what_is_no_function_raises(recorded_metrics: RecordedMetrics) -> None:
    with pytest.raises(ConfigurationError, match="a function or the name of one"):
        recorded_metrics[3]  # type: ignore[index]  # a checker finds it, too


def test_a_block_is_known_once_it_was_measured(recorded_metrics: RecordedMetrics) -> None:
    with pytest.raises(UnknownFunctionError):
        recorded_metrics["block of this test"]
    with measure("block of this test"):
        pass

    assert recorded_metrics["block of this test"].call_count == 1


async def test_it_lists_what_was_called(recorded_metrics: RecordedMetrics) -> None:
    assert (len(recorded_metrics), list(recorded_metrics)) == (0, [])
    assert not recorded_metrics
    assert repr(recorded_metrics) == "<RecordedMetrics without calls>"

    store_cart()
    with pytest.raises(ZeroDivisionError):
        divide(0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(refund(), timeout=0)
    task = asyncio.create_task(refund())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    store_cart()

    assert list(recorded_metrics) == ["shop.carts.store", f"{__name__}.divide", "shop.refund"]
    assert len(recorded_metrics) == 3
    assert repr(recorded_metrics) == (
        f"<RecordedMetrics shop.carts.store: 2 calls, {__name__}.divide: 1 call, 1 error, "
        "shop.refund: 1 call, 1 cancelled>"
    )


async def test_entries_are_in_the_order_of_their_ends(recorded_metrics: RecordedMetrics) -> None:
    task = asyncio.create_task(refund())
    await asyncio.sleep(0)
    await store_order()
    with pytest.raises(ZeroDivisionError):
        divide(0)
    task.cancel()
    await asyncio.wait([task])

    entries = recorded_metrics.entries

    assert [(e.func_name, e.outcome, e.error_type) for e in entries] == [
        ("shop.orders.store", "ok", None),
        (f"{__name__}.divide", "error", "ZeroDivisionError"),
        ("shop.refund", "cancelled", None),
    ]
    assert all(type(e) is RecordedEntry and e.execution_time > 0 for e in entries)
    assert [e.execution_time for e in entries] == [
        recorded_metrics[name].total_execution_time for name in recorded_metrics
    ]


def test_all_threads_of_the_test_count(recorded_metrics: RecordedMetrics) -> None:
    with working(*[lambda: [divide() for _ in range(1000)]] * 4):
        seen = [recorded_metrics[divide].call_count for _ in range(20)]

    assert seen == sorted(seen)
    assert recorded_metrics[divide].call_count == 4_000
    assert len(recorded_metrics.entries) == 4_000


async def test_it_agrees_with_what_redis_says(recorded_metrics: RecordedMetrics) -> None:
    chance = random.Random(3)
    for _ in range(300):
        start = time.perf_counter()
        took = chance.choice([0.0, 1e-7, chance.random(), chance.expovariate(0.1)])
        mark = chance.choice([None, None, CANCELLED, "ValueError", "shop.Odd"])
        recorder.record(("shop.refund", start, start + took, mark))

    ours = recorded_metrics[refund]
    theirs = await get_metrics(refund)

    for field in ("call_count", "error_count", "cancelled_count", "error_types", "histogram"):
        assert getattr(ours, field) == getattr(theirs, field)
    for field in ("min_execution_time", "max_execution_time", "p50", "p95", "p99"):
        assert getattr(ours, field) == getattr(theirs, field)
    assert ours.total_execution_time == pytest.approx(theirs.total_execution_time)
    assert ours.last_called_at is not None
    assert theirs.last_called_at is not None
    assert ours.last_called_at.timestamp() == pytest.approx(
        theirs.last_called_at.timestamp(), abs=1
    )


# Where the test's collector goes


@pytest.fixture
def elsewhere(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Let the environment name a Redis and a database, and fail the test that touches one."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)  # accept does not wait
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        for name in ("REDIS_URL", "TASKIQ_BROKER_URL", "TASKIQ_RESULT_BACKEND_URL"):
            monkeypatch.setenv(f"METRICS_{name}", url)
        monkeypatch.setenv("METRICS_DATABASE_NAME", str(folder / "real.db"))
        yield url
        with pytest.raises(BlockingIOError):  # nobody has connected
            server.accept()
    assert list(folder.iterdir()) == []


RUNS: dict[str, Callable[[], AbstractAsyncContextManager[object]]] = {
    "no run": nullcontext,
    "a run": MetricsCollector,
    "a run with settings of its own": lambda: MetricsCollector(Settings(max_items=3)),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())
async def test_the_whole_surface_works(
    run: Callable[[], AbstractAsyncContextManager[object]],
    elsewhere: str,
    recorded_metrics: RecordedMetrics,
    tmp_path: Path,
) -> None:
    async with run():
        for _ in range(5):
            await store_order()
        assert statistics().recorded == 5
        assert (await get_metrics(store_order)).call_count == 5
        assert [found.func_name for found in await list_metrics()] == ["shop.orders.store"]

        divide()
        await send()
        assert statistics().buffered == 0
        await flush()
        assert statistics().saved == 6
        (point,) = await history("orders.store", since="1h", resolution="day")
        assert point.call_count == 5
        assert (await get_metrics(divide, since="1h")).call_count == 1
    assert statistics().last_error is None

    assert recorded_metrics["orders.store"].call_count == 5
    with sqlite3.connect(tmp_path / "metrics.db") as database:
        rows = database.execute("SELECT func_name, count(*) FROM metrics GROUP BY 1 ORDER BY 1")
        assert rows.fetchall() == [("shop.orders.store", 5), (f"{__name__}.divide", 1)]
    database.close()


def test_sync_code_reads_by_own_loops(elsewhere: str, recorded_metrics: RecordedMetrics) -> None:
    for calls in (1, 2, 3):
        divide()
        assert asyncio.run(get_metrics(divide)).call_count == calls
        assert recorded_metrics[divide].call_count == calls


async def test_loops_in_other_threads_share_the_collector(
    elsewhere: str, recorded_metrics: RecordedMetrics
) -> None:
    async with MetricsCollector():
        await asyncio.to_thread(asyncio.run, store_order())
        await store_order()
        there = await asyncio.to_thread(lambda: asyncio.run(get_metrics(store_order)))

    assert there.call_count == recorded_metrics[store_order].call_count == 2


async def test_a_service_with_lifespan(elsewhere: str, recorded_metrics: RecordedMetrics) -> None:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with MetricsCollector(Settings(redis_url=elsewhere)):
            yield

    service = Starlette(routes=[Route("/", page)], lifespan=lifespan)
    transport = httpx.ASGITransport(service)
    async with (
        service.router.lifespan_context(service),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        assert (await client.get("/")).text == "stored"
        assert (await client.get("/")).text == "stored"
        assert recorded_metrics[page].call_count == 2

    assert [e.func_name for e in recorded_metrics.entries] == ["shop.orders.store", "shop.page"] * 2
    assert statistics().saved == 4


async def test_a_run_keeps_its_settings_but_for_redis_and_the_database(
    elsewhere: str, recorded_metrics: RecordedMetrics, tmp_path: Path
) -> None:
    settings = Settings(redis_url=elsewhere, database_name="other.db", send_interval=0.7)
    async with MetricsCollector(settings), MetricsCollector(settings):
        used = collector.settings()

    assert used.send_interval == 0.7
    assert used.database_name == str(tmp_path / "metrics.db")
    assert used.redis_url == used.taskiq_broker_url == used.taskiq_result_backend_url == "memory://"


def test_the_environment_sets_nothing(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("METRICS_MAX_ITEMS", "a wrong value")
    monkeypatch.setenv("METRICS_SEND_INTERVAL", "7")

    request.getfixturevalue("recorded_metrics")

    assert collector.settings().max_items == 100
    assert collector.settings().send_interval == 0.1


def test_records_alone_start_nothing(recorded_metrics: RecordedMetrics, tmp_path: Path) -> None:
    for _ in range(250):
        divide()

    assert recorded_metrics[divide].call_count == 250
    assert threads() == []
    assert (statistics().recorded, statistics().buffered) == (250, 250)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["fakeredis", "lupa"])
async def test_without_the_extra_only_what_needs_redis_fails(
    missing: str, recorded_metrics: RecordedMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    divide()

    with pytest.raises(ConfigurationError, match=r"metrics-collector\[embedded\]"):
        await get_metrics(divide)
    with pytest.raises(ConfigurationError, match=r"metrics-collector\[embedded\]"):
        async with MetricsCollector():
            pass
    divide()

    assert recorded_metrics[divide].call_count == 2


# What is left of it. The fixture stands for what was there before; a second recording is the test.


def test_each_recording_begins_with_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        with recording(tmp_path) as recorded:
            assert not recorded
            assert statistics().recorded == 0
            divide()
            assert recorded[divide].call_count == 1


def test_a_log_line_of_one_recording_does_not_silence_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "fakeredis", None)
    for _ in range(2):
        with recording(tmp_path), pytest.raises(ConfigurationError):
            asyncio.run(send())

    assert len(caplog.records) == 2


def test_entries_from_before_are_kept(recorded_metrics: RecordedMetrics, tmp_path: Path) -> None:
    divide()
    with recording(tmp_path / "inner") as recorded:
        store_cart()
        assert list(recorded) == ["shop.carts.store"]
        assert statistics().recorded == 1
    divide()

    assert recorded_metrics.entries[0].func_name == recorded_metrics.entries[1].func_name
    assert len(recorded_metrics.entries) == statistics().recorded == 2
    assert asyncio.run(get_metrics(divide)).call_count == 2


def test_a_thread_from_before_stops_and_the_next_record_starts_one_again(
    recorded_metrics: RecordedMetrics, tmp_path: Path
) -> None:
    divide()
    asyncio.run(send())
    (before,) = threads()
    with recording(tmp_path / "inner"):
        assert not before.is_alive()
        assert threads() == []
    assert threads() == []
    divide()

    assert len(threads()) == 1
    assert asyncio.run(get_metrics(divide)).call_count == 2


def test_a_run_from_before_goes_on(
    recorded_metrics: RecordedMetrics, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with asyncio.Runner() as runner:
        run = MetricsCollector()
        runner.run(run.__aenter__())
        divide()
        inner_folder = tmp_path_factory.mktemp("inner")
        with recording(inner_folder) as recorded:
            store_cart()
            assert runner.run(get_metrics(store_cart)).call_count == 1
            runner.run(flush())
            assert runner.run(get_metrics(store_cart, since="1h")).call_count == 1
            store_cart()
            assert recorded[store_cart].call_count == 2
        divide()
        assert runner.run(get_metrics(divide)).call_count == 2
        assert [found.func_name for found in runner.run(list_metrics())] == [f"{__name__}.divide"]
        runner.run(run.aclose())

    assert statistics().saved == statistics().recorded == 2
    assert list(recorded_metrics) == [f"{__name__}.divide"]


def test_settings_and_broker_come_back(recorded_metrics: RecordedMetrics, tmp_path: Path) -> None:
    broker = InMemoryBroker()
    tasks.register_tasks(broker)
    settings = collector.settings()
    with recording(tmp_path / "inner"):
        inside = collector.broker
        assert collector.settings() != settings

    assert inside is None
    assert collector.broker is broker
    assert collector.settings() is settings


async def test_a_run_that_switches_metrics_off_does_so_for_its_test_only(
    recorded_metrics: RecordedMetrics, tmp_path: Path
) -> None:
    with recording(tmp_path / "inner") as recorded:
        async with MetricsCollector(Settings(enabled=False)):
            divide()
        assert not recorded
    divide()

    assert recorded_metrics[divide].call_count == 1


def test_a_failing_test_leaves_nothing(recorded_metrics: RecordedMetrics, tmp_path: Path) -> None:
    def failing() -> None:
        with recording(tmp_path / "inner"):
            divide()
            asyncio.run(send())
            raise RuntimeError("the test has failed")

    with pytest.raises(RuntimeError, match="the test has failed"):
        failing()

    assert threads() == []
    divide()
    assert recorded_metrics[divide].call_count == statistics().recorded == 1


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="needs a list of the open files")  # noqa: PTH112 - Path is for checkers alone here
def test_thirty_recordings_leave_no_thread_no_open_file_and_no_complaint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def within_a_run() -> None:
        async with MetricsCollector():
            await store_order()
            await flush()

    def once(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        with recording(folder) as recorded:
            if number % 3 == 0:
                asyncio.run(within_a_run())
            elif number % 3 == 1:
                asyncio.run(store_order())
                asyncio.run(flush())
            else:
                asyncio.run(store_order())
                asyncio.run(get_metrics(store_order))
                divide()
            assert recorded[store_order].call_count == 1
        assert threads() == []

    for number in range(3):  # what is loaded and opened once
        once(number)
    files = set(os.listdir("/dev/fd"))  # noqa: PTH208 - it is about their names
    others = set(threading.enumerate())
    for number in range(3, 33):
        once(number)

    for thread in set(threading.enumerate()) - others:  # the last database's may be just ending
        thread.join(timeout=10)
    assert set(threading.enumerate()) <= others
    assert set(os.listdir("/dev/fd")) <= files  # noqa: PTH208 - it is about their names
    assert [line for line in caplog.records if line.levelno >= logging.ERROR] == []


# The recorder's part


def test_redirected_records_go_elsewhere_for_a_while(recorded_metrics: RecordedMetrics) -> None:
    before = recorder.buffer
    recorder.start_on_next_record()
    to: Any = type(before)()
    with recorder.redirected(to):
        divide()
        assert (len(to), threads()) == (1, [])
        recorder.discard()
    assert recorder.buffer is before
    assert len(before) == 0
    divide()

    assert len(threads()) == 1  # the next record starts it, as before
    with recorder.redirected(to):
        recorder.start_on_next_record()
    assert recorder.record == before.append


# As a plugin, in a project like a user's

PROJECT = """
import asyncio, os, threading
import pytest
from metrics_collector import MetricsCollector, flush, get_metrics, metrics_collector, statistics

@metrics_collector
def pay(amount=1):
    return 1 / amount

@metrics_collector
async def ship():
    await asyncio.sleep(0)
"""

TESTS = """
import multiprocessing
from metrics_collector.testing import RecordedMetrics
from shop import *

@pytest.fixture
async def service(recorded_metrics):
    async with MetricsCollector() as run:
        yield run

def test_forks(recorded_metrics):
    child = multiprocessing.get_context("fork").Process(target=pay)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert recorded_metrics[pay].call_count == 0
    assert asyncio.run(get_metrics(pay)).call_count == 1

def test_sync(recorded_metrics: RecordedMetrics):
    pay()
    pay()
    assert recorded_metrics["shop.pay"].call_count == 2
    assert asyncio.run(get_metrics(pay)).call_count == 2

async def test_async(service, recorded_metrics, tmp_path):
    assert not recorded_metrics
    await ship()
    assert recorded_metrics["ship"].call_count == 1
    assert (await get_metrics(ship)).call_count == 1
    await flush()
    assert statistics().saved == 1
    assert (tmp_path / "metrics.db").exists()

@pytest.mark.anyio
async def test_anyio(recorded_metrics, anyio_backend_name):
    await ship()
    assert recorded_metrics["ship"].call_count == 1
    assert (await get_metrics(ship)).call_count == 1

def test_nothing_is_left(recorded_metrics):
    assert list(recorded_metrics) == []
    assert "metrics_collector" not in [thread.name for thread in threading.enumerate()]
"""

SETTINGS = """
[pytest]
asyncio_mode = {mode}
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_in_a_project(pytester: pytest.Pytester, mode: str) -> None:
    pytester.makeini(SETTINGS.format(mode=mode))
    pytester.makepyfile(shop=PROJECT)
    strict = TESTS.replace("async def test_async", "@pytest.mark.asyncio\nasync def test_async")
    strict = strict.replace("@pytest.fixture\nasync", "@pytest_asyncio.fixture\nasync")
    anyio = "@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    pytester.makepyfile(f"import pytest_asyncio\n{strict if mode == 'strict' else TESTS}{anyio}")

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(passed=5)


def test_what_a_failing_test_shows(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(shop=PROJECT)
    pytester.makepyfile("""
        from shop import *

        def test_count(recorded_metrics):
            pay()
            assert recorded_metrics["shop.pay"].call_count == 2

        def test_called(recorded_metrics):
            pay()
            assert "shop.ship" in recorded_metrics

        def test_misspelt(recorded_metrics):
            assert recorded_metrics["shop.shipp"].call_count == 1
    """)

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "E * assert 1 == 2",
            "E * where 1 = FunctionMetrics(func_name='shop.pay', call_count=1, *).call_count",
            "E * assert 'shop.ship' in <RecordedMetrics shop.pay: 1 call>",
            '>*assert recorded_metrics[[]"shop.shipp"].call_count == 1',
            "E * no measured function matches 'shop.shipp'; close: 'shop.ship'*",
        ]
    )
    result.stdout.no_fnmatch_line("*metrics_collector/*")


def test_with_metrics_switched_off_a_test_ends_in_a_clear_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICS_ENABLED", "false")
    pytester.makepyfile("def test_one(recorded_metrics): ...")

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ConfigurationError: METRICS_ENABLED is false*"])


def test_installed_it_does_nothing_by_itself(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys, threading

        def test_one(request):
            assert request.config.pluginmanager.has_plugin("metrics_collector")
            assert threading.active_count() == 1
            loaded = {"redis", "taskiq", "aiosqlite", "pydantic", "dotenv", "fakeredis"}
            assert not loaded & set(sys.modules)
    """)

    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_the_plugin_loads_nothing_but_itself() -> None:
    program = """
import sys, pytest, metrics_collector
before = set(sys.modules)
import metrics_collector.testing.plugin
print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=30, capture_output=True, text=True
    )

    assert done.stdout.split() == ["metrics_collector.testing", "metrics_collector.testing.plugin"]
