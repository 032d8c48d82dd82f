"""Our threads take no signals."""

from __future__ import annotations

import signal

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
