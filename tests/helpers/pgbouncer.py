"""A real PgBouncer before a server, which gives each transaction one of two sessions of it."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from tests.helpers.postgres_server import USER, PostgresServer
from tests.helpers.server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = """\
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 2
"""
START_TIMEOUT = 10.0  # seconds


def binary() -> str | None:
    """Path of the machine's `pgbouncer`, None if it has none."""
    return shutil.which("pgbouncer", path="/usr/sbin") or shutil.which("pgbouncer")


@contextmanager
def pgbouncer(server: PostgresServer) -> Iterator[int]:
    """Its port."""
    program, port = binary(), free_port()
    assert program is not None
    folder = server.folder
    (folder / "users").write_text(f'"{USER}" ""\n')
    settings = folder / "pgbouncer.ini"
    settings.write_text(SETTINGS.format(server=server.port, port=port, folder=folder))
    with (folder / "pgbouncer.log").open("ab") as log:
        process = subprocess.Popen(
            [program, "-q", str(settings)], stdout=log, stderr=log, **server.as_user
        )
    try:
        url = server.url.replace(str(server.port), str(port))
        deadline = time.monotonic() + START_TIMEOUT
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "pgbouncer.log").read_text())
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.Error:
        return False
    return True
