"""What every test gets: clean surroundings, a watch on the loop, and a Redis if it asks for one."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fakeredis
import hypothesis
import pytest
import pytest_asyncio

from metrics_collector._redis.connection import connect
from tests.helpers import blocking
from tests.helpers import postgres_server as postgres_servers
from tests.helpers import redis_server as servers
from tests.helpers.folders import fast_folder
from tests.helpers.pipeline import commands_on
from tests.helpers.postgres_server import PostgresServer
from tests.helpers.redis_server import RedisServer
from tests.helpers.skips import SkipsFail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.helpers.pipeline import Commands

HERE = Path(__file__).parent
# The settings that are read without the prefix METRICS_ as well.
BARE_SETTINGS = {
    "DATABASE_NAME",
    "MAX_ITEMS",
    "MAX_WAITING_TIME",
    "REDIS_URL",
    "TASKIQ_BROKER_URL",
    "TASKIQ_RESULT_BACKEND_URL",
}


# Their tests run real processes, or explore thousands of states: all of them are `long` but these.
SLOW_FOLDERS = ("integration", "faults", "model")
QUICK = {
    "faults/test_kills.py": ["a_killed_producer_loses_no_more_than_it_had_not_sent"],
    "faults/test_network.py": ["the_reply_to_a_push_is_lost[close-10]"],
    "faults/test_postgres.py": [
        "the_server_stops_at_once_under_two_savers[3]",
    ],
    "integration/test_benchmarks.py": ["an_unknown_group_is_refused_with_those_there_are"],
    "integration/test_cli.py": [
        "ctrl_c_in_a_narrow_terminal_ends_the_demo_with_what_there_is",
        "output_that_cannot_be_written_is_reported_in_a_line[--help->/dev/full-No space left on device-]",
        "the_demo_in_a_pipe_is_plain_text_and_true",
        "the_demo_without_a_worker_and_without_a_micro_sign",
    ],
    "integration/test_cli_terminal.py": [
        "a_reader_that_goes_away_gets_no_traceback[health --help]",
        "errors_are_in_local_time[120]",
        "history_draws[80-24-p95]",
        "it_asks[y-0]",
        "keys",
        "stats_fit[80]",
    ],
    "integration/test_dashboard.py": ["it_ends_by_a_signal"],
    "integration/test_dashboard_browser.py": [
        "at_both_widths[overview-light]",
        "search_by_the_keyboard",
        "the_usual_ones",
    ],
    "integration/test_examples.py": ["main_prints_each_report_and_the_rows"],
    "integration/test_exits.py": [
        "all_is_in_redis[a short script]",
        "all_is_in_redis[one loop]",
        "all_is_in_redis[a fork after recording]",
        "all_is_in_redis[a fork that Python does not hear of]",
        "all_is_in_redis[a fork that Python does not hear of, beside the sender]",
        "all_is_in_redis[a fork that Python does not hear of, while all imports are locked]",
        "all_is_in_sql_embedded[a short script]",
        "where_no_redis_is_the_program_runs_and_says_so_in_one_line[one loop-redis://127.0.0.1:1/0]",
    ],
    "integration/test_main_job.py": [
        "four_processes_are_counted_and_saved_exactly",
        "embedded_with_nothing_else_running_and_totals_go_on_after_a_restart",
    ],
    "integration/test_postgres.py": ["all_is_counted_saved_and_shown"],
    "integration/test_schedules.py": ["schedules[everything]"],
    "integration/test_spool_exits.py": [
        "a_folder_that_cannot_be_used_is_said_at_the_start",
        "what_is_left_at_the_end_is_sent_by_the_next_process[a short script]",
    ],
    "integration/test_taskiq_processes.py": [
        "sigterm_ends_both[up-True]",
        "what_a_killed_worker_took_is_requested_again",
    ],
    "model/test_model.py": [
        "every_small_world_keeps_the_promises[spool]",
        "no_rule_can_be_left_out[Flaw.ACK_WHATEVER_THE_LENGTH]",
    ],
}


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    files = {item.path.relative_to(HERE).as_posix() for item in items}
    found = {(item.path.relative_to(HERE).as_posix(), item.name) for item in items}
    named = {(file, f"test_{name}") for file in files & QUICK.keys() for name in QUICK[file]}
    if named - found and not any("::" in argument for argument in config.args):
        raise pytest.UsageError(f"QUICK names tests that are not there: {sorted(named - found)}")
    for item in items:
        file = item.path.relative_to(HERE).as_posix()
        folder = file.split("/")[0]
        if folder in {"integration", "faults"}:
            item.add_marker(pytest.mark.integration)
        if folder in SLOW_FOLDERS and item.name.removeprefix("test_") not in QUICK.get(file, ()):
            item.add_marker(pytest.mark.long)


def pytest_configure(config: pytest.Config) -> None:
    # What a script starts in the background has Ctrl-C ignored, and so would the programs of the tests.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    # pytest-xdist tells its workers how wide its own terminal is; the programs of the tests have their own.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)

    # Before the test modules are imported: what they decorate there reads METRICS_ENABLED.
    for name in list(os.environ):
        if name.upper() in BARE_SETTINGS or name.upper().startswith("METRICS_"):
            del os.environ[name]

    # How long an example takes says nothing on a busy machine; pytest-timeout ends what hangs.
    examples = 30 if config.getoption("markexpr") == "not long" else 100
    hypothesis.settings.register_profile("here", deadline=None, max_examples=examples)
    hypothesis.settings.load_profile("here")

    if os.environ.get("CI") == "true":
        config.pluginmanager.register(SkipsFail())


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder: no `.env` is found there, and its database goes with it."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def no_blocking_in_the_loop() -> Iterator[None]:
    """Fail a test in which the package blocked an event loop, in whatever thread that loop runs."""
    with blocking.watch() as calls:
        yield
    if calls:
        pytest.fail("the event loop was blocked by\n" + "\n".join(calls), pytrace=False)


@pytest.fixture
def start_redis() -> Iterator[Callable[..., RedisServer]]:
    """Start any number of servers that end with the test: `start_redis(appendonly="yes")`."""
    if servers.binary() is None:
        pytest.skip("redis-server is not installed, and this test needs a real one")
    with ExitStack() as running:
        yield lambda **options: running.enter_context(RedisServer(**options))


@pytest.fixture
def redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """Give the test a real Redis server of its own, empty and without persistence."""
    return start_redis()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Address of the test's own Redis server."""
    return redis_server.url


@pytest.fixture
def path() -> Iterator[Path]:
    """Where a database may be made."""
    with fast_folder() as folder:
        yield Path(folder, "metrics.db")


@pytest_asyncio.fixture
async def fake_client() -> AsyncIterator[Any]:
    """An empty Redis in this process."""
    client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    yield client
    await client.aclose()


@pytest_asyncio.fixture(
    params=["fakeredis", pytest.param("redis-server", marks=pytest.mark.integration)]
)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """An empty Redis of either kind."""
    if request.param == "fakeredis":
        connection: Any = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    else:
        connection = connect(request.getfixturevalue("shared_server").url)
        await connection.flushall()
    yield connection
    await connection.aclose()


@pytest.fixture(scope="session")
def shared_server() -> Iterator[RedisServer]:
    """A real server for tests that leave it as it is, but for its data: starting one takes longer than most of them."""
    if servers.binary() is None:
        pytest.skip("redis-server is not installed, and this test needs a real one")
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real server for tests that change nothing but databases of their own, as one takes a second to make."""
    if postgres_servers.folder() is None:
        pytest.skip("PostgreSQL is not installed, and this test needs a real one")
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """Address of an empty database."""
    return postgres_server.new_database()


@pytest.fixture
def redis(client: Any) -> Commands:
    """The pipeline's commands on that Redis."""
    return commands_on(client)
