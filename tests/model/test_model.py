"""The protocol keeps its promises in every small world, and breaks one without any of its rules.

`python -m tests.model` explores larger worlds.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.model.explore import explore
from tests.model.setup import Flaw
from tests.model.setups import ALL, MADE_GOOD, MISSED_IN, SMALL


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SMALL)
def test_every_small_world_keeps_the_promises(name: str) -> None:
    found = explore(SMALL[name])

    assert not found.broken, found.steps
    assert found.complete
    assert found.worlds > 1000


def test_lists_are_what_finds_a_lost_key() -> None:
    assert "is lost" in explore(replace(SMALL["evicted"], earlier_producers=True)).broken


@pytest.mark.parametrize("flaw", Flaw)
def test_no_rule_can_be_left_out(flaw: Flaw) -> None:
    setup = replace(ALL[MISSED_IN[flaw]], flaw=flaw, earlier_producers=flaw in MADE_GOOD)
    found = explore(setup, most=5000)

    assert found.broken
