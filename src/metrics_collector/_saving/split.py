"""Workers of one Redis that save to different databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Place(NamedTuple):
    """Where a worker saves, as its heartbeat says; `None` where it does not say, or has no database yet.

    Attributes:
        host: on which the worker runs.
        path: of the database there.
        db: the database's id.
    """

    host: str
    path: str | None
    db: str | None


def databases(places: Iterable[Place]) -> dict[str, str]:
    """The databases that workers save to: the id of each, and where it is."""
    # One place has one id: a heartbeat may be older than the new one of a copy that was restored.
    ids = {(one.path or "", one.host): one.db for one in places if one.db}
    found: dict[str, str] = {}
    for (path, host), db in sorted(ids.items()):
        found.setdefault(db, f"{path} on {host}")
    return found


def split(found: Mapping[str, str]) -> str | None:
    """What is wrong, with the remedy, if workers save to more than one of `databases`."""
    if len(found) <= 1:
        return None
    return (
        f"the workers of this Redis save to different databases: {' and '.join(found.values())}; entries are divided "
        "among them, and live totals are now what one has and now what another has: give all workers the same "
        "DATABASE_NAME, on one disk, or the same METRICS_DATABASE_URL; or each database a Redis of its own, such as "
        "redis://host/1"
    )
