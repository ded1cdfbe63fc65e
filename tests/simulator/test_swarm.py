"""A seed's scenario: always the same, always a good one, and as varied as the swarm says."""

from __future__ import annotations

import pytest

from simulator import matrices
from simulator.fault_kinds import FaultKind
from simulator.scenario_checks import scenario_faults
from simulator.scenario_file import parse_scenario, to_toml
from simulator.swarm import drawn

SEEDS = range(300)


def test_seed_always_draws_the_same_scenario() -> None:
    assert drawn(11) == drawn(11)
    assert drawn(11) != drawn(12)


@pytest.mark.parametrize("seed", range(25))
def test_drawn_scenario_can_be_written_down_and_read_again(seed: int) -> None:
    scenario = drawn(seed)
    assert scenario_faults(scenario, matrices.load(scenario.topology.matrix).regions, ()) == []
    assert parse_scenario(to_toml(scenario).encode(), source="written") == scenario


def test_swarm_has_every_kind_of_fault_and_fleets_of_every_size() -> None:
    scenarios = [drawn(seed) for seed in SEEDS]
    kinds = {fault.kind for scenario in scenarios for fault in scenario.faults}
    assert kinds == set(FaultKind)
    sizes = {
        len(scenario.topology.regions or ()) * scenario.topology.agents_per_region
        for scenario in scenarios
    }
    assert min(sizes) == 2
    assert max(sizes) >= 160
    assert {len(scenario.topology.etcd) for scenario in scenarios} == {1, 2, 3, 4, 5}
    assert {len(scenario.topology.coordinators) for scenario in scenarios} == {1, 2, 3}
