"""A real PostgreSQL server for tests."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.helpers.server import Server, free_port

START_TIMEOUT = 30.0  # seconds; a start takes some 100 ms
STOP_TIMEOUT = 10.0
USER = "postgres"  # of the database; it may do anything there
# Waits for the end of whoever started it, then ends the server, which may be stopped, and deletes its folder.
_GUARD = """
read -r _
kill -QUIT "$0" && kill -CONT "$0"
left=100
while kill -0 "$0" && [ $((left -= 1)) -gt 0 ]; do sleep 0.1; done
rm -rf "$1"
"""
# The names of other users, by whom root has it run: the server refuses root.
_OTHERS = ("postgres", "nobody")


def folder() -> Path | None:
    """Where the machine's programs of PostgreSQL are; None if it has none."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    return next((one for one in folders if (one / "postgres").exists()), None)


def _version(path: Path) -> float:
    return float(path.parent.name)


class PostgresServer(Server):
    """A server on a free loopback port, for which a crash of the machine would be the end unless told otherwise.

    `options` are those of postgresql.conf: `PostgresServer(fsync="on")`. Port, data and folder stay the same over any
    number of `stop`, `kill` and `start`; `close` or the end of the `with` block ends it and deletes all. Every method
    blocks: where the loop must go on meanwhile, use `asyncio.to_thread(server.restart)`. If this process is killed, the
    server ends, too.

    Args:
        strict: whether users need their password, which is `secret`, and TLS, whose certificate is its own, for
            127.0.0.1, in the file `certificate`; else all are let in.
        copy_of: makes a standby of that server, which has to run.
        options: see above.
    """

    def __init__(
        self, *, strict: bool = False, copy_of: PostgresServer | None = None, **options: str
    ) -> None:
        programs = folder()
        assert programs is not None
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._data = self.folder / "data"
        self._options = {"fsync": "off", "full_page_writes": "off", **options}
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._strict = strict
        self._copy_of = copy_of
        self.port = free_port()
        self.as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            names = {one.pw_name: one for one in pwd.getpwall()}
            other = next(names[name] for name in _OTHERS if name in names)
            os.chown(self.folder, other.pw_uid, other.pw_gid)
            self.as_user = {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}

    @property
    def url(self) -> str:
        """Of the database that each server has."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Of a database."""
        password = ":secret" if self._strict else ""
        return f"postgresql://{USER}{password}@127.0.0.1:{self.port}/{database}"

    @property
    def certificate(self) -> Path:
        """That of a strict one, for whoever checks it."""
        return self.folder / "server.crt"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server, making its files first if there are none, and wait until it answers."""
        if not self._data.exists():
            self._make()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "shared_buffers": "16MB",
            "max_connections": "60",
            **self._options,
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        self._process = self._run_in_background("postgres", "-D", str(self._data), *arguments)
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, str(self.pid), str(self.folder)],
            stdin=subprocess.PIPE,  # closed when this process has ended, however
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"PostgreSQL did not start; its log:\n{self._log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it in an orderly way; sessions are ended."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it at once, as a crash would: what is not on the disk is lost, as far as the system has no crash."""
        self._end(signal.SIGQUIT)

    def promote(self) -> None:
        """Make a standby one that can be written."""
        self._run("pg_ctl", "promote", "-D", str(self._data))

    def configure(self, **options: str) -> None:
        """Change options of the running server that take no new start."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for name, value in options.items():
                connection.execute(f"ALTER SYSTEM SET {name} = {value}".encode())
            connection.execute("SELECT pg_reload_conf()")

    def new_database(self) -> str:
        """The URL of a new database, which is empty."""
        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url_of(name)

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _make(self) -> None:
        if self._copy_of is not None:
            source = f"{self._copy_of.url}?application_name=standby"
            into = ("-D", str(self._data), "-R", "-X", "stream", "-c", "fast", "--no-sync")
            self._run("pg_basebackup", "-d", source, *into)
            return
        password = self.folder / "password"
        password.write_text("secret")
        password.chmod(0o644)
        login = "scram-sha-256" if self._strict else "trust"
        how = (f"--auth-host={login}", "--auth-local=trust", f"--pwfile={password}")
        where = ("-D", str(self._data), "-U", USER, "--encoding=UTF8", "--locale=C", "--no-sync")
        self._run("initdb", *where, *how)
        if self._strict:
            self._make_certificate()

    def _make_certificate(self) -> None:
        key, certificate = self._data / "server.key", self._data / "server.crt"
        self._run(
            "openssl",
            *("req", "-new", "-x509", "-nodes", "-subj", "/CN=here"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        )
        shutil.copy(certificate, self.certificate)
        self._options["ssl"] = "on"
        rules = self._data / "pg_hba.conf"
        rules.write_text(rules.read_text().replace("\nhost ", "\nhostssl "))

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [program, *arguments],
            env={**os.environ, "PATH": f"{self._programs}{os.pathsep}{os.environ['PATH']}"},
            cwd=self.folder,
            capture_output=True,
            check=False,
            text=True,
            **self.as_user,
        )
        if done.returncode:
            raise RuntimeError(f"{program} has failed: {done.stdout}{done.stderr}")

    def _run_in_background(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [str(self._programs / program), *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.as_user,
            )

    def _end(self, how: signal.Signals) -> None:
        if self._guard is not None:  # first, as the pid may soon be another's
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:  # its children end with it
                self._process.kill()
                self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        # Asked through the socket in its own folder, so that no other server can answer for it.
        try:
            url = f"postgresql://{USER}@/postgres?host={self.folder}&port={self.port}"
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True
