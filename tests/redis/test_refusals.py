"""Users who lack a permission: they learn which, and what to allow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from redis.exceptions import NoPermissionError

from metrics_collector._core.pipeline_types import Numbered
from metrics_collector._core.totals import Totals
from metrics_collector._errors import StoreUnavailableError
from metrics_collector._redis import clocks, refusals
from metrics_collector._redis.connection import connect
from metrics_collector._saving.taskiq.shared import reason
from tests.helpers.pipeline import (
    DB,
    NOON,
    PRODUCER,
    Call,
    batch_of,
    commands_on,
    push,
    saved_state,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.helpers.pipeline import Commands
    from tests.helpers.redis_server import RedisServer

SHA: Final = "0123456789abcdef0123456789abcdef01234567"
GUIDE: Final = Path(__file__).parents[2] / ".github" / "docs" / "operations.md"
LINES: Final = {
    role: rules.split()
    for role, rules in re.findall(
        r"^user metrics-(\w+) on >PASSWORD (~.+)$", GUIDE.read_text(), re.MULTILINE
    )
}


async def everything_of(role: str, redis: Commands) -> list[str]:
    """What all that a user in a role does says of it."""
    batch = batch_of(Call(), Call(seconds=2.0))
    totals = Totals()
    totals.add(1.0, NOON, None)
    worker, reader = redis.worker, redis.reader
    problems: list[str] = []

    async def read_pending() -> None:
        async for _ in reader.pending():
            pass

    async def tell_time() -> None:
        if doubt := (await clocks.look(redis.connection)).doubt:
            raise StoreUnavailableError(doubt)

    async def save() -> None:
        token = (await worker.claim(ignore_leases=True)).token
        await worker.read(token, 2)
        states = saved_state(batch, no=1)
        await worker.acknowledge(
            token, 2, 1, db=DB, no=1, functions=states, producers={PRODUCER: "1-1"}
        )
        await worker.acknowledge(token, 1, 1, db=DB, no=2, functions={}, producers={})

    todo: dict[str, list[Callable[[], Awaitable[object]]]] = {
        "producer": [
            lambda: redis.producer.push(PRODUCER, batch, 0),
            lambda: redis.producer.look(PRODUCER),
            lambda: redis.producer.store_dropped(PRODUCER, 1),
            lambda: redis.producer.given(PRODUCER),
        ],
        "worker": [
            worker.adopt_claims,
            save,
            worker.claim,
            save,
            worker.lost,
            lambda: worker.store_lost(PRODUCER, 1),
            tell_time,
            worker.function_names,
            lambda: reader.heartbeats("worker"),  # as `health`
            lambda: worker.release("x"),
            lambda: worker.reconcile(DB, 3, {"app.f": Numbered(totals, 3)}),
        ],
        "reader": [
            lambda: reader.live(["app.f"]),
            reader.function_names,
            reader.saved_function_names,
            read_pending,
            reader.waiting,
            reader.oldest,
            reader.dropped,
            lambda: reader.heartbeats("worker"),
            tell_time,
        ],
    }
    for do in todo[role]:
        try:
            await do()
        except StoreUnavailableError as problem:
            problems.append(str(problem))
    return problems


async def prepare(role: str, redis: Commands, client: Any) -> None:
    """What others have done before."""
    await client.flushall()
    if role != "producer":
        await push(redis, Call(), Call(seconds=2.0))
        await client.hset(redis.connection.keys.totals("app.f"), "surplus", 1)
        await client.set(redis.connection.keys.heartbeat("worker", "host:1"), "{}")
    if role == "worker":  # a claim of which no lease is known
        await redis.worker.claim()
        await client.delete(redis.connection.keys.claims)
        await push(redis, Call(), Call(), first=3)
    if role == "reader":
        await redis.worker.claim()
        await push(redis, Call(), first=3)


async def as_user(server: RedisServer, admin: Any, role: str, rules: list[str]) -> list[str]:
    """What all that a role does says to one with these rules."""
    await admin.execute_command("ACL", "SETUSER", role, "reset", "on", ">secret", *rules)
    await admin.execute_command("SCRIPT", "FLUSH")
    client = connect(server.url.replace("//", f"//{role}:secret@"))
    found = await everything_of(role, commands_on(client, max_items=1))
    await client.aclose()
    return found


@pytest.mark.integration
@pytest.mark.parametrize("role", LINES)
async def test_each_of_the_permissions_that_is_missing_is_said(
    role: str, shared_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    admin: Any = connect(shared_server.url)
    redis, unneeded = commands_on(admin), set()
    for missing in LINES[role]:
        await prepare(role, redis, admin)
        caplog.clear()
        rules = [rule for rule in LINES[role] if rule != missing]
        said = await as_user(shared_server, admin, role, rules)
        said += [record.getMessage() for record in caplog.records]
        for line in said:
            assert re.search(rf"has no permission to .*; allow .*{re.escape(missing)}", line)
        if not said:
            unneeded.add(missing)
    await admin.execute_command("ACL", "DELUSER", role)
    await admin.aclose()
    # Without which all works, or which the broker needs.
    assert unneeded == {
        rule for rule in LINES[role] if rule in {"+select", "+info"} or rule[:2] == "+x"
    }


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            "this user has no permissions to run the 'get' command or its subcommand",
            "run GET; allow +get in",
        ),
        ("this user has no permissions to run the 'get' command", "run GET; allow +get in"),
        (
            "User x has no permissions to run the 'xgroup|create' command",
            "run XGROUP CREATE; allow +xgroup|create in",
        ),
        (
            (
                f"Error running script (call to f_{SHA}): @user_script:3: @user_script: 3: "
                "The user executing the script can't run this command or subcommand"
            ),
            "run LLEN or GET in the script some; allow +llen +get in",
        ),
        (
            f"The user executing the script can't run this command or subcommand script: {SHA}, on @user_script:2.",
            "run SET in the script some; allow +set in",
        ),
        (
            (
                "ACL failure in script: User x has no permissions to run the 'set' command "
                f"script: {SHA}, on @user_script:2."
            ),
            "run SET in the script some; allow +set in",
        ),
        (
            "The user executing the script can't run this command or subcommand",
            "or subcommand; allow what the guide lists in",
        ),
        (
            "this user has no permissions to access one of the keys used as arguments",
            "allow ~a ~b:* in",
        ),
        ("No permissions to access a key", "allow ~a ~b:* in"),
        ("EXEC without MULTI", "run MULTI; allow +multi in"),
    ],
)
def test_what_each_version_of_redis_says(error: str, expected: str) -> None:
    script = "local a\nredis.call('SET', a)\nreturn redis.call('LLEN', a) + redis.pcall('GET', a)"
    assert refusals.is_one(error)
    assert expected in refusals.in_words(error, {SHA: ("some", script)}, ["~a", "~b:*"])


def test_the_broker_says_it_alike() -> None:
    error = NoPermissionError("this user has no permissions to run the 'xreadgroup' command")
    assert "run XREADGROUP; allow +xreadgroup in" in reason(error)
    error = NoPermissionError("No permissions to access a key")
    assert "allow ~{metrics_list}:* in" in reason(error)


def test_other_errors_are_none() -> None:
    for error in ("WRONGTYPE Operation against a key", "NOAUTH", "EXECABORT"):
        assert not refusals.is_one(error)


async def test_a_script_that_swallows_an_error_answers_as_before(client: Any) -> None:
    """Also one that has nothing to do with permissions."""
    text = refusals.noting(
        "local found = redis.pcall('LLEN', KEYS[1])\nreturn {type(found), KEYS[2]}"
    )
    script = client.register_script(text)
    await client.set("text", "x")
    assert await script(["text", "other"]) == [b"", [b"table", b"other"]]
    silent = client.register_script(refusals.noting("redis.pcall('LLEN', KEYS[1])"))
    assert await silent(["text"]) == [b""]
    assert await script(["nothing", "other"]) == [b"", [b"number", b"other"]]


# Reading only


@pytest.mark.integration
async def test_a_reader_needs_nothing_that_writes(start_redis: Callable[..., RedisServer]) -> None:
    """Not on a replica either."""
    master = start_redis(repl_diskless_sync_delay="0")
    replica = start_redis(replicaof=f"127.0.0.1 {master.port}")
    admin: Any = connect(master.url)
    await prepare("reader", commands_on(admin), admin)
    replicated: Any = connect(replica.url)
    assert await admin.execute_command("WAIT", 1, 0) == 1
    for server, one in ((master, admin), (replica, replicated)):
        assert await as_user(server, one, "reader", LINES["reader"]) == []
        assert {entry["object"] for entry in await one.acl_log()} <= {"client|setinfo"}
        await one.aclose()
