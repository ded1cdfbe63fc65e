from __future__ import annotations

from collections import deque

import pytest

from simulator.explore.canaries import CANARIES, Canary
from simulator.explore.cores import Cores
from simulator.explore.mirror import mirrors
from simulator.explore.quiet import without_texts
from simulator.explore.search import Ended, explore
from simulator.explore.settling import Settling
from simulator.explore.steps import StepKind, Steps
from simulator.explore.world import Budget
from simulator.explore.worlds import WORLDS, SmallWorld, requests, takeovers

SHORT = [world for world in WORLDS if not world.long and not world.endless]
# Who is elected, dies or is excluded, and how many there are: all that could tell agents apart.
FOLDED = [
    world
    for world in WORLDS
    if world.name
    in (
        "switch, takeover",
        "three agents: switch, takeover",
        "switch and rollback, standing changes at will, takeover",
        "three agents: three epochs, two takeovers, a death, standing changes at will",
    )
]


@pytest.mark.parametrize("world", SHORT, ids=lambda world: world.name)
@pytest.mark.timeout(400)
def test_small_world_exhausted_breaks_no_invariant(world: SmallWorld) -> None:
    with without_texts():
        space, start = world.start()
        found = explore(space, start)
    assert found.violation is None
    assert found.ended is Ended.EXHAUSTED


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.name)
def test_broken_machine_is_caught_by_its_number(canary: Canary) -> None:
    with without_texts() as patches:
        space, start = canary.world.start()
        canary.breaks(patches)
        found = explore(space, start, most=300_000)
    assert found.violation is not None
    assert found.violation.number == canary.number, found.violation
    assert found.is_history


@pytest.mark.parametrize(
    ("name", "world"),
    [
        ("excluded agent counted", "switch, standing changes at will"),
        ("vote before fsync", "three agents: switch"),
        ("late prepare of an old term", "switch, two takeovers"),
        ("epoch >=", "three epochs"),
    ],
)
def test_larger_world_shows_a_broken_machine_too(name: str, world: str) -> None:
    canary = next(one for one in CANARIES if one.name == name)
    larger = next(one for one in WORLDS if one.name == world)
    with without_texts() as patches:
        space, start = larger.start()
        canary.breaks(patches)
        found = explore(space, start, most=100_000)
    assert found.violation is not None
    assert found.violation.number == canary.number, found.violation


@pytest.mark.parametrize("world", FOLDED, ids=lambda world: world.name)
def test_image_of_a_world_can_do_what_the_world_can(world: SmallWorld) -> None:
    """What lets one of several worlds stand for all: steps and exchanging the agents commute."""
    with without_texts():
        space, start = world.start()
        steps, settled, cores = Steps(space), Settling(space), Cores(space)
        seen, queue = {cores.place(start)}, deque([start])
        while queue and len(seen) < 250:
            one = queue.popleft()
            after = {cores.place(settled(w)) for _, w in steps(one)}
            for mirror in mirrors(space):
                image = mirror.world(one)
                assert after == {cores.place(settled(w)) for _, w in steps(image)}
            queue.extend(cores.world(*place) for place in after if place not in seen)
            seen |= after


def test_exchanging_two_agents_twice_gives_the_world_itself() -> None:
    with without_texts():
        space, start = SHORT[0].start()
        (mirror,) = mirrors(space)
        dead = next(w for step, w in Steps(space)(start) if step.kind is StepKind.AGENT_DIES)
        assert mirror.world(dead) != dead
        assert mirror.world(mirror.world(dead)) == dead


@pytest.mark.parametrize(("agents", "images"), [(1, 0), (2, 1), (3, 5)])
def test_agents_are_exchanged_in_every_way(agents: int, images: int) -> None:
    world = SmallWorld(name="", agents=agents, budget=Budget(requests=requests("green")))
    with without_texts():
        space, _ = world.start()
    assert len(mirrors(space)) == images


def test_takeovers_go_round_the_replicas() -> None:
    assert takeovers(4, replicas=3) == (1, 2, 0, 1)
    assert takeovers(2, replicas=2) == (1, 0)


def test_bounds_name_all_that_a_world_may_do() -> None:
    budget = Budget(
        requests=requests("green", "rollback"), elections=(1,), lost_replies=2, standing_changes=1
    )
    world = SmallWorld(name="", replicas=2, agents=1, prompt_proxies=False, budget=budget)
    assert world.bounds == (
        "2 replicas, 1 agent, 2 requests, 1 takeover, 2 lost replies, 1 standing change,"
        " slow proxies"
    )


def test_world_names_are_different() -> None:
    assert len({world.name for world in WORLDS}) == len(WORLDS)
