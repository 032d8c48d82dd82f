"""A child of a fork that Python did not hear of, as its process id shows."""

from __future__ import annotations

import _imp
import asyncio
import importlib
import math
import os
import sys
import threading
import time
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from metrics_collector._support import fork_detection, fork_hooks, threads
from tests.helpers.threads import working


@pytest.fixture(autouse=True)
def child(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """This process as such a child; when it began, as its hooks learned."""
    began: list[float] = []
    monkeypatch.setattr(fork_hooks, "_hooks", {step: [] for step in fork_hooks.ORDER})
    fork_hooks.register("recorder", in_child=lambda: began.append(fork_hooks.began))
    monkeypatch.setattr(fork_hooks, "pid", -1)
    monkeypatch.setattr(threads, "_forbidden", None)
    monkeypatch.setattr(threads, "FREE", False)
    return began


def test_its_hooks_run_once_and_know_when_it_began(child: list[float]) -> None:
    assert fork_detection.notice()
    assert not fork_detection.notice()
    (began,) = child
    assert began < time.perf_counter()
    assert fork_hooks.pid == os.getpid()
    assert not fork_detection._claims


def test_beside_another_thread_none_of_ours_is_started() -> None:
    over = threading.Event()
    with working(lambda: over.wait(20)):
        assert fork_detection.notice()
        over.set()
    with pytest.raises(RuntimeError, match="entries are sent at the end"):
        threads.start(threads.daemon(lambda: None, "none"))


def test_a_hook_may_lead_to_another_look() -> None:
    others: list[bool] = []
    fork_hooks.register("collector", in_child=lambda: others.append(fork_detection.notice()))
    assert fork_detection.notice()
    assert others == [False]


def missing(*_: object, **__: object) -> None:
    raise FileNotFoundError


def test_where_the_system_tells_nothing_all_records_are_its_own(
    child: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_detection, "open", missing, raising=False)
    monkeypatch.setattr(os, "listdir", missing)
    assert fork_detection.notice()
    assert child == [-math.inf]


def test_alone_it_does_what_python_does_after_a_fork(
    child: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "listdir", lambda _: ["1"])
    held: list[bool] = []

    def after_fork() -> None:
        held.append(_imp.lock_held())
        _imp.release_lock()
        fork_hooks.in_child()

    python = SimpleNamespace(PyOS_AfterFork_Child=after_fork)
    monkeypatch.setitem(sys.modules, "ctypes", SimpleNamespace(pythonapi=python))
    locks: Any = importlib._bootstrap._module_locks  # type: ignore[attr-defined]  # what is repaired
    monkeypatch.setitem(locks, "half_imported", lambda: SimpleNamespace(owner=-1))
    monkeypatch.setitem(sys.modules, "half_imported", ModuleType("half_imported"))

    assert fork_detection.notice()

    assert len(child) == 1
    assert held == [True]
    threads.start(threads.daemon(lambda: None, "one"))
    assert "half_imported" not in sys.modules
    assert "half_imported" not in locks


async def test_a_task_of_a_running_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_detection, "open", missing, raising=False)  # a loop must not wait
    monkeypatch.setattr(os, "listdir", lambda _: ["1"])
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def after_fork() -> None:
        _imp.release_lock()
        asyncio._leave_task(loop, task)  # as Python does from 3.14 on
        asyncio._set_running_loop(None)
        fork_hooks.in_child()

    python = SimpleNamespace(PyOS_AfterFork_Child=after_fork)
    monkeypatch.setitem(sys.modules, "ctypes", SimpleNamespace(pythonapi=python))

    assert fork_detection.notice()

    assert asyncio.current_task() is task
    await asyncio.sleep(0)


def test_on_a_free_threaded_build_python_would_abort(
    child: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "listdir", lambda _: ["1"])
    monkeypatch.setattr(threads, "FREE", True)
    assert fork_detection.notice()
    assert len(child) == 1
    with pytest.raises(RuntimeError, match="a thread may hang here"):
        threads.start(threads.daemon(lambda: None, "none"))


def test_an_import_lock_that_nobody_releases_is_left_where_python_would_abort(
    child: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "listdir", lambda _: ["1"])
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    bootstrap: Any = importlib._bootstrap
    monkeypatch.setattr(bootstrap, "_imp", _imp)
    locked, over = threading.Event(), threading.Event()

    def hold() -> None:
        _imp.acquire_lock()
        locked.set()
        over.wait(20)
        _imp.release_lock()

    with working(hold):
        locked.wait(20)
        noticed = fork_detection.notice()
        import ctypes.wintypes  # noqa: F401 - nobody else imports it: it does not wait for the lock

        over.set()
    assert noticed
    assert len(child) == 1
    with pytest.raises(RuntimeError, match="a thread may hang here"):
        threads.start(threads.daemon(lambda: None, "none"))


def test_an_import_lock_of_its_own_is_not_lost() -> None:
    _imp.acquire_lock()
    try:
        assert not fork_detection._import_lock_is_lost()
    finally:
        _imp.release_lock()  # which raises if it was not left as it was
