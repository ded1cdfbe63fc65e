from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from simulator.results import RunResult
from simulator.scenario_file import load_scenario
from simulator.shipped import NoSuchScenarioError, find, shipped
from simulator.simulation import run


@pytest.fixture(scope="module")
def tokyo() -> RunResult:
    return run(load_scenario(find("tokyo-in-doubt")))


@pytest.mark.parametrize("name", shipped())
def test_shipped_scenario_is_named_like_its_file_and_described(name: str) -> None:
    scenario = load_scenario(shipped()[name])
    assert scenario.name == name
    assert scenario.description


def test_name_goes_before_a_file_and_a_file_before_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.touch()
    assert find(str(path)) == path
    assert find("tokyo-in-doubt").suffix == ".toml"
    with pytest.raises(NoSuchScenarioError, match="did you mean tokyo-in-doubt"):
        find("tokyo-in-doubts")


def test_fault_at_a_decision_waits_for_a_switch_that_was_accepted(tokyo: RunResult) -> None:
    """A new leader uses a number up first, which is nobody's switch."""
    assert tokyo.switches[0].epoch == 3
    (fault,) = tokyo.story.faults
    (switch,) = tokyo.switches
    assert switch.accepted_ns < fault.since_ns < (switch.decided_ns or 0)


def test_partition_is_shown_over_those_who_are_cut_off(tokyo: RunResult) -> None:
    (fault,) = tokyo.story.faults
    assert fault.nodes == ("agent ap-northeast-1/1", "agent ap-northeast-1/2")


def test_agents_vote_before_the_decision_and_flip_when_it_is_due(tokyo: RunResult) -> None:
    (switch,) = tokyo.switches
    assert switch.decided_ns is not None
    assert switch.due_ns is not None
    assert switch.decided_ns < switch.due_ns
    for agent in switch.agents:
        assert agent.vote == "yes"
        assert agent.voted_ns is not None
        assert agent.voted_ns < switch.decided_ns
        if agent.agent not in switch.laggards:
            assert abs((agent.flipped_ns or 0) - switch.due_ns) < 10_000_000


def test_wait_for_a_far_store_has_to_follow_its_distance() -> None:
    scenario = load_scenario(find("store-across-the-world"))
    hasty = evolve(scenario, timing=evolve(scenario.timing, store_write_s=0.25))
    (patient_switch,), (hasty_switch,) = run(scenario).switches, run(hasty).switches
    assert patient_switch.elapsed_ns is not None
    assert hasty_switch.elapsed_ns is not None
    assert hasty_switch.elapsed_ns > 4 * patient_switch.elapsed_ns


@pytest.mark.parametrize("seed", range(5))
def test_late_rollback_meets_agents_on_both_sides_of_their_flip(seed: int) -> None:
    scenario = load_scenario(find("rollback-one-tick-before-the-activation"))
    switch, rollback = run(scenario, seed=seed).switches
    voted = {agent.agent: agent.voted_ns or 0 for agent in rollback.agents}
    flipped = {agent.agent: agent.flipped_ns for agent in switch.agents}
    never = [agent for agent, at_ns in flipped.items() if at_ns is None]
    before = [agent for agent, at_ns in flipped.items() if at_ns and at_ns < voted[agent]]
    assert never
    assert before
    assert len(never) + len(before) == len(flipped)
