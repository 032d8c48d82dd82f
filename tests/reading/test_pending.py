"""Entries that wait, asked for again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metrics_collector._reading import query as query_module
from metrics_collector._reading.query import Query
from metrics_collector._storage.sqlite import SQLiteStore
from tests.helpers.outside import element
from tests.helpers.pipeline import KEYS, NOON

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tests.helpers.pipeline import Commands


async def test_what_goes_on_waiting_is_decoded_once(
    client: Any, redis: Commands, path: Path
) -> None:
    query_module._decoded.cache_clear()
    query = Query(redis.reader, SQLiteStore(str(path)), frozenset())

    async def names() -> list[str]:
        async with query.snapshot(None) as found:
            return [entry.func_name for entry in found.pending]

    short = [element(func_name=f"f{number}", created_at=NOON) for number in range(5)]
    long = element(func_name="long", more="." * 2000)
    await client.rpush(KEYS.metrics_list, *short, long, b"no entry")
    expected = [*(f"f{number}" for number in range(5)), "long"]
    assert await names() == expected
    decoded = query_module._decoded.cache_info()
    assert decoded.currsize == 5
    assert await names() == expected
    again = query_module._decoded.cache_info()
    assert again.hits - decoded.hits == 5
    await client.lpop(KEYS.metrics_list, 2)
    await client.rpush(KEYS.metrics_list, element(func_name="new"))
    assert await names() == [*expected[2:], "new"]
