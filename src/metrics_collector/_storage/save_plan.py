"""What a chunk of a claim changes, without a statement: rollups and totals as they are to be.

A store reads what it has (`Chunk.producers`, `Changes.rollups`, `Changes.functions`), and writes what it is given for
that, all in one transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from metrics_collector._core.pipeline_types import FunctionState, Saved
from metrics_collector._core.totals import Totals
from metrics_collector._storage.rows import as_row
from metrics_collector._storage.steps import Pause

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metrics_collector._core.pipeline_types import Numbered
    from metrics_collector._storage.chunks import Changes, RollupKey
    from metrics_collector._storage.steps import Pauses

FUNCTIONS: Final = 20  # handled between two pauses for the loop, with some hundred buckets each


def next_no(last_no: int, now: float) -> int:
    """The number of a commit: by the clock, and later than the last one.

    After a copy was restored, no commit bears the number of one that is lost, which Redis may know.
    """
    return max(last_no + 1, int(now * 1000))


def merged_rollups(
    changes: Changes, before: Mapping[RollupKey, Totals]
) -> Pauses[list[tuple[Any, ...]]]:
    """The rollups as they are to be: keys and figures. Those `before` are not to be used any more."""
    changed: list[tuple[Any, ...]] = []
    for key, some in changes.rollups.items():
        changed.append((*key, *as_row(_sum(before.get(key), some))))
        if not len(changed) % FUNCTIONS:
            yield Pause()
    return changed


def merged_totals(
    changes: Changes, before: Mapping[str, Numbered], no: int
) -> Pauses[tuple[list[tuple[Any, ...]], dict[str, FunctionState]]]:
    """The totals that change, as commit `no` makes them: functions, figures and commit; and what Redis is to learn.

    Those `before` are not to be used any more.
    """
    changed: list[tuple[Any, ...]] = []
    functions: dict[str, FunctionState] = {}
    for name in changes.functions:
        had, had_no = before.get(name) or (None, 0)
        fresh, others, again = (
            some.get(name, ()) for some in (changes.fresh, changes.others, changes.again)
        )
        numbered, new = [*fresh, *again], [*fresh, *others]
        total = _sum(had, new)
        functions[name] = FunctionState(
            _sum(None, numbered) if numbered else None,
            total,
            no if new else had_no,
            had_no if fresh and not (others or again) else None,
        )
        if new:
            changed.append((name, *as_row(total), no))
        if not len(functions) % FUNCTIONS:
            yield Pause()
    return changed, functions


def saved(changes: Changes, db: str, no: int, functions: dict[str, FunctionState]) -> Saved:
    """What was done."""
    producers = {
        producer: known.text()
        for producer, known in changes.ledger.items()
        if producer != changes.claim
    }
    return Saved(db, no, functions, producers, len(changes.rows), len(changes.rejected))


def _sum(before: Totals | None, parts: Sequence[Totals]) -> Totals:
    """All of it; one part alone is given back itself. Only `before` is changed, as a part goes into several sums."""
    if before is None and len(parts) == 1:
        return parts[0]
    whole = Totals() if before is None else before
    for part in parts:
        whole.merge(part)
    return whole
