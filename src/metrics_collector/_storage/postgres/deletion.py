"""Deleting what is no longer to be kept, in transactions so small that no flush waits long for one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from metrics_collector._core.pipeline_types import Purged
from metrics_collector._core.rollup_ranges import SECONDS, floor
from metrics_collector._storage import horizons
from metrics_collector._storage.postgres import partitions
from metrics_collector._storage.postgres.maintenance import lock
from metrics_collector._storage.postgres.reads import QUERIES, given
from metrics_collector._storage.postgres.session import Use, transaction
from metrics_collector._storage.steps import Pause, Statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metrics_collector._storage.postgres.session import Steps

_ROWS: Final = 5000  # deleted in one transaction: some hundredths of a second


def purge(before: Mapping[str, float], now: float) -> Steps[Purged]:
    """As `StoreWriter.purge`; entries by whole days, as a day's table is dropped and costs no vacuum."""
    if "entry" in before:
        before = {**before, "entry": floor(min(before["entry"], now), "day")}
    gone = yield from transaction(_advance(before, now))
    deleted = dict.fromkeys(SECONDS, 0)
    for resolution in SECONDS:
        if resolution in gone:
            deleted[resolution] = yield from _delete(
                "rollups", "resolution = ? AND start < ?", resolution, gone[resolution]
            )
    entries = rejected = freed = 0
    if "entry" in before:
        moment = before["entry"]
        (days,) = yield Use(partitions.known)
        for day, name in sorted(days.items()):
            if day + SECONDS["day"] <= moment:
                ((count, size),) = yield Use(partial(partitions.drop, name=name))
                entries += count
                freed += size
        # Those that have no table of their day.
        entries += yield from _delete(partitions.OTHERS, "created_at < ?", moment)
        rejected = yield from _delete("rejected_entries", "rejected_at < ?", moment)
    return Purged(
        entries=entries,
        minutes=deleted["minute"],
        hours=deleted["hour"],
        days=deleted["day"],
        rejected=rejected,
        freed_bytes=freed,
    )


def _advance(before: Mapping[str, float], now: float) -> Steps[dict[str, int]]:
    """Note for readers what will be gone before it is, so that they never see half of it."""
    yield from lock()
    advanced = horizons.advanced(before, now, (yield from QUERIES.purged()))
    if advanced:
        source, parameters = given({"resolution": "text", "before": "bigint"}, [*advanced.items()])
        yield Statement(
            f"INSERT INTO purged SELECT k.resolution, k.before FROM {source} "
            "ON CONFLICT (resolution) DO UPDATE SET before = excluded.before",
            parameters,
        )
    return advanced


def _delete(table: str, where: str, *parameters: object) -> Steps[int]:
    """Delete the rows that match; how many there were."""
    some = f"SELECT ctid FROM {table} WHERE {where} LIMIT {_ROWS}"

    def steps() -> Steps[int]:
        yield from lock()
        ((count,),) = yield Statement(
            f"WITH gone AS (DELETE FROM {table} WHERE ctid = ANY(ARRAY({some})) RETURNING 1) "
            "SELECT count(*) FROM gone",
            parameters,
        )
        return int(count)

    deleted = 0
    while True:
        count = yield from transaction(steps())
        deleted += count
        if count < _ROWS:
            return deleted
        yield Pause()
