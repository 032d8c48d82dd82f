"""Sums over rollups: the store gives many of them as one text, whatever the names in it are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from metrics_collector._core.rollup_ranges import RollupRange
from metrics_collector._storage.sqlite import SQLiteStore
from tests.helpers.chunks import chunk_of
from tests.helpers.pipeline import NOON, Call, all_same, batch_of, entries_of, lines_of, totals_of
from tests.helpers.rows import counts_of

if TYPE_CHECKING:
    from pathlib import Path

NAMES: Final = ("app.f", 'a"b', "a,b", "a\\b", "[1]", "a\nb", "größe", "😀", "{}", "null", "1")


async def test_names_and_errors_may_look_like_json(path: Path) -> None:
    store = SQLiteStore(str(path))
    lines = [
        line
        for hour in range(3)
        for number, name in enumerate(NAMES[: 9 + hour])
        for line in lines_of(
            batch_of(
                Call(name, 0.5 * (hour + 1), NAMES[-number - 1]),
                first=hour * len(NAMES) + number + 1,
                at=NOON + 3600 * hour,
            )
        )
    ]
    async with store.writing() as writer:
        assert await writer.save(chunk_of("0011223344556677", len(lines), lines), NOON) is not None
    entries, hours = entries_of(lines), RollupRange("hour", 0, None)
    async with store.reading() as reader:
        assert reader is not None
        totals = totals_of(entries)
        assert all_same(await reader.sums([hours], None), totals)
        for name in NAMES:
            assert all_same(await reader.sums([hours], name), {name: totals[name]})
        counted = counts_of(await reader.counts(hours, 3600))
    assert counted == sorted(
        (entry.func_name, int(entry.created_at) // 3600 * 3600, 1, 1) for entry in entries
    )
