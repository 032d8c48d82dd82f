from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import subprocess
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING

import pytest

from metrics_collector._recording import recorder
from metrics_collector._recording.recorder import CANCELLED, Record, mark_of
from tests.helpers.threads import at_once

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST: Record = ("app.first", 1.0, 2.0, None)
SECOND: Record = ("app.second", 3.0, 5.0, "ValueError")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of a new process without a starter, in place of this one's."""
    monkeypatch.setattr(recorder, "buffer", deque())
    monkeypatch.setattr(recorder, "_starter_due", deque((None,), maxlen=1))
    monkeypatch.setattr(recorder, "_starter", None)
    monkeypatch.setattr(recorder, "_failure_logged", False)
    monkeypatch.setattr(recorder, "record", recorder._append_and_start)


@pytest.fixture
def starts() -> list[list[Record]]:
    """What was in the buffer at each call of the starter."""
    calls: list[list[Record]] = []
    recorder.on_first_record(lambda: calls.append(list(recorder.buffer)))
    return calls


def test_the_first_record_is_kept_and_calls_the_starter_once(starts: list[list[Record]]) -> None:
    recorder.record(FIRST)
    recorder.record(SECOND)

    assert list(recorder.buffer) == [FIRST, SECOND]
    assert starts == [[FIRST]]


def test_without_a_starter_records_wait_for_one(starts: list[list[Record]]) -> None:
    starter = recorder._starter
    recorder._starter = None
    recorder.record(FIRST)
    assert starter is not None
    recorder.on_first_record(starter)

    recorder.record(SECOND)

    assert starts == [[FIRST, SECOND]]


def test_asked_again_the_next_record_starts_again(starts: list[list[Record]]) -> None:
    recorder.record(FIRST)
    recorder.only_append()
    recorder.record(FIRST)
    recorder.start_on_next_record()
    recorder.start_on_next_record()
    recorder.record(SECOND)
    recorder.record(SECOND)

    assert starts == [[FIRST], [FIRST, FIRST, SECOND]]


def test_with_a_sender_a_record_is_only_appended(starts: list[list[Record]]) -> None:
    recorder.only_append()

    assert recorder.record == recorder.buffer.append
    recorder.record(FIRST)
    assert list(recorder.buffer) == [FIRST]
    assert starts == []


def test_discarded_records_are_gone(starts: list[list[Record]]) -> None:
    recorder.discard()
    recorder.record(FIRST)

    assert not recorder.buffer
    assert starts == []


@pytest.mark.parametrize("decision", [recorder.only_append, recorder.discard])
def test_a_call_that_ends_during_the_change_starts_no_second_sender(
    decision: Callable[[], None], starts: list[list[Record]]
) -> None:
    looked_up = recorder.record
    decision()
    looked_up(FIRST)

    assert starts == []
    assert list(recorder.buffer) == [FIRST]


def test_many_threads_start_once_an_arming_and_lose_nothing() -> None:
    workers = 8
    armings = 50
    starts = 0
    one = threading.Lock()

    def starter() -> None:
        nonlocal starts
        with one:
            starts += 1

    recorder.on_first_record(starter)
    ready = threading.Barrier(workers, action=recorder.start_on_next_record)
    done = threading.Barrier(workers)

    def work() -> None:
        for _ in range(armings):
            ready.wait()
            for _ in range(5):
                recorder.record(FIRST)
            done.wait()

    at_once(*[work] * workers)

    assert starts == armings
    assert len(recorder.buffer) == workers * armings * 5


def test_a_starter_that_is_itself_measured_runs_once() -> None:
    recorder.on_first_record(lambda: recorder.record(SECOND))
    recorder.record(FIRST)

    assert list(recorder.buffer) == [FIRST, SECOND]


def no_thread() -> None:
    raise RuntimeError("no thread can be started")


def test_a_broken_starter_is_logged_once_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    recorder.on_first_record(no_thread)
    for _ in range(3):
        recorder.start_on_next_record()
        recorder.record(FIRST)

    assert len(recorder.buffer) == 3
    (line,) = caplog.records
    assert (line.name, line.levelno) == ("metrics_collector", logging.ERROR)
    assert "no thread can be started" in caplog.text


def test_the_log_does_not_tell_what_the_function_raised(caplog: pytest.LogCaptureFixture) -> None:
    recorder.on_first_record(no_thread)
    try:
        int("secret")
    except ValueError:
        recorder.record(SECOND)

    assert "no thread can be started" in caplog.text
    assert "secret" not in caplog.text


def test_a_log_handler_that_raises_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            raise OSError("the disk is full")

    monkeypatch.setattr(logging.getLogger("metrics_collector"), "handlers", [Broken()])

    recorder.on_first_record(no_thread)
    recorder.record(FIRST)

    assert list(recorder.buffer) == [FIRST]


def test_ctrl_c_in_the_starter_is_the_programs_and_the_next_record_tries_again() -> None:
    calls = 0

    def starter() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyboardInterrupt

    recorder.on_first_record(starter)
    with pytest.raises(KeyboardInterrupt):
        recorder.record(FIRST)
    recorder.record(SECOND)
    recorder.record(SECOND)

    assert calls == 2
    assert list(recorder.buffer) == [FIRST, SECOND, SECOND]


FORK = """
import os
from metrics_collector._recording import recorder

starts = []
recorder.on_first_record(lambda: (starts.append(os.getpid()), recorder.only_append()))
recorder.record(("app.parent", 0.0, 1.0, None))
pid = os.fork()
if pid == 0:
    assert not recorder.buffer, recorder.buffer
    recorder.record(("app.child", 0.0, 1.0, None))
    recorder.record(("app.child", 0.0, 1.0, None))
    assert [name for name, *_ in recorder.buffer] == ["app.child"] * 2, recorder.buffer
    assert starts[1:] == [os.getpid()], starts
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert [name for name, *_ in recorder.buffer] == ["app.parent"], recorder.buffer
assert starts == [os.getpid()], starts
recorder.buffer.clear()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_a_forked_child_starts_afresh_and_its_parent_goes_on() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", FORK], check=True, timeout=30)


class Meta(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]  # as odd as it can be made
        raise LookupError("a metaclass with views of its own")


class OddError(Exception, metaclass=Meta):
    pass


class Shielded(asyncio.CancelledError):
    pass


class Disguised(Exception):  # noqa: N818 - its name is the point
    @property  # type: ignore[misc]  # as odd as it can be made
    def __class__(self) -> type:
        raise LookupError("an error that does not tell its class")


@pytest.mark.parametrize(
    ("error", "mark"),
    [
        (ValueError("x"), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(1), "SystemExit"),
        (asyncio.CancelledError(), CANCELLED),
        (Shielded(), CANCELLED),
        (GeneratorExit(), CANCELLED),
        (concurrent.futures.CancelledError(), "CancelledError"),
        (ExceptionGroup("several", [ValueError()]), "ExceptionGroup"),
        (OddError(), "OddError"),
        (type("", (Exception,), {})(), "Exception"),
    ],
)
def test_marks(error: BaseException, mark: str) -> None:
    assert mark_of(error) == mark


def test_the_mark_of_an_error_that_does_not_tell_its_class() -> None:
    assert mark_of(Disguised()) == "Disguised"
