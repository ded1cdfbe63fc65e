from __future__ import annotations

import pytest

from tests.protocol.explore.canaries import CANARIES, Canary
from tests.protocol.explore.quiet import without_texts
from tests.protocol.explore.search import explore
from tests.protocol.explore.worlds import WORLDS, SmallWorld

SHORT = [world for world in WORLDS if not world.long]


@pytest.mark.parametrize("world", SHORT, ids=lambda world: world.name)
@pytest.mark.timeout(400)
def test_small_world_exhausted_breaks_no_invariant(world: SmallWorld) -> None:
    with without_texts():
        space, start = world.start()
        found = explore(space, start)
    assert found.violation is None, found.path
    assert found.complete


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.name)
def test_broken_machine_is_caught_by_its_number(canary: Canary) -> None:
    with without_texts() as patch:
        space, start = canary.world.start()
        canary.breaks(patch)
        found = explore(space, start, most=300_000)
    assert found.violation is not None
    assert found.violation.number == canary.number, found.violation
