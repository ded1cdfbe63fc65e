"""A sweep: each seed once, in order, whoever ran it; and what it comes to as a whole."""

from __future__ import annotations

import pytest
from attrs import evolve

from simulator.judging.marks import MARKS
from simulator.results import SeedResult, Verdict
from simulator.scenario import Scenario
from simulator.scenario_file import parse_scenario
from simulator.sweep import run_seed, sweep
from turnout.protocol import switching

BRIEF = b"""
name = "brief"
duration_s = 12
[topology]
matrix = "one-continent"
coordinators = ["northeurope"]
etcd = ["northeurope"]
regions = ["northeurope", "westeurope"]
[[operation]]
at_s = 6.0
do = "switch"
service = "checkout"
to = "green"
activation = "immediate"
"""


@pytest.fixture
def brief() -> Scenario:
    return parse_scenario(BRIEF, source="brief.toml")


def test_sweep_runs_each_seed_once_and_tells_of_each(brief: Scenario) -> None:
    told: list[SeedResult] = []
    result = sweep(range(3, 8), workers=2, scenario=brief, progress=told.append)
    assert [run.seed for run in result.runs] == [3, 4, 5, 6, 7]
    assert sorted(run.seed for run in told) == [3, 4, 5, 6, 7]
    assert result.verdict is Verdict.VALID
    assert result.name == "brief"
    assert all(run.switches[-1].outcome == "live" for run in result.runs)


def test_sweep_of_the_swarm_must_reach_every_mark() -> None:
    result = sweep(range(1), workers=1)
    assert {mark.name for mark in result.marks} == set(MARKS)
    assert "commit-immediate" not in result.missed
    assert "halted" in result.missed
    assert result.is_too_weak


def test_sweep_of_a_scenario_must_reach_what_that_expects(brief: Scenario) -> None:
    assert not sweep(range(1), workers=1, scenario=brief).is_too_weak
    expect = evolve(brief.expect, reached=("commit-immediate", "abort"))
    result = sweep(range(1), workers=1, scenario=evolve(brief, expect=expect))
    assert result.missed == ("abort",)
    assert result.is_too_weak


def test_result_of_a_seed_is_the_same_in_a_sweep_and_alone(brief: Scenario) -> None:
    (swept,) = sweep(range(5, 6), workers=2, scenario=brief).runs
    alone, _ = run_seed(5, brief)
    assert evolve(swept, wall_ns=0) == evolve(alone, wall_ns=0)


def test_run_that_breaks_down_is_unknown_and_says_why(
    brief: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks_down(*_: object, **__: object) -> None:
        raise AssertionError("the machine met a state it was not made for")

    monkeypatch.setattr(switching, "accepted", breaks_down)
    result, _ = run_seed(1, brief)
    assert result.verdict is Verdict.UNKNOWN
    assert result.violated == ("run",)
    assert "a state it was not made for (at test_sweep.py:" in result.first
