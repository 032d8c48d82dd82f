"""Our threads take no signals, and are threads of the system."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from types import SimpleNamespace

import pytest

from metrics_collector._support import threads

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "pthread_sigmask"), reason="only where threads have masks"
)


def test_only_what_a_thread_does_itself_is_signalled_to_it() -> None:
    blocked: list[set[int]] = []
    thread = threads.daemon(
        lambda: blocked.append({*signal.pthread_sigmask(signal.SIG_BLOCK, ())}), "blocked"
    )
    thread.start()
    thread.join()

    assert {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD} <= blocked[0]
    assert not {signal.SIGSEGV, signal.SIGPROF} & blocked[0]


@pytest.mark.parametrize("starts", [True, False])
def test_where_gevent_has_put_its_own_they_are_those_of_the_system(
    *, starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    original = {
        "allocate_lock": _thread.allocate_lock,
        "start_new_thread": _thread.start_new_thread if starts else refused,
    }
    monkey = SimpleNamespace(
        is_module_patched=lambda _: True, get_original=lambda _, name: original[name]
    )
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
    go_on, done = threading.Event(), threading.Event()
    thread = threads.daemon(lambda: done.set() if go_on.wait(20) else None, "bare")

    if not starts:
        with pytest.raises(RuntimeError, match="can't start"):
            thread.start()
        assert not thread.is_alive()
        return
    thread.start()
    thread.join(0.01)
    assert thread.is_alive()
    go_on.set()
    thread.join()
    assert done.is_set()
    assert not thread.is_alive()
