"""Every world that can be reached, in order of the number of steps that lead there."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from tests.model import failing, producing, working
from tests.model.resting import BrokenPromiseError, Rest, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.model.setup import Setup
    from tests.model.world import Steps, World


class Explored(NamedTuple):
    """How far an exploration came."""

    worlds: int  # that were looked at
    complete: bool  # there are no more
    broken: str  # what does not hold in the last one; "" if all is well
    steps: list[str]  # from the beginning to there


def explore(
    setup: Setup, *, most: int = 10**9, progress: Callable[[int], None] | None = None
) -> Explored:
    """Look at worlds until one is broken, there are no more, or `most` were looked at."""
    rest = Rest(setup)
    came_from: dict[World, World | None] = {setup.beginning: None}
    waiting = deque([setup.beginning])
    looked = 0
    while waiting and looked < most:
        world = waiting.popleft()
        looked += 1
        if progress is not None and not looked % 10_000:
            progress(looked)
        try:
            check(setup, world)
            rest.check(world)
        except BrokenPromiseError as broken:
            steps = _steps(setup, came_from, world)
            return Explored(looked, complete=False, broken=str(broken), steps=steps)
        for _, after in following(setup, world):
            if after not in came_from:
                came_from[after] = world
                waiting.append(after)
    return Explored(looked, not waiting, "", [])


def following(setup: Setup, world: World) -> Steps:
    """Each step or fault that may come next, and the world after it."""
    for producer_step in producing.TRANSITIONS:
        for who in range(len(world.producers)):
            yield from producer_step(setup, world, who)
    for worker_step in working.TRANSITIONS:
        for who in range(len(world.workers)):
            for label, after in worker_step(setup, world, who):
                # Which worker is which makes no difference.
                yield label, after._replace(workers=tuple(sorted(after.workers, key=hash)))
    for fault in failing.TRANSITIONS:
        yield from fault(setup, world)


def _steps(setup: Setup, came_from: dict[World, World | None], world: World) -> list[str]:
    steps: list[str] = []
    before = came_from[world]
    while before is not None:
        steps.append(next(label for label, after in following(setup, before) if after == world))
        world, before = before, came_from[before]
    return steps[::-1]
