"""Random schedules over the shipped scripts, the real outbox and flush, a real Redis and a real SQLite file.

Each is drawn from a seed of its own. (Drawn by hypothesis's `randoms()` instead, so that they could be shrunk, 60 of
them caught none of five mutants that 8 of these catch: its choices are seldom as varied.)

`SCHEDULES=500 pytest tests/integration/test_schedules.py` runs that many of each kind, instead of the few that fit
into every run of the tests. A failure names its seed; `SCHEDULES_FROM` begins there.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from metrics_collector._redis.connection import connect
from tests.helpers.folders import fast_folder
from tests.helpers.schedules import World

RUNS = int(os.environ.get("SCHEDULES", "6"))
FROM = int(os.environ.get("SCHEDULES_FROM", "1"))
EXAMPLES = 8  # in which a mutant must be caught; each schedule is the same in every run

KINDS: dict[str, dict[str, Any]] = {
    "losses": {},
    "no losses": {"losses": 0.0},
    "evictions": {"losses": 0.5, "evictions": 3.0},
    "earlier producers": {"by_lists": False},
    "rollbacks": {"rollbacks": 1.5},
    "deletions": {"losses": 0.0, "deletions": 1.5},
    "deletions, earlier producers": {"losses": 0.0, "deletions": 1.5, "by_lists": False},
    "everything": {"evictions": 0.5, "rollbacks": 1.0, "deletions": 0.5},
}


async def run(redis_url: str, chance: random.Random, options: dict[str, Any]) -> Counter[str]:
    """One schedule, in a world of its own."""
    client = connect(redis_url)
    try:
        with fast_folder() as folder:
            world = World(client, Path(folder, "metrics.db"), chance, **options)
            await world.run()
            return world.happened
    finally:
        await client.aclose()


async def run_all(redis_url: str, first: int, runs: int, **options: Any) -> Counter[str]:
    happened: Counter[str] = Counter()
    for seed in range(first, first + runs):
        try:
            happened += await run(redis_url, random.Random(seed), options)
        except AssertionError as error:
            error.add_note(f"seed {seed}, {options}")
            raise
    return happened


@pytest.mark.timeout(60 + 10 * RUNS)
@pytest.mark.parametrize("kind", KINDS)
async def test_schedules(redis_url: str, kind: str) -> None:
    await run_all(redis_url, FROM, RUNS, **KINDS[kind])


class Mutant(NamedTuple):
    """A shipped script with one thing wrong, and the kind of schedules in which that shows."""

    script: str
    old: str
    new: str
    kind: str = "losses"
    first: int = 1  # seed

    @property
    def scripts(self) -> dict[str, str]:
        """Its text, under its name."""
        package = resources.files("metrics_collector._redis")
        text = package.joinpath(f"lua/{self.script}.lua").read_text("utf-8")
        assert text.count(self.old) == 1
        return {self.script: text.replace(self.old, self.new)}


MUTANTS = {
    "push without need": Mutant(
        "push", "if seen < need then", "if false then", "earlier producers"
    ),
    "push that has seen what it refuses": Mutant(
        "push",
        "  return reply('full', request_flush(waiting), 0)",
        "  redis.call('HSET', producer, 'seen', last) seen = last return reply('full', 0, 0)",
        "earlier producers",
    ),
    "push without a backlog limit": Mutant("push", "unsaved + n > tonumber(ARGV[5])", "false"),
    "push that forgets claims in the backlog limit": Mutant(
        "push", "waiting + tonumber(redis.call('GET', KEYS[3]) or 0)", "waiting"
    ),
    "push that never requests a flush": Mutant(
        "push",
        "reply('ok', request_flush(waiting + n_entries), bad)",
        "reply('ok', 0, bad)",
        first=9,
    ),
    "push that requests a flush for new entries only": Mutant(
        "push", "reply('skip', request_flush(waiting), 0)", "reply('skip', 0, 0)", first=3
    ),
    "push that counts twice": Mutant("push", "had + by[i])", "had + 2 * by[i])"),
    "push that says of no list that it is gone": Mutant(
        "push", "request, bad, oldest, newest}", "request, bad, 0, newest}", "evictions"
    ),
    "adopt that finds nothing": Mutant("adopt", "n > 0 and", "false and", "evictions", first=9),
    "claim beside another": Mutant(
        "claim", "if redis.call('ZCARD', KEYS[2]) > 0 then", "if false then"
    ),
    "claim that heeds no lease": Mutant("claim", "ARGV[3] == '1' and '+inf' or now", "'+inf'"),
    "claim that nobody takes over": Mutant("claim", "if old then", "if false then"),
    "claim without a new lease": Mutant(
        "claim", "redis.call('ZADD', KEYS[2], 'XX', now + ARGV[2], old)", ""
    ),
    "claim that does not count": Mutant("claim", "redis.call('SET', KEYS[3], n)", ""),
    "claim with a life of its own": Mutant("claim", "ARGV[4], 'NX')", "ARGV[4])"),
    "read that passes over the first": Mutant(
        "read", "KEYS[1], read,", "KEYS[1], read + 1,", first=2
    ),
    "ack whatever the length": Mutant("ack", "redis.call('LLEN', KEYS[1]) == expected", "true"),
    "ack that takes one too many": Mutant(
        "ack", "'LTRIM', KEYS[1], n, -1", "'LTRIM', KEYS[1], n + 1, -1"
    ),
    "ack that leaves the lease": Mutant("ack", "redis.call('ZREM', KEYS[2], ARGV[1])", "", first=2),
    "ack that does not count": Mutant("ack", "redis.call('DECRBY', KEYS[3], n)", "0"),
    "ack that takes nothing back": Mutant("ack", "net[field] = -by", "net[field] = 0"),
    "ack that merges with the claim only": Mutant(
        "ack",
        "if not stamped or had[1] ~= db or not b_no or b_no < a_no then",
        "if (mine or ARGV[1] == '') and (not stamped or had[1] ~= db or not b_no or b_no < a_no) then",
        first=22,
    ),
    "ack that adds all again": Mutant(
        "ack",
        "for field, by in pairs(B.c) do net[field] = (net[field] or 0) - by end",
        "",
        first=10,
    ),
    "ack that always takes the short cut": Mutant(
        "ack", "prev ~= '' and had[1] == db and had[2] == prev then", "true then", first=10
    ),
    "ack that takes the short cut whatever it had": Mutant(
        "ack", "had[1] == db and had[2] == prev then", "true then", "deletions", first=15
    ),
    "ack that always settles": Mutant("ack", "if quiet then settle", "if true then settle"),
    "ack that believes what is old": Mutant(
        "ack", "b_no < a_no then", "true then", "no losses", first=7
    ),
    "ack that knows one database only": Mutant(
        "ack", "had[1] ~= db or not b_no", "not b_no", "deletions"
    ),
    "ack that tells of one database only": Mutant(
        "ack", "known[1] ~= db or ", "", "deletions, earlier producers", first=93
    ),
    "ack that tells what was saved before": Mutant(
        "ack", "tonumber(known[2] or 0) < no)", "true)", "no losses", first=6
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
async def test_mutants_are_caught(redis_url: str, name: str) -> None:
    mutant = MUTANTS[name]
    scripts = mutant.scripts
    with pytest.raises(AssertionError):
        await run_all(redis_url, mutant.first, EXAMPLES, scripts=scripts, **KINDS[mutant.kind])
