"""Ctrl-C and lack of memory while entries are taken, encoded and counted: none is lost or sent twice."""

from __future__ import annotations

import json
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._core import entries as entry_codec
from metrics_collector._core.totals import Tally
from metrics_collector._sending.batch import content_of
from metrics_collector._sending.outbox import Outbox
from tests.helpers.pipeline import content_in, figures_in
from tests.sending.test_outbox import driven, filled, outbox_of, record, waiting_in

if TYPE_CHECKING:
    from types import FrameType

    from metrics_collector._sending.batch import Content


def test_interrupted_by_ctrl_c_a_slice_stays_in_the_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = deque(record(f"f{n}") for n in range(6))
    outbox = Outbox(buffer, monotonic=lambda: 0.0, wall=lambda: 0.0)
    outbox.fill(2)
    interrupted = _interrupting(monkeypatch, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        outbox.fill(4)
    assert interrupted
    assert waiting_in(outbox) == ["f2", "f3", "f4", "f5"]
    assert outbox.counts().recorded == 6

    (batch,) = filled(outbox, 6)

    assert content_in(batch).functions == tuple(f"f{n}" for n in range(6))
    assert all(part["call_count"] == 1 for part in figures_in(content_in(batch)))


def test_a_slice_that_cannot_be_encoded_counts_as_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = outbox_of(5)
    outbox.fill(2)
    _interrupting(monkeypatch, MemoryError)
    with pytest.raises(MemoryError):
        outbox.fill(4)

    (batch,) = filled(outbox, 3)

    assert (outbox.counts().dropped, outbox.counts().buffered) == (2, 3)
    assert [part["call_count"] for part in figures_in(content_in(batch))] == [3]


def _interrupting(monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> list[int]:
    """Raise once within the next encoding, after it has noted one record."""
    real = Tally.add_all
    calls: list[int] = []

    def add_all(tally: Tally, names: list[str], *columns: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            functions, times, ends, _ = columns
            real(tally, names, functions[:1], times[:1], ends[:1], {})
            raise error
        real(tally, names, *columns)

    monkeypatch.setattr(Tally, "add_all", add_all)
    return calls


def by_function(content: Content) -> dict[str, dict[str, float]]:
    return dict(zip(content.functions, figures_in(content), strict=True))


class Interrupt:
    """Raises an error where Python may: after the call of that number, in our modules."""

    def __init__(self, after: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self._left = after
        self._error = error
        self.raised = False

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        ours = frame.f_code.co_filename.endswith(
            (
                *("/outbox.py", "/waiting.py", "/batch.py"),
                *("/columns.py", "/encoding.py", "/totals.py", "/histogram.py"),
            )
        )
        if self.raised or not ours or event not in {"c_return", "call"}:
            return
        self._left -= 1
        if self._left < 0:
            self.raised = True
            raise self._error


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize(("done", "size"), [(0, 10**6), (3, 10**6), (1, 300)])
def test_an_error_at_any_call_loses_nothing_and_doubles_nothing(
    done: int, size: int, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_codec, "MAX_BATCH_BYTES", size)
    marks = [None, "KeyError", "", None, None, None]

    def make(outbox: Outbox) -> None:
        outbox._waiting.gather(2, kept=True)
        driven(outbox.make_batch(outbox.recorded))

    interrupt = Interrupt(0)
    number = 0
    while True:
        records = [("fg"[n % 2], 0.0, n + 0.5, mark) for n, mark in enumerate(marks)]
        buffer = deque(records[:done])
        outbox = Outbox(buffer, monotonic=lambda: 0.0, wall=lambda: 0.0)
        outbox.fill()
        buffer.extend(records[done:])
        interrupt = Interrupt(number, error)
        sys.setprofile(interrupt)
        try:
            make(outbox)
        except error:
            pass
        finally:
            sys.setprofile(None)
        make(outbox)
        while outbox.holds_before(len(marks)):
            make(outbox)
        lines: list[str] = []
        for batch in outbox._batches:
            content = content_in(batch)
            assert batch.first == len(lines) + 1
            lines += content.payload.decode().split("\n")
            assert batch.last == len(lines)
            assert by_function(content) == by_function(content_of(content.payload))
            assert batch.memory_copy is not None
            assert driven(batch.memory_copy.read()) == content
        found = list(map(json.loads, lines))
        assert [one["id"] for one in found] == [
            f"{outbox.producer}-{n}" for n in range(1, len(lines) + 1)
        ]
        ends = [one["created_at"] for one in found]
        assert ends == sorted({*ends} & {end for *_, end, _ in records})
        counts = outbox.counts()
        assert counts.recorded == counts.buffered + counts.dropped == len(marks)
        # What cannot be encoded for lack of memory would fail again.
        assert counts.dropped <= (0 if error is KeyboardInterrupt else len(marks))
        assert counts.buffered == len(lines)
        if not interrupt.raised:
            break
        number += 1
    assert number > 30


def test_what_is_dropped_as_ctrl_c_comes_is_counted() -> None:
    interrupt = Interrupt(0)
    number = 0
    while True:
        buffer = deque(record(f"f{n}") for n in range(6))
        outbox = Outbox(buffer)
        outbox._waiting.gather(2, kept=True)
        interrupt = Interrupt(number)
        sys.setprofile(interrupt)
        try:
            outbox.enforce(1)
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        counts = outbox.counts()
        assert counts.recorded == counts.buffered + counts.dropped == 6
        assert waiting_in(outbox) == [f"f{n}" for n in range(counts.dropped, 6)]
        if not interrupt.raised:
            break
        number += 1
    assert number > 10
