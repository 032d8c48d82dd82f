"""The spool: what stands on disk, who may touch it, and that it all arrives in SQL once."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
import time
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from metrics_collector._errors import StoreUnavailableError
from metrics_collector._redis.producer_commands import ProducerCommands
from metrics_collector._saving.flush import Flush
from metrics_collector._sending.memory_limit import MemoryLimit
from metrics_collector._sending.outbox import Outbox
from metrics_collector._sending.sender import Sender
from metrics_collector._sending.spool import Replay, Spool, replay, spool_file
from metrics_collector._storage.sqlite import SQLiteStore
from metrics_collector._support.rate_limited_log import RateLimitedLog
from tests.helpers.pipeline import (
    DB,
    KEYS,
    OTHER_PRODUCER,
    PRODUCER,
    REFUSED,
    TIMEOUT,
    Call,
    During,
    all_same,
    batch_of,
    check_pending,
    content_in,
    contents,
    live_totals,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from metrics_collector._recording.recorder import Record
    from metrics_collector._sending.batch import Batch, DiskCopy
    from tests.helpers.pipeline import Commands


LIMIT = 60.0  # seconds that something may take before it counts as never


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(folder: Path) -> Spool:
    return Spool(str(folder), PRODUCER)


@pytest.fixture(autouse=True)
def quick_and_tidy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody waits for the next look; nothing is left open."""
    monkeypatch.setattr(replay, "SCAN_EVERY", 0.01)
    monkeypatch.setattr(replay, "LOOK_EVERY", 0.01)
    before = spool_file._open.copy()
    yield
    for descriptor in spool_file._open - before:
        spool_file.close(descriptor)


def batches(count: int, size: int = 3) -> list[Batch]:
    """Batches of one producer, one after the other."""
    names = ("app.f", "app.größe")
    marks = (None, TIMEOUT, REFUSED)  # a spool may be a later release's
    calls = [Call(names[n % 2], 0.1 * n, marks[n % 3]) for n in range(size)]
    return [batch_of(*calls, first=1 + size * number) for number in range(count)]


def write(spool: Spool, *some: Batch) -> list[tuple[Batch, DiskCopy]]:
    placed: list[tuple[Batch, DiskCopy]] = []
    asyncio.run(spool.write([(b, content_in(b)) for b in some], lambda *one: placed.append(one)))
    return placed


def left(folder: Path, *some: Batch, producer: str = PRODUCER) -> Path:
    """The file that a process with these batches leaves when it dies."""
    write(Spool(str(folder), producer), *some)
    path = folder / f"{producer}-{some[0].first}.spool"
    _die()
    return path


def _die() -> None:
    """Do to files what the end of the process does."""
    for descriptor in spool_file._open.copy():
        spool_file.close(descriptor)


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


# What stands on disk


def test_what_is_written_can_be_read(folder: Path, spool: Spool) -> None:
    some = batches(4)
    placed = write(spool, *some[:3]) + write(spool, some[3])

    assert [batch for batch, _ in placed] == some
    for batch, copy in placed:
        assert copy.read() == content_in(batch)
    assert len(list(folder.iterdir())) == 1


def test_a_file_goes_with_the_last_batch_in_it(folder: Path, spool: Spool) -> None:
    some = batches(4)
    first, second = [copy for _, copy in write(spool, *some[:2])]
    first.discard()
    assert len(list(folder.iterdir())) == 1
    second.discard()
    assert not list(folder.iterdir())

    ((_, third),) = write(spool, some[2])
    assert third.read() == content_in(some[2])


def test_a_full_file_is_followed_by_another(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metrics_collector._sending.spool.spool_writer._FULL", 500)
    some = batches(4)
    placed = write(spool, *some)

    assert len(list(folder.iterdir())) > 1
    for batch, copy in placed:
        assert copy.read() == content_in(batch)
        copy.discard()
    assert not list(folder.iterdir())


def test_what_does_not_fit_leaves_no_trace(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = batches(3)
    write(spool, one)
    (path,) = folder.iterdir()
    size = path.stat().st_size
    real, room = os.write, 100

    def full(descriptor: int, data: Any) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(descriptor, bytes(data[:room]))
        room -= written
        return written

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        write(spool, two)
    assert path.stat().st_size == size

    monkeypatch.setattr(os, "write", real)
    ((_, copy),) = write(spool, three)
    assert copy.read() == content_in(three)
    _die()
    assert firsts_in(path) == ([one.first, three.first], False)


def test_cut_off_anywhere_what_stands_before_is_good(folder: Path) -> None:
    path = left(folder, *batches(2))
    whole = path.read_bytes()
    ends = ends_in(whole)
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        found, damaged = firsts_in(path)
        assert found == [1, 4][: sum(length >= end for end in ends[1:])]
        assert damaged == (length not in ends)


def firsts_in(path: Path) -> tuple[list[int], bool]:
    """The first number of each batch, and whether something else stands behind them."""
    found: list[int] = []
    descriptor = spool_file.open_locked(path)
    assert descriptor is not None
    try:
        _, offset = spool_file.producer_in(descriptor)
        found.extend(frame.first for frame in spool_file.frames(descriptor, offset))
    except spool_file.DamagedError:
        return found, True
    finally:
        spool_file.close(descriptor)
    return found, False


def ends_in(whole: bytes) -> list[int]:
    """Where the header and each batch end."""
    ends = [whole.index(b"\n") + 1]
    while ends[-1] < len(whole):
        line = whole.index(b"\n", ends[-1])
        length = int(whole[ends[-1] : line].split()[2])
        ends.append(line + 1 + length + 1)
    return ends


def test_a_changed_byte_is_seen(folder: Path) -> None:
    path = left(folder, *batches(1))
    whole = path.read_bytes()
    for at in range(whole.index(b"\n") + 1, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert firsts_in(path) == ([], True)


def test_a_folder_that_cannot_be_used_is_refused() -> None:
    # Where not even root can make a file; some roots may, if asked.
    unwritable = "/proc/self/fd/spool" if os.access("/proc/self", os.W_OK) else "/proc/self"
    for path in ("/dev/null", unwritable):
        with pytest.raises((FileExistsError, FileNotFoundError, PermissionError)):
            Spool(path, PRODUCER).check()


# Whose it is


def test_a_file_is_its_process_s_as_long_as_that_lives(folder: Path, spool: Spool) -> None:
    write(spool, *batches(1))
    (path,) = folder.iterdir()
    assert spool_file.open_locked(path) is None
    _die()
    assert spool_file.open_locked(path) is not None


def test_a_forked_child_neither_keeps_nor_breaks_the_lock(folder: Path, spool: Spool) -> None:
    write(spool, *batches(1))
    (path,) = folder.iterdir()
    here, there = socket.socketpair()
    with here:
        child = os.fork()
        if not child:
            here.close()
            there.send(b".")
            there.recv(1)  # until the parent has closed its end
            os._exit(0)
        there.close()
        here.recv(1)
        assert spool_file.open_locked(path) is None
        _die()
        assert spool_file.open_locked(path) is not None  # while the child lives
    assert os.waitpid(child, 0)[1] == 0


def test_one_that_its_owner_deletes_meanwhile_is_nobody_s(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = left(folder, *batches(1))
    real = os.open

    def open_then_delete(*arguments: Any, **options: Any) -> int:
        descriptor = real(*arguments, **options)
        path.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", open_then_delete)
    assert spool_file.open_locked(path) is None
    assert spool_file.open_locked(path) is None  # nor once it is gone


# Where it goes


class World:
    """A folder, a Redis that may be away, and the database into which that is saved."""

    def __init__(self, folder: Path, redis: Commands, client: Any, path: Path) -> None:
        self.folder = folder
        self.redis = redis
        self.client = client
        self.path = path
        self.away = False
        self.errors: list[str] = []  # that replays told

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir()) if self.folder.exists() else []

    async def leave(self, *some: Batch, producer: str = PRODUCER) -> Path:
        return await asyncio.to_thread(left, self.folder, *some, producer=producer)

    def replaying(self) -> AbstractAsyncContextManager[None]:
        log = RateLimitedLog()
        failed = self.errors.append
        return running(Replay(str(self.folder), self.redis.producer, log=log, failed=failed).run())

    def flush(self) -> Flush:
        store = SQLiteStore(str(self.path))
        return Flush(self.redis.worker, store, ledger_days=30, log=RateLimitedLog())

    async def save(self) -> None:
        await self.flush().drain()

    def unless_away(self, command: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def reached(*arguments: Any, **options: Any) -> Any:
            if self.away:
                raise StoreUnavailableError("away")
            return await command(*arguments, **options)

        return reached

    async def listed(self, count: int) -> None:
        """Wait until so many elements are in `metrics_list`."""
        async with asyncio.timeout(LIMIT):
            while await self.client.llen("metrics_list") < count:
                await asyncio.sleep(0.002)

    async def saved(self, file: Path, count: int) -> None:
        """Wait until a file was sent, save what Redis has, and wait until the file goes."""
        await self.listed(count)
        await self.save()
        await gone(file)

    async def check_at_rest(self, count: int, producer: str = PRODUCER) -> None:
        """SQL has each number once, and Redis counts as many."""
        await check_pending(self.client)
        found = await asyncio.to_thread(contents, self.path)
        assert found.ids == {(producer, number): 1 for number in range(1, count + 1)}
        assert all_same(await live_totals(self.client), found.totals)


@pytest.fixture
def world(
    folder: Path, redis: Commands, client: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    world = World(folder, redis, client, path)
    for name in ("push", "look"):
        command = getattr(ProducerCommands, name)
        monkeypatch.setattr(ProducerCommands, name, world.unless_away(command))
    return world


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.002)


async def gone(file: Path) -> None:
    """Wait until a file is deleted."""
    await until(lambda: not file.exists())


# The sender


class Scene:
    """A process with a memory limit of 100 entries."""

    def __init__(self, world: World) -> None:
        self.buffer: deque[Record] = deque()
        self.outbox = Outbox(self.buffer)
        said: dict[str, Any] = {"log": RateLimitedLog(), "failed": lambda _: None, "batch": 20}
        spool = Spool(str(world.folder), self.outbox.producer)
        self.memory_limit = MemoryLimit(self.outbox, 100, spool=spool, **said)
        self.sender = Sender(
            self.outbox,
            world.redis.producer,
            interval=0.005,
            memory_limit=self.memory_limit,
            request_flush=lambda: asyncio.sleep(0),
            **said,
        )

    def record(self, count: int) -> None:
        self.buffer.extend(("app.f", 0.0, 0.25, None) for _ in range(count))

    def check(self, recorded: int) -> None:
        counts = self.outbox.counts()
        assert counts.recorded == recorded
        where = counts.saved + counts.sent + counts.spooled + counts.buffered + counts.dropped
        assert counts.recorded == where


async def test_what_memory_cannot_hold_goes_to_disk_and_then_to_redis(world: World) -> None:
    scene = Scene(world)
    world.away = True
    async with running(scene.sender.run()):
        for _ in range(20):
            scene.record(50)
            await until(lambda: scene.outbox.counts().buffered <= 50)
            scene.check(scene.outbox.counts().recorded)
        counts = scene.outbox.counts()
        assert (counts.recorded, counts.dropped) == (1000, 0)
        assert counts.spooled >= 900
        in_memory = sum(len(b) for b in scene.outbox._batches if b.in_memory)
        assert in_memory + len(scene.buffer) <= 100
        assert world.files

        world.away = False
        await scene.sender.send(30)
        assert scene.outbox.counts().sent == 1000
        await world.save()
        await scene.sender.look()

    scene.check(1000)
    assert scene.outbox.counts().saved == 1000
    assert not world.files
    await world.check_at_rest(1000, scene.outbox.producer)


async def test_copies_of_what_redis_has_may_fill_the_memory(world: World) -> None:
    scene = Scene(world)
    for _ in range(9):
        scene.record(10)
        await scene.sender.send(5)
        await scene.memory_limit.enforce()
    assert sum(len(batch) for batch in scene.outbox._batches if batch.memory_copy) == 90
    assert not world.files


async def test_redis_emptied_after_the_disk_was_sent_is_sent_again(world: World) -> None:
    scene = Scene(world)
    scene.record(300)
    await scene.memory_limit.enforce()
    await scene.sender.send(30)
    assert scene.outbox.counts().sent == 300
    await world.client.flushall()
    await scene.sender.look()
    assert scene.outbox.counts().spooled + scene.outbox.counts().buffered == 300
    await scene.sender.send(30)
    await world.save()
    await scene.sender.look()

    assert not world.files
    await world.check_at_rest(300, scene.outbox.producer)


async def test_a_list_lost_after_the_disk_was_sent_is_sent_again(world: World) -> None:
    scene = Scene(world)
    scene.record(300)
    await scene.memory_limit.enforce()
    await scene.sender.send(30)
    await world.client.delete("metrics_list")
    await scene.sender.look()
    await scene.sender.send(30)
    assert scene.outbox.counts().sent == 300
    await world.save()
    await scene.sender.look()

    assert not world.files
    await world.check_at_rest(300, scene.outbox.producer)


async def test_a_file_deleted_by_hand_is_counted_as_dropped(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(world)
    scene.record(300)
    await scene.memory_limit.enforce()
    spooled = scene.outbox.counts().spooled
    for file in world.files:
        os.truncate(file, 10)
    await scene.sender.send(30)

    scene.check(300)
    counts = scene.outbox.counts()
    assert (counts.dropped, counts.sent) == (spooled, 300 - spooled)
    assert "entries in the spool folder cannot be read back" in caplog.text


async def test_where_the_disk_is_full_the_oldest_are_dropped(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(world.folder.write_text, "no folder")
    scene = Scene(world)
    for _ in range(40):
        scene.record(90)
        await scene.memory_limit.enforce()

    scene.check(3600)
    counts = scene.outbox.counts()
    assert counts.buffered <= 100
    assert counts.dropped == 3600 - counts.buffered
    assert "cannot write to the spool folder" in caplog.text
    assert "dropped the oldest" in caplog.text


async def test_what_is_left_goes_to_disk_at_the_end(world: World) -> None:
    scene = Scene(world)
    scene.record(5)
    await scene.sender.send(5)
    scene.record(45)
    await scene.memory_limit.move_to_spool()

    counts = scene.outbox.counts()
    assert (counts.sent, counts.spooled, counts.buffered) == (5, 45, 0)
    assert scene.outbox.count_volatile(embedded=False) == 0
    assert scene.outbox.count_volatile(embedded=True) == 5
    await scene.memory_limit.move_to_spool(sent=True)
    assert scene.outbox.count_volatile(embedded=True) == 0
    scene.check(50)


# Replay


async def test_what_a_process_left_is_sent_by_another(world: World) -> None:
    file = await world.leave(*batches(5))
    async with world.replaying():
        await world.saved(file, 15)

    assert not world.files
    await world.check_at_rest(15)


async def test_what_redis_or_sql_already_have_is_not_sent_again(world: World) -> None:
    some = batches(5)
    file = await world.leave(*some)
    await world.redis.producer.push(PRODUCER, some[0], 0)
    await world.save()
    await world.redis.producer.push(PRODUCER, some[1], 3)
    async with world.replaying():
        await world.listed(12)
        assert await world.client.llen("metrics_list") == 12
        await world.save()
        await gone(file)
    await world.check_at_rest(15)


async def test_two_processes_do_not_replay_one_file(world: World) -> None:
    for batch in batches(6):
        await world.leave(batch)
    async with world.replaying(), world.replaying():
        await world.listed(18)
        await asyncio.sleep(0.1)  # for a second copy to come, if there were one
        assert await world.client.llen("metrics_list") == 18
        await world.save()
        await until(lambda: not world.files)
    await world.check_at_rest(18)


async def test_only_a_few_files_are_open(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "AT_ONCE", 2)
    for batch in batches(7):
        await world.leave(batch)
    async with world.replaying():
        while world.files:
            assert len(spool_file._open) <= 3  # one may be on its way in
            await world.save()
            await asyncio.sleep(0.005)
    await world.check_at_rest(21)


async def test_stopped_at_any_moment_no_file_stays_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = spool_file.producer_in

    def slow(descriptor: int) -> tuple[str, int]:
        time.sleep(0.003)
        return real(descriptor)

    monkeypatch.setattr(spool_file, "producer_in", slow)
    for batch in batches(7):
        await world.leave(batch)
    for turns in range(40):
        async with world.replaying():
            for _ in range(turns):
                await asyncio.sleep(0.0005)
        while any(thread.name.endswith("in_thread") for thread in threading.enumerate()):
            await asyncio.sleep(0.001)
        assert not spool_file._open


async def test_killed_while_it_replays_another_goes_on_and_nothing_is_twice(world: World) -> None:
    file = await world.leave(*batches(5))
    async with world.replaying():
        await world.listed(3)
    await world.save()
    # And Redis has forgotten all of it meanwhile.
    await world.client.flushall()
    async with world.replaying():
        await world.saved(file, 15)
    await world.flush().reconcile()
    await world.check_at_rest(15)


async def test_redis_emptied_before_sql_had_it_is_sent_it_again(world: World) -> None:
    file = await world.leave(*batches(5))
    async with world.replaying():
        for _ in range(3):
            await world.listed(15)
            await world.client.flushall()
        await world.listed(15)
        assert file.exists()
        await world.saved(file, 15)
    await world.check_at_rest(15)


async def test_redis_emptied_after_it_took_the_last_batch_is_sent_all_again(world: World) -> None:
    pushes = 0

    async def empty() -> None:
        nonlocal pushes
        pushes += 1
        if pushes in {5, 10}:
            await world.client.flushall()

    producer: Any = During(world.redis.producer, "push", empty)
    world.redis = world.redis._replace(producer=producer)
    file = await world.leave(*batches(5))
    async with world.replaying():
        await until(lambda: pushes == 15)
        await world.saved(file, 15)
    await world.check_at_rest(15)


async def test_a_list_lost_before_sql_had_it_is_sent_again(world: World) -> None:
    some = batches(5)
    for batch in some[:2]:  # as the process did before it died
        await world.redis.producer.push(PRODUCER, batch, batch.first - 1)
    file = await world.leave(*some)
    async with world.replaying():
        for _ in range(3):
            await world.listed(15)
            await world.client.delete("metrics_list")
        await world.listed(15)
        worker = world.redis.worker
        token = (await worker.claim()).token
        await world.client.delete(KEYS.claim(token))
        # Not a whole drain, which would take a part of what comes again.
        await worker.acknowledge(token, 0, 0, db=DB, no=1, functions={}, producers={})
        await world.listed(15)
        await asyncio.sleep(0.1)  # for a second copy to come, if there were one
        assert await world.client.llen("metrics_list") == 15
        await world.saved(file, 15)
    await world.check_at_rest(15)


async def test_what_never_gets_into_sql_is_not_sent_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MOST_LOSSES", 2)
    file = await world.leave(batch_of(Call("f" * 70_000)), *batches(2)[1:])
    async with world.replaying():
        while not world.errors:
            await world.save()
            await asyncio.sleep(0.01)
    assert "do not get into SQL" in world.errors[0]
    assert file.exists()
    found = await asyncio.to_thread(contents, world.path)
    assert (len(found.entries), len(found.rejected)) == (3, 3)


async def test_a_torn_file_is_sent_up_to_there_and_renamed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    file = await world.leave(*batches(3))
    os.truncate(file, file.stat().st_size - 7)
    async with world.replaying():
        await world.saved(file, 6)
    assert world.files == [file.with_suffix(".damaged")]
    assert "is damaged" in caplog.text
    assert "the 6 entries before that are sent" in world.errors[0]
    await world.check_at_rest(6)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}\n",
        b'{"metrics_collector_spool": 1}\n',
        b'{"metrics_collector_spool": 1, "producer": "../x"}\n',
        b"\xff\n",
    ],
)
async def test_what_is_no_spool_file_is_renamed(content: bytes, world: World) -> None:
    put(world.folder / "x.spool", content)
    async with world.replaying():
        await until(lambda: world.files == [world.folder / "x.damaged"])


async def test_a_newer_file_is_left_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    file = await world.leave(*batches(1))
    file.write_bytes(file.read_bytes().replace(b'spool": 1', b'spool": 2'))
    async with world.replaying():
        await until(lambda: "newer release" in caplog.text)
    assert file.exists()
    assert spool_file.open_locked(file) is not None


async def test_one_that_cannot_be_replayed_does_not_stop_the_others(world: World) -> None:
    odd = batch_of(Call(), first=1, producer=OTHER_PRODUCER)
    bad = await world.leave(odd, producer=OTHER_PRODUCER)
    good = await world.leave(*batches(1))
    note = KEYS.producer(OTHER_PRODUCER)
    await world.client.hset(note, "given:rubbish", 1)
    await asyncio.to_thread((world.folder / "0.spool").mkdir)  # not even root can open it to write
    async with world.replaying():
        for file, count in ((good, 3), (bad, 1)):
            await world.saved(file, count)
            await world.client.hdel(note, "given:rubbish")
    assert any("0.spool" in error for error in world.errors)
    assert any("rubbish" in error for error in world.errors)
    await check_pending(world.client)
    assert (await asyncio.to_thread(contents, world.path)).ids.total() == 4


async def test_an_unfinished_file_is_removed(world: World) -> None:
    unfinished = world.folder / f"{PRODUCER}-1.new"
    put(unfinished, b"")
    async with world.replaying():
        await gone(unfinished)


async def test_without_a_folder_all_is_well(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async with world.replaying():
        await asyncio.sleep(0.05)
    assert not caplog.messages


async def test_a_folder_that_cannot_be_listed_is_reported(world: World) -> None:
    world.folder.write_text("no folder")
    async with world.replaying():
        await until(lambda: bool(world.errors))
    assert "cannot list the spool files" in world.errors[0]


async def test_redis_away_is_reported_and_waited_for(world: World) -> None:
    file = await world.leave(*batches(2))
    world.away = True
    async with world.replaying():
        await until(lambda: len(world.errors) >= 3)
        world.away = False
        await world.saved(file, 6)
    assert all("away" in error for error in world.errors)
    await world.check_at_rest(6)


async def test_a_batch_that_is_too_large_is_sent_in_parts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier release's, and from where it was left off after a full backlog."""
    monkeypatch.setattr(replay, "MAX_BATCH_BYTES", 450)  # three entries
    world.redis.producer._max_backlog = 7
    file = await world.leave(*batches(2, size=15))
    pushed: list[int] = []
    async with world.replaying():
        while file.exists():
            pushed.append(await world.client.llen("metrics_list"))
            await world.save()
            await asyncio.sleep(0.01)
    assert max(pushed) <= 7
    given = await world.client.hgetall(KEYS.producer(PRODUCER))
    assert sum(field.startswith(b"given:") for field in given) >= 10
    await world.check_at_rest(30)


async def test_a_full_backlog_is_waited_for(world: World) -> None:
    world.redis.producer._max_backlog = 7
    file = await world.leave(*batches(5))
    async with world.replaying():
        while file.exists():
            assert await world.client.llen("metrics_list") <= 7
            await world.save()
            await asyncio.sleep(0.01)
    await world.check_at_rest(15)
