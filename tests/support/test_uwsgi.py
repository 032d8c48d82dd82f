"""What a process of uWSGI is, by what uWSGI says of it."""

from __future__ import annotations

import math
import os
from types import SimpleNamespace
from typing import Any

import pytest

from metrics_collector._support import fork_hooks, uwsgi

LOADER = -1  # a process id that is not this one's


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Any:
    """UWSGI's module in a process that it forked from the one which loads applications."""
    module: Any = SimpleNamespace(number=0, opt={}, worker_id=lambda: module.number)
    monkeypatch.setattr(uwsgi, "_uwsgi", module)
    monkeypatch.setattr(uwsgi, "_loader", LOADER)
    monkeypatch.setattr(uwsgi, "_sent", bytearray(1))
    return module


def test_elsewhere_nothing_is_done() -> None:
    uwsgi.after_fork(pytest.fail)
    assert not uwsgi.about_to_fork()
    assert not uwsgi.forked()
    assert not uwsgi.without_threads()


def test_the_first_worker_alone_sends_what_was_recorded_before(
    host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[float] = []
    monkeypatch.setattr(fork_hooks, "_hooks", {step: [] for step in fork_hooks.ORDER})
    fork_hooks.register("modules", in_child=uwsgi._inherit)
    fork_hooks.register("recorder", in_child=lambda: began.append(fork_hooks.began))

    for host.number in (2, 1, 1):
        monkeypatch.setattr(fork_hooks, "pid", LOADER)
        assert uwsgi.forked()
        fork_hooks.in_child()
        assert not uwsgi.forked()

    assert began == [math.inf, -math.inf, math.inf]
    assert fork_hooks.began == math.inf


def test_applications_are_loaded_where_no_worker_is(
    host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not uwsgi.about_to_fork()
    monkeypatch.setattr(uwsgi, "_loader", os.getpid())
    assert uwsgi.about_to_fork()
    host.number = 1  # without a master, it is the worker as well
    assert not uwsgi.about_to_fork()


def test_the_hook_of_another_is_called_too(host: Any) -> None:
    called: list[str] = []
    uwsgi.after_fork(lambda: called.append("first"))
    uwsgi.after_fork(lambda: called.append("second"))
    host.post_fork_hook()
    assert called == ["second", "first"]


def test_threads_run_if_the_options_say_so(host: Any) -> None:
    assert uwsgi.without_threads()
    for host.opt in ({"enable-threads": True}, {"threads": b"4"}):
        assert not uwsgi.without_threads()
