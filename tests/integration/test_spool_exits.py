"""What a process cannot send before its end stands in METRICS_SPOOL_DIR, and the next process sends it."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from tests.helpers.processes import Process
from tests.helpers.rows import saved
from tests.integration.test_exits import FORKS, HEAD, SCRIPTS

if TYPE_CHECKING:
    from tests.helpers.redis_server import RedisServer

NOWHERE = "redis://127.0.0.1:1/0"
# Records one entry, and lives until it is told to end.
NEXT = """
async def main():
    async with MetricsCollector():
        f()
        while not os.path.exists("enough"): await asyncio.sleep(0.02)
asyncio.run(main())
"""


def _program(body: str, *options: str, url: str, **environment: str) -> Process:
    script = Path("script.py")
    script.write_text(HEAD + body + "\n")
    settings = {"METRICS_SPOOL_DIR": "spool", "METRICS_EXIT_TIMEOUT": "0.5"}
    return Process(
        [*options, str(script.absolute())],
        output=Path("output"),
        environment={"REDIS_URL": url, **settings, **environment},
    )


def _sent_by_the_next(server: RedisServer, count: int) -> None:
    """The next process brings all of it to Redis, beside its own entry."""
    with (
        redis.Redis.from_url(server.url) as client,
        _program(NEXT, url=server.url) as program,
    ):
        program.until(lambda: client.llen("metrics_list") >= count + 1)
        Path("enough").touch()
        assert program.wait() == 0, program.output
        assert client.llen("metrics_list") == count + 1
        counted = sum(int(client.hget(f"app:metrics:{n}", "call_count") or 0) for n in "fg")
        assert counted == count + 1


@pytest.mark.parametrize(
    "kind",
    [
        "a short script",
        "one loop",
        "repeated runs of loops",
        "threads",
        "calls at exit",
        "calls at exit only",
        "a fork of a fork",
        "a pool that is closed",
        "processes by spawn",
    ],
)
def test_what_is_left_at_the_end_is_sent_by_the_next_process(
    kind: str, redis_server: RedisServer
) -> None:
    with _program(SCRIPTS[kind], *FORKS, url=NOWHERE) as program:
        assert program.wait() == 0, program.output
    _sent_by_the_next(redis_server, 50)


def test_what_is_recorded_after_the_last_send_failed_is_left_too(
    redis_server: RedisServer,
) -> None:
    body = """
async def main():
    async with MetricsCollector(): await many(20)
asyncio.run(main())
calls(10)
atexit.register(calls, 20)
"""
    with _program(body, url=NOWHERE) as program:
        assert program.wait() == 0, program.output
    _sent_by_the_next(redis_server, 50)


def test_what_overflowed_survives_a_kill(redis_server: RedisServer) -> None:
    body = """
for _ in range(100):
    calls(100)
    while statistics().buffered > 500: time.sleep(0.001)
s = statistics()
assert s.recorded == 10_000 == s.spooled + s.buffered, s
print(f"spooled {s.spooled}", flush=True)
time.sleep(60)
"""
    environment = {"METRICS_MAX_BUFFERED": "1000", "METRICS_SEND_INTERVAL": "0.01"}
    with _program(body, url=NOWHERE, **environment) as program:
        program.until(lambda: "spooled" in program.output)
        program.send_to_group(signal.SIGKILL)
        program.wait()
        found = re.search(r"^spooled (\d+)$", program.output, re.MULTILINE)
        assert found is not None, program.output
    # It may have been at it when it said so.
    spooled = sum(file.read_bytes().count(b'{"func_name"') for file in Path("spool").iterdir())
    assert spooled >= int(found[1]) >= 9000
    _sent_by_the_next(redis_server, spooled)


def test_a_child_that_outlives_its_parent_does_not_keep_the_files(
    redis_server: RedisServer,
) -> None:
    body = """
async def main():
    async with MetricsCollector():
        await many(50)
asyncio.run(main())  # what it cannot send is on the disk
if not os.fork():
    while not os.path.exists("enough"): time.sleep(0.02)
    os._exit(0)
os._exit(0)
"""
    with _program(body, *FORKS, url=NOWHERE) as program:
        assert program.wait() == 0, program.output
        _sent_by_the_next(redis_server, 50)


def test_what_the_redis_in_the_process_had_is_left_too(tmp_path: Path) -> None:
    # A database that cannot be written, and one that can.
    body = "calls(50); asyncio.run(send())"
    (tmp_path / "folder.db").mkdir()
    with _program(body, url="memory://", DATABASE_NAME="folder.db") as program:
        assert program.wait() == 0, program.output
        assert "is a folder" in program.output

    environment = {"DATABASE_NAME": "metrics.db", "MAX_WAITING_TIME": "1"}
    with _program(NEXT, url="memory://", **environment) as program:
        program.until(lambda: saved("metrics.db") >= 50)
        Path("enough").touch()
        assert program.wait() == 0, program.output
    assert saved("metrics.db") == 51
    assert not list(Path("spool").glob("*.damaged"))


def test_a_folder_that_cannot_be_used_is_said_at_the_start(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    Path("spool").write_text("a file")
    with _program(NEXT, url=redis_server.url) as program:
        assert program.wait() == 1
        assert f"METRICS_SPOOL_DIR='{tmp_path}/spool' cannot be used" in program.output
