"""What a chunk changes: found beside others on the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from metrics_collector._core.intervals import Intervals
from metrics_collector._core.pipeline_types import unnumbered
from metrics_collector._storage.chunks import SLICE
from tests.helpers.chunks import chunk_of
from tests.helpers.pipeline import NOON, PRODUCER

if TYPE_CHECKING:
    from metrics_collector._storage.chunks import Changes

TOKEN: Final = "0011223344556677"
CLAIM: Final = unnumbered(TOKEN)
COUNT: Final = 10 * SLICE  # elements, of which every other has no number


def changes_and_pauses(known: dict[str, Intervals]) -> tuple[Changes, int]:
    entry = b'{"func_name":"app.f","execution_time":0.5,"created_at":%d,"error_occurred":0,"id":"%s-%d"}'
    elements = [
        entry % (NOON, PRODUCER.encode() if number % 2 else b"other", number)
        for number in range(1, COUNT + 1)
    ]
    changing = chunk_of(TOKEN, COUNT, elements).changes(known)
    pauses = 0
    while True:
        try:
            next(changing)
        except StopIteration as end:
            changes: Changes = end.value
            return changes, pauses
        pauses += 1


def ledger_after(changes: Changes) -> dict[str, list[tuple[int, int]]]:
    return {producer: [*numbers] for producer, numbers in changes.ledger.items()}


EVERY_OTHER: Final = {
    producer: [(number, number) for number in range(1, COUNT + 1, 2)]
    for producer in (PRODUCER, CLAIM)
}


def test_the_loop_has_its_turn_however_many_gaps_there_are() -> None:
    changes, pauses = changes_and_pauses({})
    assert pauses >= COUNT / SLICE
    assert ledger_after(changes) == EVERY_OTHER
    assert len(changes.rows) == COUNT


def test_a_gap_that_the_ledger_knows_is_found_among_many() -> None:
    known = Intervals()
    known.add(COUNT - 1)
    changes, _ = changes_and_pauses({PRODUCER: known})
    assert ledger_after(changes) == EVERY_OTHER
    assert len(changes.rows) == COUNT - 1
    assert {
        name: sum(part.counts["call_count"] for part in some)
        for name, some in changes.again.items()
    } == {"app.f": 1}
