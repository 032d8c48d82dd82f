"""A real `redis-server` process for one test."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from metrics_collector._support import sentinel_urls
from tests.helpers.server import Server, free_port

START_TIMEOUT = 10.0  # seconds; a start takes some 20 ms
STOP_TIMEOUT = 10.0  # seconds; an orderly stop takes some 100 ms


def binary() -> str | None:
    """Path of the machine's `redis-server`, None if it has none."""
    return shutil.which("redis-server")


def patient_client(url: str, **options: Any) -> Redis:
    """A client that waits for some seconds for a server that was killed, or cut its connections."""
    options |= {"retry": Retry(ConstantBackoff(0.1), 50)}
    group = sentinel_urls.split(url)
    if group is None:
        return Redis.from_url(url, **options)
    places = [urlsplit(host) for host in group.hosts]
    sentinels: Any = Sentinel  # redis-py has no types for it
    watching = sentinels([(place.hostname, place.port) for place in places])
    client: Redis = watching.master_for(group.master, **options)
    return client


class RedisServer(Server):
    """A `redis-server` on a free loopback port, which persists nothing unless told to.

    `options` are those of redis.conf, with underscores: `RedisServer(appendonly="yes")`. The port,
    the password and the folder stay the same over any number of `stop`, `kill` and `start`; `close`
    or the end of the `with` block ends the server and deletes its folder. Every method blocks until
    it is done: where the loop must go on meanwhile, use `asyncio.to_thread(server.restart)`.
    """

    def __init__(self, **options: str) -> None:
        # Not pytest's tmp_path: the path of a unix socket has room for 107 bytes only.
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """The `redis://` address, with the password if there is one."""
        return f"redis://{self._credentials}127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """The `unix://` address of the same server, with the password if there is one."""
        return f"unix://{self._credentials}{self._socket}?db=0"

    @property
    def pid(self) -> int:
        """Process id of the running server; RuntimeError if none runs."""
        if self._process is None:
            message = "this redis-server is not running"
            raise RuntimeError(message)
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers PING.

        TimeoutError after `START_TIMEOUT`, RuntimeError if it ends before; both carry its log.
        """
        if self._process is not None:
            message = f"this redis-server is running already, as process {self.pid}"
            raise RuntimeError(message)
        self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.kill()
                error = RuntimeError if ended else TimeoutError
                raise error(f"redis-server did not start; its log:\n{self._log()}")
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop the server in an orderly way (SIGTERM), which saves what its options persist."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_TIMEOUT)
            self._process = None

    def kill(self) -> None:
        """End the server at once (SIGKILL), as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT)
            self._process = None

    @property
    def _credentials(self) -> str:
        password = self._options.get("requirepass")
        return "" if password is None else f":{quote(password, safe='')}@"

    @property
    def _socket(self) -> Path:
        return self.folder / "socket"

    @property
    def _logfile(self) -> Path:
        return self.folder / "log"

    def _command(self) -> list[str]:
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "unixsocket": str(self._socket),
            "dir": str(self.folder),
            "logfile": str(self._logfile),
            "save": "",
            **self._options,
        }
        command = ["redis-server"]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", value]
        return command

    def _answers(self) -> bool:
        # Asked through the socket in its own folder, so that no other server can answer for it.
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
            except OSError:
                return False

    def _log(self) -> str:
        return self._logfile.read_text() if self._logfile.exists() else "(none)"
