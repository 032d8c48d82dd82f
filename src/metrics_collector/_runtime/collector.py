"""The process's one collector: its outbox, its settings, and where its home is."""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from metrics_collector._errors import (
    ConfigurationError,
    MetricsCollectorError,
    StoreUnavailableError,
)
from metrics_collector._recording import recorder
from metrics_collector._runtime.places import GRACE, SPOOL_GRACE, GoneError, TaskPlace
from metrics_collector._runtime.thread_place import ThreadPlace
from metrics_collector._sending.last_send import LastSend
from metrics_collector._sending.outbox import Outbox
from metrics_collector._sending.sender import USUAL_MAX_BUFFERED, hold
from metrics_collector._support import fork_hooks, process
from metrics_collector._support.rate_limited_log import Notice

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Awaitable, Callable, Iterator

    from metrics_collector._recording.recorder import Record
    from metrics_collector._runtime.home import Home
    from metrics_collector._sending.spool import Spool
    from metrics_collector._support.settings import Settings

T = TypeVar("T")

_USUAL_EXIT_TIMEOUT: Final = 2.0  # where no settings can be read: the default of the setting
_MOVES: Final = 500  # that a call follows a home which leaves before it is served
_MOVE_TIME: Final = 0.01  # seconds that such a move may take


class Collector:
    """The state behind the surface; there is one, `collector`."""

    def __init__(self) -> None:
        self.notice = Notice()
        self._exit_hooked = False
        self._isolated = False  # whether no run may leave the pinned Redis and database
        self._begin(None)

    def _begin(self, settings: Settings | None) -> None:
        # Invariant: `_place` and `_settings` change only under the lock, so there is never a second home.
        self._lock = threading.RLock()
        self._place: TaskPlace | ThreadPlace | None = None
        self._pinned = settings  # stands in for the environment
        self._settings = settings
        self._server: Any = None  # the embedded Redis
        self._spool: Spool | None = None
        self.broker: Any = None  # the user's own, to be rung instead of ours
        self.outbox = Outbox(recorder.buffer)
        self.last_error: str | None = None
        self._last_send = LastSend(self.outbox, self.notice)

    def settings(self) -> Settings:
        """The settings of the last run, or those of the environment.

        Raises:
            ConfigurationError: one is wrong.
        """
        with self._lock:
            if self._settings is None:
                from metrics_collector._support.settings import Settings

                self._settings = Settings()
            return self._settings

    def failed(self, what: str) -> None:
        """Remember what went wrong, for `statistics()`."""
        self.last_error = what

    async def call(self, action: Callable[[Home], Awaitable[T]]) -> T:
        """Do something with the home, wherever it is.

        Raises:
            ConfigurationError: a setting is wrong.
        """
        self.settings()
        for _ in range(_MOVES):
            try:
                return await self.ensure_place().call(action)
            except GoneError:
                await asyncio.sleep(_MOVE_TIME)
        raise StoreUnavailableError("the sender moves from loop to loop; try again")

    def ensure_place(self) -> TaskPlace | ThreadPlace:
        """Where the home is; a thread is started if there is none.

        Raises:
            RuntimeError: no thread can be started, as at the exit of the interpreter.
        """
        with self._lock:
            place = self._place
            if place is None or not place.alive():
                self._hook_exit()
                thread = self._thread_place()
                thread.start()
                self._place = thread
                if isinstance(place, TaskPlace):
                    place.retire()
                place = thread
            if self._settings is None or self._settings.enabled:
                recorder.engage()
            return place

    def start(self) -> None:
        """What the first record calls."""
        if sys.is_finalizing():
            return  # a finaliser recorded this; to start a thread would hang
        try:
            self.ensure_place()
        except (OSError, RuntimeError) as error:  # no socket for its loop, no thread
            self.failed(f"no sender could be started: {error}")
            if process.exiting():
                return  # the exit's hook will send
            self.notice.warn("send", "no sender could be started yet: %s", error)
            self.outbox.enforce(USUAL_MAX_BUFFERED)
            recorder.arm()

    async def enter(self, settings: Settings | None) -> TaskPlace | None:
        """Begin a run: take the home to the running loop.

        Returns:
            The place to `leave`; `None` if the home is on another loop and stays there, or metrics are switched off.

        Raises:
            ConfigurationError: a setting is wrong, or not that of the run that is already there.
            IncompatibleStoreError: Redis is too old.
        """
        if settings is not None and self._isolated:
            settings = _in_place_of(settings, self.settings())
        while (claimed := self._claim(settings)) is None:  # noqa: ASYNC110 - the one that ends may be on another loop
            await asyncio.sleep(_MOVE_TIME)
        before, place = claimed
        if place is None:
            return None
        if place is before:
            return await self._join(place, settings)
        try:
            if isinstance(before, ThreadPlace):
                await before.leave()
            elif before is not None:
                before.retire()
            home = self._home()
            try:
                await home.start(lambda: self._lost(place))
                await home.greet()
            except BaseException:
                await asyncio.shield(home.stop())
                raise
        except BaseException as error:
            place.fail(error)
            self._lost(place)
            raise
        place.settle(home)
        recorder.engage()
        return place

    def _claim(
        self, settings: Settings | None
    ) -> tuple[TaskPlace | ThreadPlace | None, TaskPlace | None] | None:
        """Where the home was until now, and the place on this loop: a new one, or that of a run to be joined.

        `None` while a run is ending, which can be neither joined nor taken over.
        """
        with self._lock:
            before = self._place
            if isinstance(before, TaskPlace) and before.alive():
                if before.ending:
                    return None
                if settings is not None and settings != self._settings:
                    raise ConfigurationError(
                        "the process's one collector is already running, with other settings"
                    )
                if before.loop is not asyncio.get_running_loop():
                    return before, None
                before.users += 1
                return before, before
            self._settings = settings if settings is not None else self._pinned
            if not self.settings().enabled:
                recorder.discard()
                return before, None
            self._hook_exit()
            self._place = place = TaskPlace()
            return before, place

    async def _join(self, place: TaskPlace, settings: Settings | None) -> TaskPlace | None:
        try:
            await place.ready()
        except GoneError:  # whoever began that run gave it up
            return await self.enter(settings)
        except BaseException:
            with self._lock:
                place.users -= 1
            raise
        return place

    async def leave(self, place: TaskPlace) -> None:
        """End a run: the last one sends what is left; what cannot be sent is left to a thread."""
        with self._lock:
            place.users -= 1
            if place.users:
                return
            place.ending = True
            lost = self._place is not place  # another home has the outbox
            timeout = None if lost else self.settings().exit_timeout
        try:
            self._end_last_send(well=await place.leave(timeout))
        finally:
            self._lost(place)

    def forgotten(self, place: TaskPlace) -> None:
        """A run was never left. If its loop is gone, so is the home, and the next record starts the thread."""
        with self._lock:
            # Called by the garbage collector, maybe that of the interpreter's end: nothing is started here.
            if self._place is place and not place.alive():
                self._place = None
                recorder.arm()

    def reset(self, settings: Settings | None = None) -> None:
        """Forget everything, and begin anew with these settings in place of the environment's.

        For tests; not on the loop that has the home.
        """
        self._stop_thread()
        recorder.buffer.clear()
        self._begin(settings)
        recorder.arm()

    @contextmanager
    def isolated(self, settings: Settings, buffer: deque[Record]) -> Iterator[None]:
        """For tests: within this, everything is as in a new process; afterwards it is as it was before.

        No record starts the thread, only what needs Redis does, so that entries wait in the buffer until then. A run
        that is going on elsewhere goes on with what it has.

        Args:
            settings: in place of the environment's; no run goes to another Redis or database.
            buffer: takes the records.
        """
        if self._stop_thread():
            recorder.arm()
        with recorder.redirected(buffer):
            before = vars(self).copy()
            self._begin(settings)
            self._isolated = True
            self.notice = Notice()  # a test finds its lines in the log, whatever others have logged
            try:
                yield
            finally:
                recorder.engage()  # a call that ends in another thread is to start nothing now
                self._stop_thread()
                vars(self).update(before, _exit_hooked=self._exit_hooked)

    def _stop_thread(self) -> bool:
        """Stop the thread, if that is where the home is, without sending; whether it was."""
        with self._lock:
            place = self._place
            if not isinstance(place, ThreadPlace):
                return False
            self._place = None
        for _ in range(40):  # ten seconds: it may still be loading its drivers
            if place.stop(None):
                break
        return True

    def after_fork(self) -> None:
        """Begin anew in a child: its parent sends what was recorded before."""
        # Kept from the garbage collector: the sockets and the epoll in them are the parent's too.
        _abandoned.append((self._place, self._server))
        self.outbox.abandon()
        settings, broker = self._settings, self.broker
        self._exit_hooked = False  # multiprocessing clears the hooks of its children
        self._begin(self._pinned)
        self._settings, self.broker = settings, broker

    def _home(self, *, strange_loop: bool = False) -> Home:
        with fork_hooks.no_fork():
            from metrics_collector._runtime import assembly
            from metrics_collector._runtime.home import Home

            settings = self.settings()
            server = None
            if assembly.is_embedded(settings):
                with self._lock:
                    if self._server is None:
                        self._server = assembly.embedded_server()
                    server = self._server
            with self._lock:
                folder, spool = settings.spool_dir, self._spool
                if folder is None:
                    self._spool = None
                elif spool is None or spool.folder != folder:
                    self._spool = assembly.spool(folder, self.outbox.producer)
            return Home(
                settings,
                self.outbox,
                server=server,
                broker=self.broker,
                strange_loop=strange_loop,
                spool=self._spool,
                notice=self.notice,
                failed=self.failed,
            )

    def _thread_place(self) -> ThreadPlace:
        outbox = self.outbox

        async def hold_back(cause: Exception) -> None:
            await hold(outbox, cause, notice=self.notice, failed=self.failed)

        return ThreadPlace(lambda: self._home(strange_loop=True), hold_back)

    def _lost(self, place: TaskPlace) -> None:
        """A run has ended: from here a thread goes on, at once if anything waits, else at the next record."""
        with self._lock:
            if self._place is not place:
                return
            self._place = None
            recorder.arm()
            if self.outbox.unsent or self.outbox.kept:
                self.start()

    def _hook_exit(self) -> None:
        if not self._exit_hooked:
            self._exit_hooked = True
            process.at_exit(self.at_exit)

    def at_exit(self) -> None:
        """Send what is left, within METRICS_EXIT_TIMEOUT; another time if more came."""
        with self._lock:
            place = self._place
            if isinstance(place, ThreadPlace):
                self._place = None
        running = isinstance(place, ThreadPlace) and place.alive()
        hopeless = self._last_send.hopeless()
        spooling = self._spool is not None and bool(self.outbox.exposed(embedded=False))
        if not running and (not self.outbox.unsent or (hopeless and not spooling)):
            return
        # To no avail nobody waits for Redis again; the spool takes what came since.
        timeout = 0.0 if hopeless else self._exit_timeout()
        if isinstance(place, ThreadPlace) and hopeless and not spooling:
            place.stop(None)
        elif isinstance(place, ThreadPlace) and running:
            self._end_last_send(well=place.stop(timeout, self._grace()))
        elif isinstance(place, TaskPlace) and place.alive():
            self._end_last_send(well=place.finish(timeout, self._grace()))
        else:
            self._end_last_send(well=self._thread_place().stop_here(timeout))

    def _grace(self) -> float:
        """Seconds that the exit waits beyond those for sending."""
        return GRACE if self._spool is None else SPOOL_GRACE

    def _end_last_send(self, *, well: bool) -> None:
        self._last_send.ended(well=well, embedded=self._server is not None)

    def _exit_timeout(self) -> float:
        try:
            return self.settings().exit_timeout
        except MetricsCollectorError:
            return _USUAL_EXIT_TIMEOUT


def _in_place_of(settings: Settings, pinned: Settings) -> Settings:
    """The settings, with the pinned Redis and database."""
    names = ("redis_url", "taskiq_broker_url", "taskiq_result_backend_url", "database_name")
    return settings.model_copy(update={name: getattr(pinned, name) for name in names})


_abandoned: Final[list[Any]] = []

collector: Final = Collector()
recorder.on_first_record(collector.start)
# Beside the hook of the first record, which runs before those that the program has set up until then: this one runs
# after nearly all of them, and sends what they record.
atexit.register(collector.at_exit)
fork_hooks.register("collector", in_child=collector.after_fork)
