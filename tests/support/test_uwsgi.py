"""What a process of uWSGI is, by what uWSGI says of it."""

from __future__ import annotations

import math
import mmap
import os
from types import SimpleNamespace
from typing import Any

import pytest

from metrics_collector._support import fork_hooks, uwsgi


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Any:
    """UWSGI's module in the process that loads applications."""
    module: Any = SimpleNamespace(number=0, opt={}, worker_id=lambda: module.number)
    monkeypatch.setattr(uwsgi, "_uwsgi", module)
    monkeypatch.setattr(uwsgi, "_sent", mmap.mmap(-1, 1))
    return module


def test_elsewhere_nothing_is_done() -> None:
    uwsgi.after_fork(pytest.fail)
    assert not uwsgi.about_to_fork()
    assert not uwsgi.without_threads()
    assert uwsgi.own_since() is None


def test_the_first_worker_alone_sends_what_was_recorded_before(
    host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert uwsgi.about_to_fork()
    assert fork_hooks.pid == os.getpid()
    owns = []
    for host.number in (2, 1, 1):
        assert not uwsgi.about_to_fork()
        owns.append(uwsgi.own_since())
    assert owns == [math.inf, -math.inf, math.inf]

    monkeypatch.setattr(fork_hooks, "pid", -1)  # the hooks ran in a worker, which has forked
    assert uwsgi.own_since() is None


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
