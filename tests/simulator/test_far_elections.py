"""Where etcd's members are far apart: a dead leader's lease is taken away, a live one's never."""

from __future__ import annotations

import pytest
from attrs import evolve

from simulator.patches import Patches
from simulator.scenario_file import load_scenario
from simulator.shipped import find
from simulator.simulation import run
from turnout.protocol import election
from turnout.protocol.clock import Instant, MonotonicNs
from turnout.protocol.election import Doubt, Election

SEEDS = range(12)
FAR = ((3.0, 5.0), (2.0, 4.0))
"""etcd's election timeout and the lease, in seconds, as ``turnout sim plan`` takes them."""


def takeovers(name: str, seed: int, election_s: float, lease_ttl_s: float) -> int:
    """How often a coordinator began to lead."""
    scenario = load_scenario(find(name))
    timing = evolve(scenario.timing, election_s=election_s, lease_ttl_s=lease_ttl_s)
    result = run(evolve(scenario, timing=timing), seed=seed, keep_story=True)
    assert result.never_struck == ()
    assert result.story is not None
    return sum("leading in term" in note.text for note in result.story.notes)


@pytest.mark.parametrize(("election_s", "lease_ttl_s"), FAR)
def test_leader_that_lives_stays_when_etcds_leader_moves(
    election_s: float, lease_ttl_s: float
) -> None:
    led = [takeovers("etcd-leader-moves", seed, election_s, lease_ttl_s) for seed in SEEDS]
    assert led == [1] * len(led)


def doubts_at_once(patch: Patches) -> None:
    def doubt(_state: Election, _now: Instant) -> Doubt:
        return Doubt(MonotonicNs(-(10**12)))

    patch.setattr(election, "_doubt", doubt)


@pytest.mark.parametrize(("election_s", "lease_ttl_s"), FAR)
def test_leader_that_lives_is_deposed_by_who_does_not_wait_for_it(
    election_s: float, lease_ttl_s: float
) -> None:
    with Patches() as patch:
        doubts_at_once(patch)
        led = [takeovers("etcd-leader-moves", seed, election_s, lease_ttl_s) for seed in SEEDS]
    assert max(led) > 1
