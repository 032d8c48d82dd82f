"""Programs that end in all sorts of ways: what they recorded is in Redis, or in SQL, without a word from them."""

from __future__ import annotations

import signal
import socket
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from metrics_collector._storage.sqlite.session import BUSY_TIMEOUT
from tests.helpers.processes import Process
from tests.helpers.rows import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers.redis_server import RedisServer

HEAD = """
import asyncio, atexit, os, sys, threading, time
from metrics_collector import MetricsCollector, metrics_collector, send, statistics

@metrics_collector(name="f")
def f(): pass

@metrics_collector(name="g")
async def g(): await asyncio.sleep(0)

def calls(count):
    for _ in range(count): f()

async def many(count):
    for _ in range(count): await g()

"""

# Each records 50 entries.
SCRIPTS = {
    "a short script": "calls(50)",
    "an exit in the midst": "calls(50); sys.exit(0)",
    "one loop": """
async def main():
    async with MetricsCollector(): await many(50)
asyncio.run(main())
""",
    "repeated runs of loops": "for _ in range(5): asyncio.run(many(10))",
    "a run that is never left": """
import warnings
warnings.simplefilter("ignore", ResourceWarning)  # the one that says so, and none other
async def main():
    global run
    run = await MetricsCollector().__aenter__()
    await many(50)
asyncio.run(main())
warnings.simplefilter("error", ResourceWarning)
run._run = None
""",
    "a run in a generator that nobody closes": """
async def service():
    async with MetricsCollector():
        await many(25)
        yield
async def main():
    async for _ in service(): break
    await many(25)
asyncio.run(main())
""",
    "a run in a daemon thread": """
ready = threading.Event()
async def serve():
    async with MetricsCollector():
        await many(50)
        ready.set()
        await asyncio.sleep(60)
threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
ready.wait()
""",
    "a loop that is blocked": """
async def main():
    async with MetricsCollector():
        threads = [threading.Thread(target=calls, args=(10,)) for _ in range(5)]
        for thread in threads: thread.start()
        time.sleep(0.5)
asyncio.run(main())
""",
    "threads": """
threads = [threading.Thread(target=calls, args=(10,)) for _ in range(5)]
for thread in threads: thread.start()
for thread in threads: thread.join()
""",
    "a thread that begins as the main one ends": """
def late():
    threading.main_thread().join()
    calls(50)
threading.Thread(target=late).start()
""",
    "an executor whose work the exit waits for": """
from concurrent.futures import ThreadPoolExecutor
os.environ["MAX_ITEMS"] = "1"
def late():
    while not threading._SHUTTING_DOWN: time.sleep(0.01)  # from now on Taskiq cannot be imported
    calls(25)
    for _ in range(2): asyncio.run(send())  # the second one comes behind the begin of a flush request
    while "metrics_collector_imports" in str(threading.enumerate()): time.sleep(0.01)
    asyncio.run(send())
    calls(25)
ThreadPoolExecutor(1).submit(late)
""",
    "uvloop": """
import uvloop
async def main():
    async with MetricsCollector(): await many(25)
uvloop.run(main())
calls(25)
""",
    "calls at exit": "f(); atexit.register(calls, 49)",
    "calls at exit only": "atexit.register(calls, 50)",
    "calls at exit, set up late": "f(); time.sleep(0.3); atexit.register(calls, 49)",
    "a fork after recording": """
calls(20)
child = os.fork()
calls(15)
if child: assert os.waitpid(child, 0)[1] == 0
""",
    "a fork that Python does not hear of": """
import ctypes
time.sleep(0.02)  # the system tells when a child began in steps of 0.01 s
child = ctypes.PyDLL(None).fork()
calls(25)
assert statistics().recorded == 25, statistics()
if child: assert os.waitpid(child, 0)[1] == 0
""",
    "a fork that Python does not hear of, while modules load": """
import ctypes
calls(10)
time.sleep(0.02)  # as above
child = ctypes.PyDLL(None).fork()
calls(10)
if child: calls(20); assert os.waitpid(child, 0)[1] == 0
""",
    "a fork that Python does not hear of, while all imports are locked": """
import ctypes, logging
from contextlib import suppress
class Slow:  # any finder, which Python calls under the lock
    def find_spec(self, name, *_):
        if name == "slow": found.set(); over.wait(20)
sys.meta_path.insert(0, Slow())
found, over = threading.Event(), threading.Event()
def load():
    with suppress(ImportError): import slow
thread = threading.Thread(target=load, daemon=True); thread.start()
found.wait()
child = ctypes.PyDLL(None).fork()
if not child:
    del sys.modules["ctypes"]  # as in most programs
    if sys.version_info[:3] == (3, 13, 0): logging.disable()  # says that it starts no thread
calls(25)
if child: over.set(); thread.join(); assert os.waitpid(child, 0)[1] == 0
""",
    "a fork that Python does not hear of, beside the sender": """
import ctypes
calls(10)
asyncio.run(send())
child = ctypes.PyDLL(None).fork()
if not child:
    async def main():
        await many(20); await send()
        async with asyncio.timeout(20): await asyncio.sleep(0.01)
    asyncio.run(main())
else: calls(20); assert os.waitpid(child, 0)[1] == 0
""",
    "a child of such a fork that reads and never ends in order": """
import ctypes, redis
calls(20)
asyncio.run(send())
child = ctypes.PyDLL(None).fork()
if not child:
    calls(30)
    statistics()
    server = redis.Redis.from_url(os.environ["REDIS_URL"])
    while server.llen("metrics_list") < 50: time.sleep(0.01)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
""",
    "forks while modules load": """
import signal
f()
for turn in range(7):
    child = os.fork()
    if not child:
        signal.alarm(15)  # a half loaded module would be waited for for ever
        import pydantic, redis
        calls(7)
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    time.sleep(0.02)
""",
    "what threads begin while a fork may come": """
from metrics_collector._support import fork_hooks
os.environ["MAX_ITEMS"] = "10"
begun = set()
def complain(what):
    ours = threading.current_thread().name.startswith("metrics_collector")
    if ours and not fork_hooks._no_fork._is_owned():
        print("begun while a fork may come:", what)
def used(frame, event, function):
    # The first use of each of pydantic-core's validators and serializers.
    owner = getattr(function, "__self__", None) if event == "c_call" else None
    if type(owner).__module__ == "pydantic_core._pydantic_core":
        use = function.__qualname__, getattr(owner, "title", id(owner))
        if use not in begun: complain(use)
        begun.add(use)
sys.addaudithook(lambda event, details: event == "import" and complain(details[0]))
threading.setprofile(used)
calls(50)
while not any(title == "TaskiqMessage" for _, title in begun): time.sleep(0.05)
time.sleep(0.2)
""",
    "forks while the database is in use": """
children = []
for turn in range(10):
    calls(2)
    child = os.fork()
    if not child:
        calls(3)
        sys.exit()
    children.append(child)
    time.sleep(0.01 * turn)
for child in children: assert os.waitpid(child, 0)[1] == 0
""",
    "a fork of a fork": """
calls(10)
if not os.fork():
    calls(10)
    if not os.fork():
        calls(30)
        sys.exit()
    assert os.wait()[1] == 0
    sys.exit()
assert os.wait()[1] == 0
""",
    "a fork out of a run": """
import multiprocessing
async def main():
    async with MetricsCollector():
        await many(10); await send()
        child = multiprocessing.get_context("fork").Process(target=calls, args=(20,))
        child.start()
        await many(20); await asyncio.to_thread(child.join)
        assert child.exitcode == 0
asyncio.run(main())
""",
    "a forked child that leaves its parent's run": """
async def main():
    async with MetricsCollector():
        await many(10); await send()
        loop, child = asyncio.get_running_loop(), os.fork()
        if not child:
            loop.set_exception_handler(lambda *_: None)  # Python 3.14 misses its running loop
            calls(10)
            return
        while os.waitpid(child, os.WNOHANG) == (0, 0): await asyncio.sleep(0.01)
        for _ in range(3):  # on its connection, which the child has left alone
            await many(10); await send()
        assert statistics().retried == 0, statistics()
asyncio.run(main())
""",
    "a pool that is closed": """
import multiprocessing
if __name__ == "__main__":
    pool = multiprocessing.get_context("fork").Pool(3)
    pool.map(calls, [1] * 50); pool.close(); pool.join()
""",
}
for method in ("fork", "spawn", "forkserver"):
    SCRIPTS[f"processes by {method}"] = f"""
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
def fail():
    calls(10)
    sys.exit(3)
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    calls(10)
    child = context.Process(target=fail); child.start(); child.join()
    assert child.exitcode == 3
    with ProcessPoolExecutor(2, context) as pool: list(pool.map(calls, [1] * 30))
"""

# From 3.12 on Python warns of any fork beside a thread; the children of these begin afresh.
FORKS = ["-W", "ignore:This process:DeprecationWarning"]
WARNINGS = ["-W", "error", *FORKS]


def _program(
    tmp_path: Path, body: str, *options: str, url: str, first: str = "", **environment: str
) -> Process:
    script = tmp_path / "script.py"
    script.write_text(first + HEAD + body + "\n")
    return Process(
        [*options, str(script)],
        output=tmp_path / "output",
        environment={"REDIS_URL": url, **environment},
    )


def _embedded(tmp_path: Path, body: str, *, exit_timeout: str) -> Process:
    environment = {"METRICS_EXIT_TIMEOUT": exit_timeout}
    return _program(tmp_path, body, *FORKS, url="memory://", **environment)


def _assert_in_redis(server: RedisServer, count: int) -> None:
    with redis.Redis.from_url(server.url) as client:
        assert client.llen("metrics_list") == count
        counted = sum(int(client.hget(f"app:metrics:{n}", "call_count") or 0) for n in "fg")
        assert counted == count


@pytest.fixture(params=SCRIPTS)
def body(request: pytest.FixtureRequest) -> str:
    script: str = SCRIPTS[request.param]
    return script


def test_all_is_in_redis(body: str, redis_server: RedisServer, tmp_path: Path) -> None:
    with _program(tmp_path, body, *WARNINGS, url=redis_server.url) as program:
        assert program.wait() == 0, program.output
        assert not program.output
    _assert_in_redis(redis_server, 50)


def test_greenlets_in_the_place_of_threads(redis_server: RedisServer, tmp_path: Path) -> None:
    body = """
async def main():
    async with MetricsCollector(): await many(10)
    await send()
calls(5)
asyncio.run(main())
calls(5)
gevent.joinall([gevent.spawn(calls, 5) for _ in range(6)])
"""
    first = "import gevent.monkey\ngevent.monkey.patch_all()"
    with _program(tmp_path, body, *WARNINGS, url=redis_server.url, first=first) as program:
        assert program.wait() == 0, program.output
        assert not program.output
    _assert_in_redis(redis_server, 50)


def test_where_no_loop_can_be_made_the_end_says_what_is_lost(tmp_path: Path) -> None:
    body = """
import gc, socket
class Refused(socket.socket):  # as a user's tests may have it
    def __new__(cls, *_, **__): raise RuntimeError("no sockets here")
socket.socket = Refused
before = os.listdir("/proc/self/fd")
calls(50)
gc.collect()
assert os.listdir("/proc/self/fd") == before
"""
    with _program(tmp_path, body, *WARNINGS, url="redis://127.0.0.1:1/0") as program:
        assert program.wait() == 0, program.output
        first, last = program.output.splitlines()
    assert "cannot start the sender thread; retrying: no sockets here" in first
    assert "50 entries could not be sent" in last


def test_a_loop_that_is_closed_in_a_run_lets_the_program_end(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    body = """
async def main():
    async with MetricsCollector():
        calls(50); await send(); sent.set(); await asyncio.sleep(600)
loop = asyncio.new_event_loop(); sent = asyncio.Event()
task = loop.create_task(main())
loop.run_until_complete(sent.wait()); loop.close()
"""
    with _program(tmp_path, body, url=redis_server.url) as program:
        assert program.wait() == 0, program.output
    _assert_in_redis(redis_server, 50)


@pytest.mark.parametrize(
    "kind",
    [
        "a short script",
        "one loop",
        "repeated runs of loops",
        "calls at exit",
        "a thread that begins as the main one ends",
        "an executor whose work the exit waits for",
        "a fork after recording",
        "what threads begin while a fork may come",
        "forks while the database is in use",
    ],
)
def test_all_is_in_sql_embedded(kind: str, tmp_path: Path) -> None:
    with _embedded(tmp_path, SCRIPTS[kind], exit_timeout="30") as program:
        assert program.wait() == 0, program.output
        assert not program.output
    assert rows("metrics.db", "SELECT count(*) FROM metrics") == [(50,)]


@contextmanager
def _locked_database(program: Process, path: Path) -> Iterator[None]:
    """The database of a program that has made it, held by another one."""
    program.until(path.exists)
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as database:
        program.until(lambda: bool(database.execute("SELECT 1 FROM sqlite_master").fetchall()))
        database.execute("BEGIN IMMEDIATE")
        (path.parent / "locked").touch()
        yield
        database.execute("COMMIT")


# The worker inside has made the database by the time that it is locked.
ENDS_AT_A_LOCKED_DATABASE = """
import multiprocessing, pathlib
def late(count):
    while not pathlib.Path("locked").exists(): time.sleep(0.01)
    calls(count)
if __name__ == "__main__":
    f()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(late, [20] * 2, chunksize=1); pool.close(); pool.join()
    calls(9)
"""


def test_an_embedded_exit_tries_until_its_time_is_up(tmp_path: Path) -> None:
    with _embedded(tmp_path, ENDS_AT_A_LOCKED_DATABASE, exit_timeout="30") as program:
        with _locked_database(program, Path("metrics.db")):
            time.sleep(BUSY_TIMEOUT + 1)  # so that the first try of each process fails
        assert program.wait(50) == 0, program.output
    assert rows("metrics.db", "SELECT count(*) FROM metrics") == [(50,)]


def test_an_embedded_exit_says_what_it_could_not_save(tmp_path: Path) -> None:
    with _embedded(tmp_path, ENDS_AT_A_LOCKED_DATABASE, exit_timeout="2") as program:
        with _locked_database(program, Path("metrics.db")):
            assert program.wait(50) == 0, program.output
        # Not even sent, it may say on a busy machine: two seconds are little to begin in.
        assert program.output.count("20 entries ") == 2, program.output


@pytest.mark.parametrize(
    ("end", "status", "output"),
    [
        ("sys.exit(7)", 7, ""),
        ("1 / 0", 1, "ZeroDivisionError"),
        # Where modules are loaded after a Ctrl-C, Python would say 1.
        (
            "asyncio.run(send()); os.kill(os.getpid(), 2); time.sleep(60)",
            -signal.SIGINT,
            "KeyboardInterrupt",
        ),
    ],
)
def test_the_program_ends_as_it_would(
    end: str, status: int, output: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    with _program(tmp_path, f"calls(50)\n{end}", url=redis_server.url) as program:
        assert program.wait() == status, program.output
        assert output in program.output
        assert bool(output) == bool(program.output)
    _assert_in_redis(redis_server, 50)


def test_a_program_that_ends_at_once_loses_what_it_had_not_sent(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    body = "f(); asyncio.run(send()); calls(50); os._exit(5)"
    with _program(tmp_path, body, url=redis_server.url, METRICS_SEND_INTERVAL="60") as program:
        assert program.wait() == 5
        assert not program.output
    _assert_in_redis(redis_server, 1)


def test_ctrl_c_in_a_run_loses_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    body = """
async def main():
    async with MetricsCollector():
        await many(50)
        print("ready", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    # Nothing is sent before the end.
    with _program(tmp_path, body, url=redis_server.url, METRICS_SEND_INTERVAL="60") as program:
        program.until(lambda: "ready" in program.output)
        _assert_in_redis(redis_server, 0)
        program.send(signal.SIGINT)
        assert program.wait() == -signal.SIGINT
    _assert_in_redis(redis_server, 50)


@pytest.mark.parametrize("first", ["", "f()"])
def test_what_a_finaliser_records_at_the_very_end_hangs_nothing(
    first: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    body = f"""
class Late:
    def __del__(self): f()
late = Late()
late.itself = late
{first}
"""
    with _program(tmp_path, body, url=redis_server.url) as program:
        assert program.wait() == 0
        assert not program.output


def test_loop_after_loop_leaves_nothing_behind(redis_server: RedisServer, tmp_path: Path) -> None:
    body = """
import gc
async def work(turn):
    if turn % 2:
        async with MetricsCollector(): await many(1)
    else:
        await many(1)
        if turn % 4: await send()
def left():
    gc.collect()
    threads = [t for t in threading.enumerate() if t is not threading.main_thread()]
    return len(threads), len(os.listdir("/proc/self/fd"))
for turn in range(60):
    asyncio.run(work(turn))
    if turn == 19: threads_before, descriptors_before = left()
threads, descriptors = left()
# One thread may be there at any moment, with a loop and a connection.
assert threads <= 1, threads
assert descriptors <= descriptors_before + 5, (descriptors_before, descriptors)
"""
    with _program(tmp_path, body, *WARNINGS, url=redis_server.url) as program:
        assert program.wait() == 0, program.output
        assert not program.output
    _assert_in_redis(redis_server, 60)


@pytest.fixture
def silent() -> Iterator[str]:
    """Address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def _runs_without_redis(program: Process) -> str:
    """The one line that a program says that has no Redis; more than that would be noise."""
    with program:
        # A run and the exit may each take two seconds: far less than a connection or a resolver would.
        assert program.wait() == 0, program.output
        (line,) = program.output.splitlines()
        return line


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("a short script", "redis://127.0.0.1:1/0"),
        ("a short script", "redis://no-such-host.invalid/0"),
        ("one loop", "redis://127.0.0.1:1/0"),
        ("repeated runs of loops", "redis://127.0.0.1:1/0"),
    ],
)
def test_where_no_redis_is_the_program_runs_and_says_so_in_one_line(
    kind: str, url: str, tmp_path: Path
) -> None:
    line = _runs_without_redis(_program(tmp_path, SCRIPTS[kind], url=url))

    assert "Redis at redis://" in line


@pytest.mark.parametrize("kind", ["a short script", "one loop"])
def test_a_redis_that_says_nothing_is_not_waited_for(
    kind: str, silent: str, tmp_path: Path
) -> None:
    line = _runs_without_redis(_program(tmp_path, SCRIPTS[kind], url=silent))

    assert "answer" in line


def test_nor_is_a_resolver_that_says_nothing(tmp_path: Path) -> None:
    slow = "import socket; socket.getaddrinfo = lambda *_, **__: time.sleep(600)\ncalls(50)"

    line = _runs_without_redis(_program(tmp_path, slow, url="redis://somewhere/0"))

    assert "entries" in line


def test_wrong_settings_are_logged_and_break_nothing(tmp_path: Path) -> None:
    line = _runs_without_redis(
        _program(tmp_path, SCRIPTS["a short script"], url="memory://", MAX_ITEMS="many")
    )

    assert "MAX_ITEMS='many'" in line
