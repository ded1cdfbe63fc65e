from __future__ import annotations

from collections import deque

import pytest

from simulator.explore.canaries import CANARIES, Canary
from simulator.explore.mirror import Mirror
from simulator.explore.quiet import without_texts
from simulator.explore.search import Cores, explore
from simulator.explore.settling import Settling
from simulator.explore.steps import Steps
from simulator.explore.worlds import WORLDS, SmallWorld

SHORT = [world for world in WORLDS if not world.long]


@pytest.mark.parametrize("world", SHORT, ids=lambda world: world.name)
@pytest.mark.timeout(400)
def test_small_oneexhausted_breaks_no_invariant(world: SmallWorld) -> None:
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


def test_image_of_a_world_can_do_what_the_world_can() -> None:
    """What lets one of two worlds stand for both: steps and exchanging the agents commute."""
    world = next(w for w in SHORT if w.name == "switch, takeover")
    with without_texts():
        space, start = world.start()
        steps, settled, cores, mirror = Steps(space), Settling(space), Cores(space), Mirror(space)
        seen, queue = {cores.place(start)}, deque([start])
        while queue and len(seen) < 600:
            one = queue.popleft()
            image = mirror.world(one)
            assert mirror.world(image) == one
            after = {cores.place(settled(w)) for _, w in steps(one)}
            assert after == {cores.place(settled(w)) for _, w in steps(image)}
            fresh = [cores.world(*place) for place in after if place not in seen]
            seen |= after
            queue.extend(fresh)
