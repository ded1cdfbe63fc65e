from __future__ import annotations

import pytest

from simulator.explore import search
from simulator.explore.canaries import CANARIES, Canary
from simulator.explore.quiet import without_texts
from simulator.explore.search import Count, Ended, Found, explore
from simulator.explore.settling import Settling
from simulator.explore.steps import Steps
from simulator.explore.transcript import transcript
from simulator.explore.world import Space
from simulator.explore.worlds import WORLDS

QUICK = [
    one for one in CANARIES if one.name not in ("no base check", "promise forgotten at restart")
]
PREPARE = "prepare epoch 2, green, term 1000; head: decided 1, committed 1 (blue)"
SWITCH = next(world for world in WORLDS if world.name == "switch, takeover")


def caught(canary: Canary) -> tuple[Space, Found]:
    with without_texts() as patches:
        space, start = canary.world.start()
        canary.breaks(patches)
        return space, explore(space, start)


def named(name: str) -> Canary:
    return next(one for one in CANARIES if one.name == name)


@pytest.mark.parametrize("canary", QUICK, ids=lambda canary: canary.name)
def test_history_is_as_short_as_the_plain_search_finds_it(canary: Canary) -> None:
    """The search that lets worlds share their networks, against the one that does not."""
    with without_texts() as patches:
        space, start = canary.world.start()
        canary.breaks(patches)
        shared = explore(space, start)
        plain = search._Exact(space, start, canary.number).history(100_000)
    assert shared.depth == len(shared.history) == len(plain)


def test_history_is_one_clusters_from_the_first_world_on() -> None:
    canary = named("late prepare of an old term")
    with without_texts() as patches:
        space, start = canary.world.start()
        canary.breaks(patches)
        found = explore(space, start)
        settled, world = Settling(space), start
        for before, step, after in found.history:
            assert before == world
            assert (step, after) in list(Steps(space)(world))
            world = settled(after)


def test_violation_that_no_single_cluster_shows_is_told_as_it_was_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search._Search, "relived", lambda _: None)
    monkeypatch.setattr(search._Exact, "history", lambda *_: ())
    with without_texts() as patches:
        canary = named("vote before fsync")
        space, start = canary.world.start()
        canary.breaks(patches)
        found = explore(space, start)
    assert not found.is_history
    assert found.depth == len(found.history) == 7
    assert found.violation is not None


def test_violation_that_the_shared_way_does_not_show_is_looked_for_plainly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search._Search, "relived", lambda _: None)
    _, found = caught(named("vote before fsync"))
    assert found.is_history
    assert found.depth == len(found.history) == 7


def test_search_stops_at_a_limit_with_its_frontier() -> None:
    with without_texts():
        found = explore(*SWITCH.start(), most=100)
    assert found.ended is Ended.WORLDS
    assert found.count.worlds > 100
    assert 0 < found.count.waiting < found.count.worlds
    assert found.depth > 0


def test_search_stops_when_it_is_told_to() -> None:
    seen = list[Count]()

    def watch(count: Count) -> bool:
        seen.append(count)
        return len(seen) < 3

    with without_texts():
        found = explore(*SWITCH.start(), watch=watch, every=10)
    assert found.ended is Ended.STOPPED
    assert [count.worlds for count in seen] == sorted(count.worlds for count in seen)
    assert found.count == seen[-1]


def test_transcript_says_who_does_what_and_what_comes_of_it() -> None:
    space, found = caught(named("promise forgotten at restart"))
    lines = transcript(space, found.history)
    assert lines[:3] == (
        "  1  an operator asks r0: switch checkout to green",
        "       r0 asks the store for accept",
        f"       a0, a1 are told {PREPARE}",
    )
    assert "  6  a0 dies, and starts again" in lines
    assert "       a0 journals promised 2000, prepared 2 green (term 2000)" in lines
    assert lines[-1] == "       a0 says yes to epoch 2, green, term 1000"


@pytest.mark.parametrize("name", [world.name for world in WORLDS])
def test_every_step_of_a_world_has_words(name: str) -> None:
    world = next(one for one in WORLDS if one.name == name)
    with without_texts():
        space, start = world.start()
        settled, steps = Settling(space), Steps(space)
        one = start
        for number in range(25):
            taken = [(one, step, after) for step, after in steps(one)]
            if not taken:
                break
            lines = transcript(space, taken)
            assert [line for line in lines if line.startswith(f"{len(taken):>3}  ")]
            assert not any("<" in line or "StepKind" in line for line in lines)
            one = settled(taken[number % len(taken)][2])
