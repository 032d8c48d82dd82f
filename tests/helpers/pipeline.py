"""What the tests of the way from Redis to SQL share: batches as a producer makes them, and what must hold."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import fakeredis

from metrics_collector._core.columns import Columns
from metrics_collector._core.decoding import decode
from metrics_collector._core.encoding import encode
from metrics_collector._core.entries import RejectedEntryError
from metrics_collector._core.pipeline_types import FunctionState
from metrics_collector._core.totals import OtherOutcome, Totals
from metrics_collector._redis.connection import RedisConnection
from metrics_collector._redis.keys import Keys
from metrics_collector._redis.producer_commands import ProducerCommands
from metrics_collector._redis.reader_commands import ReaderCommands
from metrics_collector._redis.worker_commands import WorkerCommands
from metrics_collector._saving.flush import Flush
from metrics_collector._sending.batch import Batch, Content, content_of
from metrics_collector._storage.sqlite import SQLiteStore
from metrics_collector._support.rate_limited_log import RateLimitedLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from metrics_collector._core.entries import Entry
    from metrics_collector._core.totals import Mark

KEYS = Keys()
PRODUCER = "0123456789abcdef"
OTHER_PRODUCER = "fedcba9876543210"
DB = "aaaaaaaaaaaaaaaa"
OTHER_DB = "bbbbbbbbbbbbbbbb"
NOON = 1_700_049_600.0  # 2023-11-15 12:00 UTC
SUM = 1e-9  # how far sums of floats may be apart that were added in another order


class Commands(NamedTuple):
    """The pipeline's commands on one Redis."""

    connection: RedisConnection
    producer: ProducerCommands
    worker: WorkerCommands
    reader: ReaderCommands


def commands_on(
    client: Any,
    *,
    label: str = "here",
    max_items: int = 100,
    max_backlog: int = 10_000,
    lease: float = 60.0,
) -> Commands:
    """The commands on a client of any kind."""
    fake = isinstance(client, fakeredis.FakeAsyncRedis)  # which has no INFO
    connection = RedisConnection(client, label=label, known_server=fake)
    return Commands(
        connection,
        ProducerCommands(connection, max_items=max_items, max_backlog=max_backlog),
        WorkerCommands(connection, lease=lease),
        ReaderCommands(connection),
    )


class During:
    """Redis, on which something else happens with each of our commands of a name."""

    def __init__(self, commands: object, name: str, act: Callable[[], Awaitable[object]]) -> None:
        self._commands = commands
        self._name = name
        self._act = act

    def __getattr__(self, name: str) -> Any:
        command = getattr(self._commands, name)
        if name != self._name:
            return command

        async def acting(*arguments: Any, **options: Any) -> Any:
            result = await command(*arguments, **options)
            await self._act()
            return result

        return acting


# Outcomes that this release does not know.
TIMEOUT = OtherOutcome("timeout", None)
REFUSED = OtherOutcome("refused", "OSError")


class Call(NamedTuple):
    """One call; one whose outcome this release does not know is a later release's, and has a field more."""

    func_name: str = "app.f"
    seconds: float = 0.5
    mark: Mark = None


def batch_of(*calls: Call, first: int = 1, producer: str = PRODUCER, at: float = NOON) -> Batch:
    """The batch that a producer would make of these calls, which all end at `at`, give or take their times."""
    marks = [None if isinstance(call.mark, OtherOutcome) else call.mark for call in calls]
    records = [
        (call.func_name, 0.0, call.seconds, mark) for call, mark in zip(calls, marks, strict=True)
    ]
    lines = encode(Columns.of(records, at), producer, first)[0].split(b"\n")
    for index, call in enumerate(calls):
        if isinstance(call.mark, OtherOutcome):
            lines[index] = _later(lines[index], call.mark)
    return Batch(first, first + len(lines) - 1, content_of(b"\n".join(lines)))


def flush_of(source: Any, path: Path) -> Flush:
    """A flush from there into that database, at noon."""
    store, log = SQLiteStore(str(path)), RateLimitedLog()
    return Flush(source, store, ledger_days=30, log=log, wall=lambda: NOON)


def _later(line: bytes, outcome: OtherOutcome) -> bytes:
    fields = json.loads(line) | {"outcome": outcome.name, "trace": "0af7"}
    if outcome.error_type is not None:
        fields |= {"error_occurred": 1, "error_type": outcome.error_type}
    return json.dumps(fields).encode()


def lines_of(batch: Batch) -> list[bytes]:
    """The elements of `metrics_list` that a batch becomes."""
    return content_in(batch).payload.split(b"\n")


async def push(
    redis: Commands,
    *calls: Call,
    first: int = 1,
    need: int | None = None,
    producer: str = PRODUCER,
    at: float = NOON,
) -> Batch:
    """Push the batch of these calls; `need`: what must be there before, which is all that is."""
    batch = batch_of(*calls, first=first, producer=producer, at=at)
    need = first - 1 if need is None else need
    assert (await redis.producer.push(producer, batch, need)).kind == "ok"
    return batch


def content_in(batch: Batch) -> Content:
    """The content of a batch that is in memory."""
    assert batch.content is not None
    return batch.content


def figures_in(content: Content) -> list[dict[str, float]]:
    """The figures of each of its functions."""
    return [dict(zip(*one, strict=True)) for one in zip(*json.loads(content.deltas), strict=True)]


def foreign(func_name: str = "app.f", seconds: float = 0.5, *, at: float = NOON) -> bytes:
    """An entry without an id, as another program may write it."""
    fields = {
        "func_name": func_name,
        "execution_time": seconds,
        "error_occurred": 0,
        "created_at": at,
    }
    return json.dumps(fields).encode()


def entries_of(elements: Iterable[bytes]) -> list[Entry]:
    """Those of the elements that are entries."""
    entries = []
    for raw in elements:
        try:
            entries.append(decode(raw))
        except RejectedEntryError:
            continue
    return entries


def entry_of_row(columns: dict[str, Any]) -> Entry:
    """The entry that became this row of the table `metrics`."""
    extra = json.loads(columns.pop("extra") or "{}")
    return decode(json.dumps({**columns, **extra}).encode())


def totals_of(entries: Iterable[Entry]) -> dict[str, Totals]:
    """The figures of entries, by function."""
    totals: dict[str, Totals] = {}
    for entry in entries:
        of_function = totals.setdefault(entry.func_name, Totals())
        of_function.add(entry.execution_time, entry.created_at, entry.mark)
    return totals


def saved_state(batch: Batch, *, no: int, previous: int | None = None) -> dict[str, FunctionState]:
    """What SQL would say once it has saved the whole batch, and had nothing before."""
    return {
        name: FunctionState(delta, added(delta), no, previous)
        for name, delta in totals_of(entries_of(lines_of(batch))).items()
    }


def added(*parts: Totals) -> Totals:
    """All the parts in one."""
    whole = Totals()
    for part in parts:
        whole.merge(part)
    return whole


def same(one: Totals, other: Totals, *, extremes: bool = True) -> bool:
    """Whether all figures agree; sums but for the order of additions."""
    return (
        {f: n for f, n in one.counts.items() if n} == {f: n for f, n in other.counts.items() if n}
        and abs(one.execution_time - other.execution_time)
        <= SUM * max(1.0, abs(one.execution_time))
        and (
            not extremes
            or (one.min, one.max, one.last_called_at)
            == (other.min, other.max, other.last_called_at)
        )
    )


def all_same(one: dict[str, Totals], other: dict[str, Totals], *, extremes: bool = True) -> bool:
    """`same` of every function; one without any count is as good as none."""
    nothing = Totals()
    return all(
        same(one.get(name, nothing), other.get(name, nothing), extremes=extremes)
        for name in one.keys() | other.keys()
        if any(one.get(name, nothing).counts.values())
        or any(other.get(name, nothing).counts.values())
    )


async def everything(client: Any) -> dict[bytes, Any]:
    """All keys and what they hold."""
    readers = {
        b"hash": client.hgetall,
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    return {key: await readers[await client.type(key)](key) for key in await client.keys("*")}


class Held(NamedTuple):
    """What Redis holds of the pipeline.

    Attributes:
        elements: of `metrics_list` and of the claims.
        claimed: how many of them are in claims.
        counter: what Redis believes that number to be.
        live: T, the live totals of every function.
        saved: B, what of the live totals is SQL's, where it is in them.
    """

    elements: list[bytes]
    claimed: int
    counter: int
    live: dict[str, Totals]
    saved: dict[str, Totals]


async def held(client: Any) -> Held:
    """Read all of it."""
    lists, hashes = [], []
    for key in sorted(await client.keys("*")):
        name = key.decode()
        if name == KEYS.metrics_list or name.startswith(KEYS.claim("")):
            lists.append(name)
        elif name.startswith((KEYS.totals(""), KEYS.saved(""))):
            hashes.append(name)
    pipeline = client.pipeline(transaction=False)
    pipeline.get(KEYS.claimed)
    for name in lists:
        pipeline.lrange(name, 0, -1)
    for name in hashes:
        pipeline.hgetall(name)
    counter, *values = await pipeline.execute()
    found = dict(zip(lists + hashes, values, strict=True))
    live = {
        name.removeprefix(KEYS.totals("")): Totals.from_hash(sum(fields.items(), ()))[0]
        for name, fields in found.items()
        if name.startswith(KEYS.totals(""))
    }
    saved = {
        name.removeprefix(KEYS.saved("")): Totals.loads(fields[b"j"])
        for name, fields in found.items()
        if name.startswith(KEYS.saved(""))
    }
    stamped = {name for name in live if b"as_of" in found[KEYS.totals(name)]}
    return Held(
        elements=[raw for name in lists for raw in found[name]],
        claimed=sum(len(found[name]) for name in lists if name != KEYS.metrics_list),
        counter=int(counter or 0),
        live=live,
        saved={name: part for name, part in saved.items() if name in stamped},
    )


async def live_totals(client: Any) -> dict[str, Totals]:
    """T, the live totals of every function."""
    return (await held(client)).live


async def check_pending(client: Any) -> Held:
    """T - B is what is pending, and the counter of claimed elements is right."""
    state = await held(client)
    pending = totals_of(e for e in entries_of(state.elements) if e.producer is not None)
    difference = {
        name: _minus(totals, state.saved.get(name, Totals())) for name, totals in state.live.items()
    }
    assert all_same(difference, pending, extremes=False), (
        {name: (t.counts, t.execution_time) for name, t in difference.items()},
        {name: (t.counts, t.execution_time) for name, t in pending.items()},
    )
    assert state.counter == state.claimed
    return state


def _minus(whole: Totals, part: Totals) -> Totals:
    rest = Totals()
    for field in whole.counts.keys() | part.counts.keys():
        rest.counts[field] = whole.counts.get(field, 0) - part.counts.get(field, 0)
    rest.execution_time = whole.execution_time - part.execution_time
    return rest


class Contents(NamedTuple):
    """What a database holds."""

    entries: list[Entry]
    rejected: list[tuple[str | bytes, str]]
    ledger: dict[str, list[tuple[int, int]]]
    totals: dict[str, Totals]
    db: str
    no: int

    @property
    def ids(self) -> Counter[tuple[str, int]]:
        """How often each numbered entry is there."""
        return Counter((e.producer, e.number) for e in self.entries if e.producer is not None)

    @property
    def foreign(self) -> int:
        """How many entries there are without a number."""
        return sum(e.producer is None for e in self.entries)


def contents(path: Path | str) -> Contents:
    """Read a database, and check on the way that rollups and totals are what the entries add up to."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        entries = [
            entry_of_row(dict(row))
            for row in connection.execute("SELECT * FROM metrics ORDER BY rowid")
        ]
        rejected = [
            (raw, reason)
            for raw, reason in connection.execute("SELECT raw, reason FROM rejected_entries")
        ]
        ledger: dict[str, list[tuple[int, int]]] = {}
        for producer, first, last in connection.execute(
            "SELECT producer, first, last FROM ledger ORDER BY producer, first"
        ):
            ledger.setdefault(producer, []).append((first, last))
        totals = {
            row["func_name"]: _totals_of_row(row)
            for row in connection.execute("SELECT * FROM totals")
        }
        (db, no) = connection.execute("SELECT db, no FROM meta").fetchone()
        assert all_same(totals, totals_of(entries))
        for resolution, seconds in (("minute", 60), ("hour", 3600), ("day", 86400)):
            _check_rollups(connection, entries, resolution, seconds)
    return Contents(entries, rejected, ledger, totals, db, no)


def _totals_of_row(row: sqlite3.Row) -> Totals:
    counts = {name: row[name] for name in ("call_count", "error_count", "cancelled_count")}
    shape = {
        "c": counts | json.loads(row["details"]),
        "sum": row["execution_time"],
        "min": row["min_execution_time"],
        "max": row["max_execution_time"],
        "last": row["last_called_at"],
    }
    return Totals.loads(json.dumps(shape))


def _check_rollups(
    connection: sqlite3.Connection, entries: Sequence[Entry], resolution: str, seconds: int
) -> None:
    expected: dict[tuple[int, str], list[Entry]] = {}
    for entry in entries:
        start = int(entry.created_at // seconds) * seconds
        expected.setdefault((start, entry.func_name), []).append(entry)
    rows = connection.execute("SELECT * FROM rollups WHERE resolution = ?", (resolution,))
    found = {(row["start"], row["func_name"]): _totals_of_row(row) for row in rows}
    assert found.keys() == expected.keys()
    for (start, name), totals in found.items():
        assert same(totals, totals_of(expected[start, name])[name]), (resolution, start, name)
