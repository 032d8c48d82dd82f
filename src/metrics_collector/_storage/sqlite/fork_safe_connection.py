"""A connection that is closed before the process forks.

SQLite keeps account of a file's locks by process. A child that inherits an open connection inherits the account, but no
lock: it waits for ever for what nobody holds, or overwrites what its parent reads ("How To Corrupt An SQLite Database
File", section 2.6). So a fork waits a moment until those who use a connection have closed it, and closes what is left;
who used that begins again. Only what a statement holds that does not end within `_PATIENCE` stays open: one that waits
for a slow disk, or the one in whose midst a signal handler forks.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from metrics_collector._storage.reopening import ClosedByForkError
from metrics_collector._support import fork_hooks, threads

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds that a fork waits for what other threads do at the database; most of it takes less.
_GRACE: Final = 1.0
# Forks that closed something, and the seconds within which they came, after which those who are closed get more time.
_OFTEN: Final = 3
_LATELY: Final = 60.0
# Seconds that it then waits for the statement that runs. One that waits for another program's lock is not broken off.
_PATIENCE: Final = 5.0
_AGAIN: Final = 0.05  # seconds between two attempts to break it off


class Connection(sqlite3.Connection):
    """SQLite's, which a fork may close."""

    driver: int  # the thread without which its user cannot go on

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._in_use = threading.Lock()
        self._forking = False
        super().__init__(*args, **kwargs)

    @contextmanager
    def using(self) -> Iterator[None]:
        """For whatever is done with it.

        Raises:
            ClosedByForkError: a fork has closed it, or broken off what was done.
        """
        with self._in_use:
            try:
                yield
            except sqlite3.Error as error:
                if not self._forking:
                    raise
                raise ClosedByForkError(
                    "the database was closed, since the process forks"
                ) from error

    def cursor(self, factory: Any = None) -> Any:
        """One that holds no statement open."""
        with self.using():
            return super().cursor(factory or _Cursor)

    def execute(self, *args: Any) -> Any:
        """As SQLite's, and what follows too; these would look first whether it is closed."""
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> Any:
        """As `execute`, for many rows."""
        return self.cursor().executemany(*args)

    def executescript(self, *args: Any) -> Any:
        """As `execute`, for statements that give no rows."""
        return self.cursor().executescript(*args)

    def backup(self, *args: Any, **kwargs: Any) -> None:
        """As SQLite's."""
        with self.using():
            super().backup(*args, **kwargs)

    def close(self) -> None:
        """Close it, if it is not."""
        with self._in_use:
            super().close()
        _gate.left(self)

    def close_for_fork(self) -> None:
        """Close it between two statements; what is not committed is rolled back."""
        self._forking = True
        for _ in range(ceil(_PATIENCE / _AGAIN)):
            with suppress(sqlite3.Error):  # its thread has just closed it
                self.interrupt()  # again and again: one that has not quite begun is not broken off
            if self._in_use.acquire(timeout=_AGAIN):
                try:
                    super().close()
                finally:
                    self._in_use.release()
                    _gate.left(self)
                return


class _Cursor(sqlite3.Cursor):
    """For one statement, of which it has all rows at once: a statement that is not over would keep the file open."""

    connection: Connection
    _rows: list[Any]

    def execute(self, *args: Any) -> _Cursor:
        with self._once():
            super().execute(*args)
            self._rows = super().fetchall()
        return self

    def executemany(self, *args: Any) -> _Cursor:
        with self._once():
            super().executemany(*args)
        return self

    def executescript(self, *args: Any) -> _Cursor:
        with self._once():
            super().executescript(*args)
        return self

    @contextmanager
    def _once(self) -> Iterator[None]:
        with self.connection.using():
            try:
                yield
            finally:
                super().close()  # else it would hold the statement as long as somebody holds it, if only an error

    def fetchall(self) -> list[Any]:
        return self._rows

    def fetchone(self) -> Any:
        return self._rows[0] if self._rows else None


class _Gate:
    """Where connections come in, unless the process is about to fork."""

    def __init__(self) -> None:
        # Held while one is opened, and during a fork.
        self._opening = threading.RLock()
        self._open: set[Connection] = set()
        self._waiting: set[int] = set()  # threads that are about to open one
        self._changed = threading.Condition()  # guards the two
        self._closings: deque[float] = deque(maxlen=_OFTEN)  # the times of forks that closed some

    @property
    def busy(self) -> bool:
        """Whether forks come so often that hardly a session comes to its end."""
        closings = [*self._closings]
        return len(closings) == _OFTEN and time.monotonic() - closings[0] < _LATELY

    def connect(self, path: str, driver: int, **options: Any) -> Connection:
        with self._enter():
            if (
                threads.FREE
            ):  # a statement ends only in its own thread, which may wait: none is kept
                options["cached_statements"] = 0
            connection = sqlite3.connect(
                path, factory=Connection, check_same_thread=False, **options
            )
            connection.driver = driver
            with self._changed:
                self._open.add(connection)
        return connection

    @contextmanager
    def _enter(self) -> Iterator[None]:
        here = threading.get_ident()
        with self._changed:
            self._waiting.add(here)
            self._changed.notify_all()
        try:
            with self._opening:
                yield
        finally:
            with self._changed:
                self._waiting.discard(here)

    def left(self, connection: Connection) -> None:
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()

    def shut(self) -> None:
        try:
            self._opening.acquire(timeout=_PATIENCE)
            with self._changed:
                self._changed.wait_for(self._none_can_end, _PATIENCE if self.busy else _GRACE)
        finally:  # the fork comes all the same if a signal handler raises meanwhile
            left = [*self._open]
            if left:
                self._closings.append(time.monotonic())
            for connection in left:
                connection.close_for_fork()

    def _none_can_end(self) -> bool:
        # Not those whose user's thread forks here, or waits for this to be over.
        stopped = {threading.get_ident(), *self._waiting}
        return all(connection.driver in stopped for connection in self._open)

    def open(self) -> None:
        with suppress(RuntimeError):  # it is another thread's: the wait was in vain
            self._opening.release()


_gate = _Gate()
_inherited: list[_Gate] = []


def forks_are_frequent() -> bool:
    """Whether a session should be over before the thread that it is used in can fork again."""
    return _gate.busy


def connect(path: str, driver: int, *, uri: bool = False, timeout: float) -> Connection:
    """Open a database without transactions of the driver's own.

    Args:
        path: of the file, or with `uri` a URI.
        driver: the thread without which the user of the connection cannot go on.
        timeout: the seconds that a statement waits for another program's lock.
    """
    return _gate.connect(path, driver, uri=uri, timeout=timeout, isolation_level=None)


def _before_fork() -> None:
    _gate.shut()


def _after_fork_in_parent() -> None:
    _gate.open()


def _after_fork_in_child() -> None:
    global _gate  # noqa: PLW0603 - its locks may be those of threads that are not here
    # A connection that could not be closed in time is not to be closed here either.
    _inherited.append(_gate)
    _gate = _Gate()


fork_hooks.register(
    "database",
    before=_before_fork,
    in_parent=_after_fork_in_parent,
    in_child=_after_fork_in_child,
)
