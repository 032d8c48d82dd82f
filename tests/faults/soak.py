"""Hundreds of random kills and other troubles, for as long as you like, and a watch on what may grow.

`python -m tests.faults.soak --minutes 60 --kills 1000`. Three producers make 900 calls a second together; workers,
managers, schedulers, producers and Redis are killed, Redis is emptied, connections are cut and go half-open, a worker
stands still for longer than its lease, and the database is locked. One producer and one worker are never killed, so
that a leak would show in them. At the end come a table of figures and the verdict; the exit status is 1 if any call was
lost or saved twice, or anything else is not as the oracle wants it.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from redis.exceptions import RedisError

from metrics_collector._saving.taskiq.stream import STREAM
from tests.faults.proxy import Proxy
from tests.faults.world import World, children, kill_one
from tests.helpers.processes import Process, resident
from tests.helpers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable

RATE = 300  # calls a second of each producer
LOOKS = 20  # rows of the table
KILLS = 0.8  # of all troubles
STEADY = "steady"


class Look(NamedTuple):
    """What was found at one moment; sizes in MB. Producer and worker are those that are never killed."""

    minute: float
    rows: int
    waiting: int
    producer: float
    producer_files: int
    worker: float
    worker_files: int
    redis: float
    flush_requests: int
    wal: float

    @classmethod
    def header(cls) -> str:
        return " ".join(f"{name:>14}" for name in cls._fields)

    def __str__(self) -> str:
        return " ".join(
            f"{value:>14.1f}" if isinstance(value, float) else f"{value:>14}" for value in self
        )


class Soak:
    """The processes, and what is done to them."""

    def __init__(self, world: World, proxy: Proxy, chance: random.Random) -> None:
        self._world = world
        self._proxy = proxy
        self._chance = chance
        self._began = time.monotonic()
        self._made = 0  # producers
        self._dead: list[str] = []  # producers whose last entries may be in Redis only
        self._orphaned: list[Process] = []  # managers, whose children go on
        self.done: Counter[str] = Counter()
        self.steady_worker = world.worker()
        self.steady_producer = world.producer(STEADY, 0, RATE, url=proxy.url)
        self._workers = [world.worker(url=proxy.url, workers=2)]
        self._schedulers = [world.scheduler(url=proxy.url)]
        self.producers: list[str] = []
        for _ in range(2):
            self._new_producer()

    def _new_producer(self) -> None:
        self._made += 1
        name = f"app{self._made}"
        self._world.producer(name, 0, RATE, url=self._proxy.url)
        self.producers.append(name)

    def trouble(self) -> None:
        """Do one thing, most often kill something."""
        kills: dict[Callable[[], None], int] = {
            self.kill_a_worker: 8,
            self.kill_a_manager: 4,
            self.kill_a_scheduler: 3,
            self.kill_a_producer: 1,
            self.kill_redis: 2,
        }
        others: dict[Callable[[], None], int] = {
            self.empty_redis: 1,
            self.cut_connections: 2,
            self.go_half_open: 1,
            self.stop_a_worker: 1,
            self.lock_the_database: 1,
        }
        kinds = kills if self._chance.random() < KILLS else others
        (act,) = self._chance.choices(list(kinds), list(kinds.values()))
        act()
        self.done[act.__name__] += 1

    @property
    def kills(self) -> int:
        """How many there were."""
        return sum(count for name, count in self.done.items() if name.startswith("kill"))

    def kill_a_worker(self) -> None:
        kill_one(children(self._workers[-1]), self._chance)

    def kill_a_manager(self) -> None:
        for orphaned in self._orphaned:
            orphaned.close()  # its children, by now
        self._orphaned = [self._workers.pop()]
        self._orphaned[0].send(signal.SIGKILL)
        self._workers.append(self._world.worker(url=self._proxy.url, workers=2))

    def kill_a_scheduler(self) -> None:
        self._schedulers.pop().close()
        self._schedulers.append(self._world.scheduler(url=self._proxy.url))

    def kill_a_producer(self) -> None:
        name = self._chance.choice(self.producers)
        self.producers.remove(name)
        self._world.killed(name)
        self._dead.append(name)
        self._new_producer()

    def kill_redis(self) -> None:
        self._bury()
        self._world.server.kill()
        time.sleep(self._chance.uniform(0, 1))
        self._world.server.start()

    def empty_redis(self) -> None:
        self._bury()
        self._world.redis.flushall()

    def _bury(self) -> None:
        """Wait until SQL has all that dead producers have sent: a Redis that loses it then loses it for good."""
        deadline = time.monotonic() + 300  # a busy machine may have minutes of entries waiting
        while self._dead:
            assert time.monotonic() < deadline, (
                f"never saved: {self._dead}, of {self._world.waiting()} that wait"
            )
            counted = Counter[str]()
            for function, calls in self._world.counted().items():
                counted[function.rpartition(".")[0]] += calls
            with closing(sqlite3.connect(self._world.database)) as database:
                for name in list(self._dead):
                    query = "SELECT sum(call_count) FROM totals WHERE func_name LIKE ? || '.%'"
                    (saved,) = database.execute(query, (name,)).fetchone()
                    if counted[name] == (saved or 0):
                        self._dead.remove(name)
            time.sleep(0.1)

    def cut_connections(self) -> None:
        self._world.cut_connections()

    def go_half_open(self) -> None:
        with self._proxy.half_open():
            time.sleep(self._chance.uniform(0, 6))

    def stop_a_worker(self) -> None:
        pids = children(self._workers[-1])
        if pids:
            pid = self._chance.choice(pids)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                time.sleep(self._chance.uniform(1, 4))
                os.kill(pid, signal.SIGCONT)

    def lock_the_database(self) -> None:
        with closing(sqlite3.connect(self._world.database, isolation_level=None)) as database:
            database.execute("PRAGMA busy_timeout = 10000")
            database.execute("BEGIN IMMEDIATE")
            time.sleep(self._chance.uniform(0, 4))

    def look(self) -> Look:
        """Take the figures."""
        (worker,) = children(self.steady_worker)
        producer = self.steady_producer.pid
        wal = Path(f"{self._world.database}-wal")
        redis = self._world.redis
        return Look(
            minute=(time.monotonic() - self._began) / 60,
            rows=self._world.rows(),
            waiting=self._world.waiting(),
            producer=resident(producer) / 1e6,
            producer_files=files_of(producer),
            worker=resident(worker) / 1e6,
            worker_files=files_of(worker),
            redis=redis.info("memory")["used_memory"] / 1e6,
            flush_requests=redis.xlen(STREAM),
            wal=wal.stat().st_size / 1e6 if wal.exists() else 0.0,
        )

    def end(self) -> None:
        """Let the producers finish, and ask the oracle."""
        for name in (STEADY, *self.producers):
            self._world.stop(name)
        made = [self._world.finish(name, 120) for name in (STEADY, *self.producers)]
        retried, looks = sum(one.retried for one in made), sum(one.looks for one in made)
        for orphaned in self._orphaned:
            orphaned.close()
        ending = (self.steady_worker, *self._workers, *self._schedulers)
        verdict = self._world.check(*ending, limit=120)
        print(f"producers: {len(verdict.rows)}, of which {len(self.producers) + 1} were not killed")
        print(f"sent again: {retried}, looks at the statistics of those: {looks}")
        print(f"rows: {sum(verdict.rows.values())}, counted in Redis: {verdict.counted}")
        print(f"lost: {verdict.lost}, twice: {verdict.twice}, reported dropped: {verdict.dropped}")


def files_of(pid: int) -> int:
    """How many descriptors a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def run(minutes: float, kills: int, seed: int) -> None:
    """Make trouble for so long, and at least so often."""
    chance = random.Random(seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        server = stack.enter_context(RedisServer())
        proxy = stack.enter_context(Proxy(server.port))
        world = stack.enter_context(World(server, folder))
        soak = Soak(world, proxy, chance)
        soak.steady_producer.until(lambda: world.rows() > 0)
        pause = minutes * 60 / (kills / KILLS)  # between the beginnings of two troubles
        began = due = time.monotonic()
        look_due = began
        print(Look.header())
        while (now := time.monotonic()) < began + minutes * 60 or soak.kills < kills:
            if now >= look_due:
                with suppress(RedisError, ValueError):
                    print(soak.look(), flush=True)
                look_due += minutes * 60 / LOOKS
            due += chance.uniform(0, 2 * pause)
            time.sleep(max(0.0, due - time.monotonic()))
            soak.trouble()
        print(soak.look())
        print(", ".join(f"{name.replace('_', ' ')}: {n}" for name, n in soak.done.most_common()))
        print(f"kills: {soak.kills}")
        soak.end()


def main() -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    print(f"seed {seed}")
    try:
        run(options.minutes, options.kills, seed)
    except (AssertionError, RuntimeError, TimeoutError) as error:
        print(f"FAILED: {error}")
        return 1
    print("all is as it must be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
