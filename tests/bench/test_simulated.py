"""What the benches of the simulator make of their runs, and that they can run; figures are no test's."""

from __future__ import annotations

import attrs
import pytest

from bench import elapsed, failover, simulation
from bench.simulated import MAPS, on_all_cores, quantile, well_placed
from simulator.moments import Point

RUN = elapsed.Run(seed=1, outcome="live", elapsed=1.2, known=1.4)
QUIET, _, SCHEDULED = elapsed.KINDS
CELL = failover.Cell(map="aws-19", activation="immediate", failure="leader", point=Point.VOTE)


def _elapsed_held(kind: elapsed.Kind, *runs: elapsed.Run) -> bool:
    return all(is_held for _, is_held in elapsed.verdicts(kind, runs))


def _struck(elapsed_s: float | None) -> failover.Run:
    return failover.Run(
        cell=CELL, seed=1, elapsed_s=elapsed_s, outcomes=("live",), struck=1, violated=()
    )


def _failover_held(*runs: failover.Run) -> bool:
    return all(is_held for _, is_held in failover.verdicts(runs))


def test_quantile_is_the_nearest_rank() -> None:
    values = [float(n) for n in range(1, 2001)]
    assert [quantile(values, q) for q in (500, 990, 999, 1000)] == [1000, 1980, 1998, 2000]


def test_switches_near_the_bound_are_as_promised() -> None:
    assert _elapsed_held(QUIET, RUN, RUN, attrs.evolve(RUN, elapsed=1.5))


@pytest.mark.parametrize("trouble", [
    {"elapsed": 1.7}, {"known": 1.6}, {"outcome": "aborted"}, {"violated": ("S8",)},
])  # fmt: skip
def test_switch_far_from_the_bound_breaks_the_promise(trouble: dict[str, object]) -> None:
    assert not _elapsed_held(QUIET, attrs.evolve(RUN, **trouble))  # type: ignore[arg-type]


def test_scheduled_is_judged_by_skew_alone() -> None:
    assert _elapsed_held(SCHEDULED, attrs.evolve(RUN, elapsed=5.0, skew=0.9))
    assert not _elapsed_held(SCHEDULED, attrs.evolve(RUN, skew=1.1))


def test_scheduled_that_never_was_shows_nothing_and_is_named() -> None:
    assert not _elapsed_held(SCHEDULED, RUN)
    assert elapsed.unscheduled(SCHEDULED, [RUN]) == [1]


def test_switch_that_is_never_over_breaks_the_promise() -> None:
    assert _failover_held(_struck(29.9))
    assert not _failover_held(_struck(30.1))
    assert not _failover_held(_struck(None))


def test_every_failure_strikes_at_every_point_on_both_maps_and_both_ways() -> None:
    cells = list(failover.cells(MAPS))
    assert len(cells) == len(set(cells)) == 2 * 2 * (4 * len(Point) + 1)


def test_switch_without_faults_is_measured() -> None:
    run = elapsed.measure(elapsed.scenario("aws-19", QUIET), 1)
    assert (run.outcome, run.violated) == ("live", ())
    assert run.elapsed is not None


def test_leader_that_dies_at_a_vote_is_measured() -> None:
    run = failover.measure((CELL, 1))
    assert (run.struck, run.violated) == (1, ())
    assert run.elapsed_s is not None
    assert run.elapsed_s > 1


def test_speed_of_a_short_run_is_measured() -> None:
    speed = simulation.measure(simulation.fleet("steady", simulation.STEADY_S, 45))
    assert (speed.agents, speed.coordinators, speed.etcd, speed.switches) == (24, 3, 3, 1)
    assert speed.verdict == "valid"


def test_runs_on_all_cores_give_every_result() -> None:
    assert sorted(on_all_cores(len, ["", "a", "ab"], workers=1)) == [0, 1, 2]


def test_maps_have_their_coordinators_near_their_etcd() -> None:
    for name in MAPS:
        topology = well_placed(name)
        assert set(topology.coordinators) == set(topology.etcd)
