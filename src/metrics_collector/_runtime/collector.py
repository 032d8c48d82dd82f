"""The one collector of a process: its outbox, its settings, its runs, and the sender thread."""

from __future__ import annotations

import asyncio
import atexit
import math
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from metrics_collector._errors import (
    ConfigurationError,
    MetricsCollectorError,
    StoreUnavailableError,
)
from metrics_collector._recording import recorder
from metrics_collector._runtime.sender_thread import SenderThread, StoppedError
from metrics_collector._sending.last_send import LastSend
from metrics_collector._sending.outbox import Outbox
from metrics_collector._sending.sender import USUAL_MAX_BUFFERED, keep_entries
from metrics_collector._support import fork_detection, fork_hooks, process, uwsgi
from metrics_collector._support.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Awaitable, Callable, Iterator

    from metrics_collector._core.models import Statistics
    from metrics_collector._recording.recorder import Record
    from metrics_collector._runtime.sending_pipeline import SendingPipeline
    from metrics_collector._sending.spool import Spool
    from metrics_collector._support.settings import Settings

T = TypeVar("T")

GRACE: Final = 0.25  # seconds that the exit waits beyond those for sending
SPOOL_GRACE: Final = 10.0  # the same where it writes to a spool, on a disk that may be very slow
_USUAL_EXIT_TIMEOUT: Final = 2.0  # where no settings can be read: the default of the setting
_PAUSE: Final = 1.0  # seconds before the next try to start a thread, which may cost a millisecond of a call's time
_RESET_TIMEOUT: Final = 10.0  # seconds: the thread may still be loading its drivers


class Run:
    """One `async with MetricsCollector()`."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()  # a user's own broker is used there
        self.ending = False  # whether it is being left


class Collector:
    """What the public functions work on; there is one, `collector`."""

    def __init__(self) -> None:
        self.log = RateLimitedLog()
        self._exit_hooked = False
        self._isolated = False  # whether each run uses the pinned Redis and database
        self._begin(None)

    def _begin(self, settings: Settings | None) -> None:
        # Invariant: `_thread` and `_settings` change only under the lock, so there are never two senders at work.
        self._lock = threading.RLock()
        self._thread: SenderThread | None = None
        # In order. A dict, as the garbage collector may remove one at any time, and `pop` is atomic.
        self._runs: dict[Run, None] = {}
        self._pinned = settings  # in place of those of the environment
        self._settings = settings
        self._server: Any = None  # the embedded Redis
        self._spool: Spool | None = None
        self._next_try = (
            -math.inf
        )  # when a record may start the thread, in seconds of `monotonic()`
        self.broker: Any = None  # the user's own, which is asked for flushes instead of ours
        self.outbox = Outbox(recorder.buffer)
        self.last_error: str | None = None  # for `statistics()`
        self._last_send = LastSend(self.outbox, self.log, limit="METRICS_EXIT_TIMEOUT")

    def settings(self) -> Settings:
        """The settings of the last run, or those of the environment.

        Raises:
            ConfigurationError: one is wrong.
        """
        with self._lock:
            if self._settings is None:
                self._settings = self._usual_settings()
            return self._settings

    def _usual_settings(self) -> Settings:
        if self._pinned is not None:
            return self._pinned
        from metrics_collector._support.settings import Settings

        return Settings()

    def statistics(self) -> Statistics:
        """As the public function of that name."""
        self.notice_fork()
        from metrics_collector._core.models import Statistics

        return Statistics(**self.outbox.counts()._asdict(), last_error=self.last_error)

    def notice_fork(self) -> None:
        """Begin anew, if this is a child that was forked without Python's hooks; it may have recorded before."""
        if fork_detection.notice() and recorder.buffer:
            self.start()

    def failed(self, what: str) -> None:
        """Remember what went wrong, for `statistics()`."""
        self.last_error = what

    async def call(self, action: Callable[[SendingPipeline], Awaitable[T]]) -> T:
        """What an action with the pipeline returns; it runs in the thread, while the caller's loop goes on.

        Raises:
            ConfigurationError: a setting is wrong, or this is a subinterpreter.
            StoreUnavailableError: no thread can be started, or there is no pipeline.
        """
        process.refuse_subinterpreter()
        self.notice_fork()
        self.settings()
        before = self._thread
        while True:
            try:
                thread = self._ensure_thread()
            except (OSError, RuntimeError) as error:
                raise StoreUnavailableError(f"cannot start the sender thread: {error}") from error
            try:
                return await thread.call(action)
            except StoppedError:  # another one replaces it
                continue
            except MetricsCollectorError:
                if thread is not before or not thread.failed:
                    raise
                before = None
                thread.request_stop()  # what kept it from sending may be over

    def _ensure_thread(self) -> SenderThread:
        """The sender thread; it is started if there is none.

        Raises:
            ConfigurationError: this is a subinterpreter.
            OSError: no loop can be made, for lack of a socket.
            RuntimeError: no thread can be started, as at the exit of the interpreter.
        """
        with self._lock:
            thread = self._thread
            if thread is None or not thread.alive():
                if sys.is_finalizing():  # to start one would hang
                    raise RuntimeError("the interpreter is about to end")
                thread = self._start_thread()
            if self._settings is None or self._settings.enabled:
                recorder.only_append()
            return thread

    def _start_thread(self) -> SenderThread:
        before = self._thread
        try:
            if not self._exit_hooked:
                self._exit_hooked = True
                process.at_exit(self.at_exit)
            if uwsgi.without_threads():
                self.failed(uwsgi.NO_THREADS)
                self.log.trouble("threads", "%s", uwsgi.NO_THREADS)
            process.refuse_subinterpreter()
            # Set before it starts, so that a signal handler that records in between finds it.
            self._thread = thread = self._new_thread(before)
            thread.start()
        except BaseException:
            self._thread = before
            if not process.exiting():  # else `at_exit` sends
                recorder.start_on_next_record()
            raise
        return thread

    def start(self) -> None:
        """Start the sender thread; the first record calls this."""
        fork_detection.notice()
        if sys.is_finalizing():
            return  # a finaliser recorded this; to start a thread would hang
        if uwsgi.about_to_fork() or time.monotonic() < self._next_try:
            recorder.start_on_next_record()
            self.outbox.enforce(USUAL_MAX_BUFFERED)
            return
        try:
            self._ensure_thread()
        except (OSError, RuntimeError) as error:  # no socket for its loop, no thread
            self._put_off(f"cannot start the sender thread; retrying: {error}")
        except ConfigurationError as error:  # not of a setting, which the thread reads
            self._put_off(str(error))

    def _put_off(self, why: str) -> None:
        """Have a later record start the thread."""
        self.failed(why)
        if not process.exiting():
            self.log.trouble("start", "%s", why)
            self.outbox.enforce(USUAL_MAX_BUFFERED)
            self._next_try = time.monotonic() + _PAUSE

    async def enter(self, settings: Settings | None) -> Run | None:
        """Begin a run, and check that Redis can be used; `None` if metrics are switched off.

        Without settings it has those of the run that is already there, or of the environment.

        Raises:
            ConfigurationError: a setting is wrong, or differs from that of the run that is already there; or this is a
                subinterpreter.
            IncompatibleStoreError: Redis is too old, or a cluster.
        """
        process.refuse_subinterpreter()
        self.notice_fork()
        if settings is not None and self._isolated:
            from metrics_collector._runtime import assembly

            settings = assembly.on_stores_of(self.settings(), settings)
        run = Run()
        with self._lock:
            if not self._runs:
                self._change_settings(self._usual_settings() if settings is None else settings)
            elif settings is not None and settings != self._settings:
                raise ConfigurationError(
                    "the process's one collector is already running, with other settings"
                )
            if not self.settings().enabled:
                recorder.discard()
                return None
            self._runs[run] = None
        try:
            await self.call(lambda pipeline: pipeline.check())
        except StoreUnavailableError as error:
            self.failed(str(error))
            self.log.trouble("send", "%s; entries wait in this process", error)
        except BaseException:
            self.forget(run)
            raise
        return run

    def _change_settings(self, settings: Settings) -> None:
        """Use these from now on; a thread that uses others is replaced."""
        before, self._settings = self._settings, settings
        # If no settings were read before, the thread has not read any yet, and will read these.
        if self._thread is not None and (self._thread.failed or before not in {None, settings}):
            self._thread.request_stop()

    async def leave(self, run: Run) -> None:
        """End a run: the last one waits until all is sent. What cannot be sent in time, the thread sends later."""
        self.notice_fork()
        with self._lock:
            if run not in self._runs:
                return  # it belongs to the parent of this forked child
            run.ending = True
            last = all(one.ending for one in tuple(self._runs))
            timeout = self.settings().exit_timeout
        try:
            if last:
                self._end_last_send(
                    complete=await self.call(lambda pipeline: pipeline.finish(timeout))
                )
        except MetricsCollectorError:  # there is no pipeline, as the log says
            self._end_last_send(complete=False)
        finally:
            self.forget(run)

    def forget(self, run: Run) -> None:
        """Remove a run; without a lock, as the garbage collector calls this, too."""
        self._runs.pop(run, None)

    def _broker_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop on which the user's broker is used: that of the first run whose loop runs."""
        return next((run.loop for run in tuple(self._runs) if run.loop.is_running()), None)

    def reset(self, settings: Settings | None = None) -> None:
        """Forget everything and begin anew, for tests, with settings in place of those of the environment."""
        self._stop_thread()
        recorder.buffer.clear()
        self._begin(settings)
        recorder.start_on_next_record()

    @contextmanager
    def isolated(self, settings: Settings, buffer: deque[Record]) -> Iterator[None]:
        """Have everything as in a new process, for tests; afterwards it is as it was before.

        No record starts the thread, only what needs Redis does, so that entries wait in the buffer until then. What was
        recorded before is sent afterwards. No run uses another Redis or database than the settings say.
        """
        if self._stop_thread():
            recorder.start_on_next_record()
        with recorder.redirected(buffer):
            before = vars(self).copy()
            self.log = RateLimitedLog()  # so that nothing logged before holds a line back
            self._begin(settings)
            self._isolated = True
            try:
                yield
            finally:
                recorder.only_append()  # so that a call that ends in another thread starts nothing now
                self._stop_thread()
                vars(self).update(before, _exit_hooked=self._exit_hooked)

    def _stop_thread(self) -> bool:
        """Stop the thread without sending; whether there was one."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return False
        thread.stop(None, _RESET_TIMEOUT)
        return True

    def after_fork(self) -> None:
        """Begin anew in a forked child: its parent sends what was recorded before."""
        # Never collected as garbage: the sockets and the epoll in them are the parent's, too.
        _abandoned.append((self._thread, self._server))
        self.outbox.abandon()
        settings, broker = self._settings, self.broker
        self._exit_hooked = False  # multiprocessing clears the hooks of its children
        self._begin(self._pinned)
        self._settings, self.broker = settings, broker

    def _pipeline(self) -> SendingPipeline:
        """Build the pipeline; called in the sender thread."""
        with fork_hooks.no_fork():
            from metrics_collector._runtime import assembly
            from metrics_collector._runtime.sending_pipeline import SendingPipeline
            from metrics_collector._sending.spool import Spool

            settings = self.settings()
            embedded = assembly.is_embedded(settings)
            with self._lock:
                if embedded and self._server is None:
                    self._server = assembly.embedded_server()
                folder, spool = settings.spool_dir, self._spool
                if folder is None:
                    self._spool = None
                elif spool is None or spool.folder != folder:
                    self._spool = Spool(folder, self.outbox.producer)
            return SendingPipeline(
                settings,
                self.outbox,
                server=self._server if embedded else None,
                broker=self.broker,
                broker_loop=self._broker_loop,
                spool=self._spool,
                log=self.log,
                failed=self.failed,
            )

    def _new_thread(self, predecessor: SenderThread | None) -> SenderThread:
        keep = partial(keep_entries, self.outbox, log=self.log, failed=self.failed)
        return SenderThread(self._pipeline, keep, predecessor)

    def at_exit(self) -> None:
        """Send what is left, within METRICS_EXIT_TIMEOUT; may be called again if more was recorded."""
        fork_detection.notice()
        with self._lock:
            thread, self._thread = self._thread, None
        if process.in_subinterpreter():
            self._end_last_send(complete=False)
            return
        running = thread is not None and thread.alive()
        just_failed = self._last_send.just_failed()
        spooling = self._spool is not None and bool(self.outbox.count_volatile(embedded=False))
        if not running and (not self.outbox.unsent or (just_failed and not spooling)):
            return
        # Nobody waits for Redis again so soon; the spool takes what came since.
        timeout = 0.0 if just_failed else self._exit_timeout()
        grace = GRACE if self._spool is None else SPOOL_GRACE
        if thread is None or not running:
            self._end_last_send(complete=self._new_thread(thread).run_here(timeout))
        elif just_failed and not spooling:
            thread.stop(None, GRACE)
        else:
            self._end_last_send(complete=thread.stop(timeout, grace))

    def _end_last_send(self, *, complete: bool) -> None:
        self._last_send.ended(complete=complete, embedded=self._server is not None)

    def _exit_timeout(self) -> float:
        try:
            return self.settings().exit_timeout
        except MetricsCollectorError:
            return _USUAL_EXIT_TIMEOUT


_abandoned: Final[list[Any]] = []

collector: Final = Collector()
recorder.on_first_record(collector.start)
atexit.register(fork_hooks.wait_for_modules)  # after the one below
# Besides the exit hook that the first record registers: hooks run in reverse order, so that one runs before those that
# the program has registered until then. This one runs after nearly all of them, and sends what they record.
atexit.register(collector.at_exit)
fork_hooks.register("collector", in_child=collector.after_fork)
uwsgi.after_fork(collector.notice_fork)
