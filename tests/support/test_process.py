"""Threads and exits: what the sender thread needs of the process."""

from __future__ import annotations

import asyncio
import atexit
import gc
import sys
import threading
import weakref
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._errors import ConfigurationError
from metrics_collector._support import process
from tests.helpers.commands import finished
from tests.helpers.threads import allow_no_more

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_the_loop_goes_on_while_a_thread_works() -> None:
    over = threading.Event()
    doing = asyncio.create_task(process.in_thread(lambda: over.wait(20) and threading.get_ident()))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not doing.done()

    over.set()

    assert await doing not in (False, threading.get_ident())


def test_an_exit_ends_no_thread_that_loads_a_module() -> None:
    Path("slow.py").write_text(
        "import time; print('begun', flush=True); time.sleep(1); print('loaded')"
    )
    program = """import asyncio, sys, threading, time, metrics_collector
from metrics_collector._errors import ConfigurationError
from metrics_collector._support import process
threading.Thread(target=lambda: asyncio.run(process.load("slow")), daemon=True).start()
while "slow" not in sys.modules: time.sleep(0.01)
"""
    done = finished(sys.executable, "-c", program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "begun\nloaded\n", "")


@pytest.mark.parametrize("closed", [False, True])
def test_nobody_is_harmed_if_nobody_waits_any_more_or_the_loop_is_closed(*, closed: bool) -> None:
    go_on = threading.Event()

    def work() -> None:
        go_on.wait(20)
        raise OSError("too late")

    async def give_up() -> threading.Thread:
        doing = asyncio.create_task(process.in_thread(work))
        await asyncio.sleep(0)
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)
        (thread,) = [t for t in threading.enumerate() if t.name == "metrics_collector_in_thread"]
        return thread

    with asyncio.Runner() as runner:
        thread = runner.run(give_up())
        if closed:
            runner.close()
        go_on.set()
        thread.join()


async def test_the_thread_is_one_that_no_exit_waits_for() -> None:
    assert await process.in_thread(lambda: threading.current_thread().daemon)


async def test_without_threads_it_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_no_more(monkeypatch)
    assert await process.in_thread(threading.get_ident) == threading.get_ident()


async def test_modules_are_loaded_in_a_thread_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_to_load.py").write_text("import threading\nby = threading.current_thread()\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    await process.load("slow_to_load", "json")
    loaded = sys.modules["slow_to_load"]
    await process.load("slow_to_load")
    assert sys.modules["slow_to_load"] is loaded

    loaded.by.join(0.1)  # which raises if it is this one
    assert loaded.by.is_alive()


async def test_what_is_raised_in_a_thread_is_raised_here_and_the_thread_ends() -> None:
    before = {*threading.enumerate()}
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        await process.load("no_such_module")
    for thread in {*threading.enumerate()} - before:
        thread.join(20)
        assert not thread.is_alive()


def test_the_main_thread_has_not_ended() -> None:
    assert not process.exiting()


def test_nothing_keeps_the_result_alive() -> None:
    class Result:
        pass

    async def work() -> weakref.ref[Any]:
        return weakref.ref(await process.in_thread(Result))

    result = asyncio.run(work())
    gc.collect()
    assert result() is None


@pytest.mark.parametrize("loaded", [True, False])
def test_a_child_of_celery_has_its_end_from_a_signal(
    *, loaded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[Callable[..., None]] = []
    signals = ModuleType("celery.signals")  # as another thread may have begun to import it
    if loaded:
        shutdown = SimpleNamespace(connect=lambda end, **_: ends.append(end))
        monkeypatch.setattr(signals, "worker_process_shutdown", shutdown, raising=False)
    monkeypatch.setitem(sys.modules, "celery.signals", signals)
    registered: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", registered.append)
    done: list[bool] = []

    process.at_exit(lambda: done.append(True))

    for end in ends:
        end(pid=1, exitcode=0)
    assert done == ([True] if loaded else [])
    assert len(registered) == 1


def test_a_subinterpreter_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    process.refuse_subinterpreter()
    monkeypatch.setattr(process, "in_subinterpreter", lambda: True)
    with pytest.raises(ConfigurationError, match="run the program in the main interpreter"):
        process.refuse_subinterpreter()
