"""What is done around a fork, in which order, and what a fork waits for."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from metrics_collector._support import fork_hooks
from tests.helpers.forking import fork
from tests.helpers.threads import at_once, working

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    # Python 3.12 warns of a fork beside threads, which is what is tested.
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork"),
]


class TestOrder:
    """Hooks run step by step, whatever the order in which they were registered."""

    @pytest.fixture(autouse=True)
    def hooks(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What was called; those of the package are not."""
        called: list[str] = []
        monkeypatch.setattr(fork_hooks, "_hooks", {step: [] for step in fork_hooks.ORDER})

        def note(what: str) -> Callable[[], None]:
            return lambda: called.append(what)

        for step in reversed(fork_hooks.ORDER):
            fork_hooks.register(
                step,
                before=note(f"before {step}"),
                in_parent=note(f"parent {step}"),
                in_child=note(f"child {step}"),
            )
        return called

    def test_each_step_has_its_turn_on_both_sides(self, hooks: list[str]) -> None:
        before = [f"before {step}" for step in reversed(fork_hooks.ORDER)]
        fork(lambda: hooks == before + [f"child {step}" for step in fork_hooks.ORDER])
        assert hooks == before + [f"parent {step}" for step in fork_hooks.ORDER]

    # Python can only report what a hook of a fork raises.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_one_that_raises_keeps_none_from_its_turn(self, hooks: list[str]) -> None:
        def fail() -> None:
            raise InterruptedError("a signal handler raised")

        fork_hooks.register("database", before=fail, in_parent=fail)
        fork(lambda: True)
        assert len(hooks) == 2 * len(fork_hooks.ORDER)


class TestNoFork:
    """A child may need the modules that a thread of its parent is loading."""

    def test_waits_for_what_is_being_loaded(self) -> None:
        loading, loaded = threading.Event(), threading.Event()

        def load() -> None:
            with fork_hooks.no_fork():
                loading.set()
                time.sleep(0.05)
                loaded.set()

        with working(load):
            loading.wait()
            fork(loaded.is_set)

    def test_leaves_both_sides_able_to_load_and_to_fork(self) -> None:
        def load_and_fork() -> bool:
            with fork_hooks.no_fork():
                pass
            fork(lambda: True)
            return True

        fork(load_and_fork)
        assert load_and_fork()
        others: list[bool] = []
        at_once(lambda: others.append(load_and_fork()))
        assert others == [True]

    def test_does_not_wait_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fork_hooks, "_LOAD_TIMEOUT", 0.01)
        loading, over, loaded = threading.Event(), threading.Event(), threading.Event()

        def load() -> None:
            with fork_hooks.no_fork():
                loading.set()
                over.wait(20)
                loaded.set()

        def can_load() -> bool:
            with fork_hooks.no_fork():
                return True

        with working(load):
            loading.wait()
            fork(can_load)
            assert not loaded.is_set()
            over.set()
