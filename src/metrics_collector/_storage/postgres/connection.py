"""A connection to PostgreSQL that one thread at a time uses, and that the child of a fork leaves alone.

The child has the parent's socket. It must not even close the connection: what is said then would end the parent's
session. So in a child the socket is replaced by one that leads nowhere.
"""

from __future__ import annotations

import math
import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._storage.postgres import server_errors
from metrics_collector._storage.reopening import ClosedByForkError
from metrics_collector._support import fork_hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

T = TypeVar("T")

# Seconds for each host that the URL names, unless it says otherwise itself.
_CONNECT_TIMEOUT: Final = 3
# By these the kernel notices within half a minute that a host is not reached any more.
_KEEPALIVES: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
_CLOSING: Final = 1.0  # seconds that the end waits for a statement that was broken off

_open: set[Connection] = set()
_inherited: list[Connection] = []


class _StoppedError(Exception):
    """Nobody waits for the statement any more."""


class _Driver(psycopg.Connection[Any]):
    """psycopg's, which gives up a server that hangs, and a statement that nobody waits for."""

    patience = math.inf
    stopped = False

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        return super().wait(self._watched(gen), *args, **options)

    def _watched(self, steps: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """The same steps; psycopg comes back ten times a second though the server has said nothing."""
        until = time.monotonic() + self.patience
        try:
            wanted = next(steps)
            while True:
                ready = yield wanted
                if not ready:
                    self._check(until)
                wanted = steps.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result

    def _check(self, until: float) -> None:
        if self.stopped:
            raise _StoppedError
        if time.monotonic() > until:
            raise psycopg.OperationalError(
                f"the server has not answered for {self.patience:.0f} seconds"
            )


class Connection:
    """One session with the server. Every method but `stop` blocks.

    Args:
        url: libpq's.
        label: the URL without its secrets, for messages.
        patience: the seconds that a statement may take, whatever the server does.
    """

    def __init__(self, url: str, label: str, *, patience: float) -> None:
        self._url = url
        self.label = label
        self._patience = patience
        self._in_use = threading.Lock()
        self._stopped = False
        self._pid = os.getpid()
        self._driver: _Driver | None = None

    def open(self) -> None:
        """Connect.

        Raises:
            StoreUnavailableError: the server cannot be reached, or refuses.
            ConfigurationError: libpq cannot read the URL.
        """
        with self._using():
            try:
                given = conninfo_to_dict(self._url)
            except psycopg.ProgrammingError:  # whose message may hold a password
                raise server_errors.malformed(self.label) from None
            options: dict[str, Any] = {"connect_timeout": _CONNECT_TIMEOUT, **_KEEPALIVES, **given}
            options |= {"fallback_application_name": "metrics_collector", "client_encoding": "utf8"}
            # No statement stays prepared: PgBouncer gives each transaction another session of the server.
            self._driver = _Driver.connect(autocommit=True, prepare_threshold=None, **options)
            _open.add(self)

    def use(
        self, work: Callable[[psycopg.Connection[Any]], T], *, patience: float | None = None
    ) -> T:
        """What something returns that is done with psycopg's connection, whose errors come as ours.

        `patience`: another one than usual.
        """
        with self._using():
            if self._driver is None or self._driver.closed:
                raise StoreUnavailableError(
                    f"the connection to the database {self.label} was closed"
                )
            self._driver.patience = self._patience if patience is None else patience
            return work(self._driver)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Have one statement done, with a `?` for each of its parameters; its rows."""

        def work(driver: psycopg.Connection[Any]) -> list[Any]:
            # Binary, as arrays of numbers would take three times as long as text.
            given = sql.replace("%", "%%").replace("?", "%b")
            cursor = driver.execute(given, parameters, binary=True)
            return cursor.fetchall() if cursor.description else []

        return self.use(work)

    def script(self, sql: str) -> None:
        """Have several statements done in one go, without parameters or rows."""
        self.use(lambda driver: driver.execute(sql))

    def stop(self) -> None:
        """Break off what another thread does with it, and have that thread close it."""
        self._stopped = True
        if self._driver is not None:
            self._driver.stopped = True

    def close(self) -> None:
        """Close it; what is not committed is rolled back."""
        self.stop()
        if self._in_use.acquire(timeout=_CLOSING):
            try:
                self._disconnect()
            finally:
                self._in_use.release()

    @contextmanager
    def _using(self) -> Iterator[None]:
        with self._in_use:
            try:
                yield
            except psycopg.Error as error:
                if os.getpid() != self._pid:
                    raise ClosedByForkError("the database was left to the parent") from error
                raise server_errors.translated(error, self.label) from error
            finally:
                if self._stopped:
                    self._disconnect()

    def _disconnect(self) -> None:
        driver, self._driver = self._driver, None
        if driver is not None and os.getpid() == self._pid:
            if driver.info.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                with suppress(Exception):  # the server goes on for nothing then
                    driver.cancel_safe(timeout=_CLOSING)
            driver.close()
        _open.discard(self)

    def leave_to_parent(self) -> None:
        """Let the socket lead nowhere, in a child."""
        if self._driver is not None:
            with suppress(OSError, psycopg.Error):  # it was just being closed
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, self._driver.fileno())
                os.close(nowhere)


def _after_fork_in_child() -> None:
    # Kept, since to free one is to close it.
    _inherited.extend(_open)
    _open.clear()
    for connection in _inherited:
        connection.leave_to_parent()


fork_hooks.register("database", in_child=_after_fork_in_child)
