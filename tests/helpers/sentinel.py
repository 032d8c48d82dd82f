"""A master, its replicas and three Sentinels as real processes."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

from redis import Redis
from redis.exceptions import RedisError

from tests.helpers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAME = "mymaster"
LIMIT = 180.0  # seconds until servers count as never settled; some 15 are usual
# Else a replica waits five seconds for its first copy, and says only every ten that it is there.
PROMPT = {"repl_diskless_sync_delay": "0", "repl_ping_replica_period": "1"}


class Sentinel(RedisServer):
    """One that watches a master; the state of that is as this one sees it."""

    def __init__(self, *watch: str, **options: str) -> None:
        super().__init__(**options)
        self._config = self.folder / "sentinel.conf"  # which it rewrites
        self._config.write_text("".join(f"sentinel {line}\n" for line in watch))

    def _command(self) -> list[str]:
        program, *options = super()._command()
        at = options.index("--save")  # which is for those that have data
        return [program, str(self._config), *options[:at], *options[at + 2 :], "--sentinel"]

    def state(self) -> dict[str, Any]:
        """What it says of the master."""
        with Redis.from_url(self.url) as client:
            return dict(client.sentinel_master(NAME))


class SentinelGroup:
    """Servers of which one is the master, and Sentinels that see it as down after half a second.

    `options` are those of the servers, as `RedisServer` has them. Every method blocks until it is done.
    """

    def __init__(
        self, *, replicas: int = 1, sentinels: Mapping[str, str] | None = None, **options: str
    ) -> None:
        options |= PROMPT
        first = RedisServer(**options)
        password = options.get("requirepass")
        follow = {"replicaof": f"127.0.0.1 {first.port}"}
        watch = [
            f"monitor {NAME} 127.0.0.1 {first.port} 2",
            f"down-after-milliseconds {NAME} 500",
            f"failover-timeout {NAME} 3000",
        ]
        if password is not None:
            options["masterauth"] = password
            watch.append(f"auth-pass {NAME} {password}")
        self.servers = [first, *(RedisServer(**options | follow) for _ in range(replicas))]
        self.sentinels = [Sentinel(*watch, **(sentinels or {})) for _ in range(3)]
        self._running = ExitStack()

    @property
    def url(self) -> str:
        """The address of the master, without a password."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{NAME}/0"

    @property
    def master(self) -> RedisServer:
        """The server that the first Sentinel names."""
        port = self.sentinels[0].state()["port"]
        return next(server for server in self.servers if server.port == port)

    def wait_until_ready(self) -> None:
        """Wait until all servers are up and alike, and every Sentinel knows that: before, no failover can succeed."""
        wait_until(self._is_ready)

    def fail_over(self, stop: signal.Signals) -> RedisServer:
        """Stop the master by SIGKILL or SIGSTOP, and wait until all Sentinels name another one; returns the old one."""
        self.wait_until_ready()
        master = self.master
        if stop == signal.SIGKILL:
            master.kill()
        else:
            os.kill(master.pid, stop)
        wait_until(lambda: all(one.state()["port"] != master.port for one in self.sentinels))
        return master

    def _is_ready(self) -> bool:
        others = len(self.servers) - 1
        with Redis.from_url(self.master.url) as client:
            replication: dict[str, Any] = client.info("replication")
        offsets = [replication[f"slave{n}"]["offset"] for n in range(others)]
        states = [sentinel.state() for sentinel in self.sentinels]
        # A few commands may be under way, but no copy of the whole.
        return replication["master_repl_offset"] - min(offsets) < 1_000_000 and all(
            (state["port"], state["flags"], state["num-other-sentinels"], state["num-slaves"])
            == (self.master.port, "master", len(states) - 1, others)
            for state in states
        )

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            for server in (*self.servers, *self.sentinels):
                starting.callback(server.close)
            for server in (*self.servers, *self.sentinels):
                server.start()
            self.wait_until_ready()
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        with suppress(
            RedisError, LookupError
        ):  # who does not answer, or not all of it, is not there yet
            if condition():
                return
        time.sleep(0.02)
    raise TimeoutError(f"not true within {LIMIT:g} s")
