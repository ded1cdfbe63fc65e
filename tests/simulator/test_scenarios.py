"""Every scenario that comes along comes to what it expects, and between them they tell all that can be told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from simulator.results import RunResult, Verdict
from simulator.scenario_file import load_scenario
from simulator.simulation import Simulation, run
from tests.architecture import ROOT
from turnout.protocol import keys

SHIPPED = sorted((ROOT / "simulator" / "scenarios").glob("*.toml"))
LONG = {"control-plane-gone-an-hour", "tables-that-nothing-needs", "ten-thousand-agents-reconnect"}
"""They take seconds, and are run with their own seed only."""

SPECIFICATION = (ROOT / "turnout" / "protocol" / "README.md").read_text(encoding="utf-8")
STORIES = set(re.findall(r"\b[HP]\d+\b", SPECIFICATION.split("## 16.")[1]))
UNTOLD = {
    "H24": "is of an embedded store, and there is none",
    "P6": "needs an agent that forges epochs, and here agents do not lie",
}
ROWS = {
    ("region, both ways", "before its vote"): {
        "region-cut-before-vote",
        "region-excluded-beforehand",
    },
    ("region", "after its yes, before it hears"): {"tokyo-in-doubt"},
    ("region", "at heal"): {"region-heals-to-newest", "region-heals-diverged"},
    ("excluded region", "while excluded"): {"excluded-region"},
    ("leader from etcd", "any"): {"leader-cut-from-etcd"},
    ("etcd without quorum", "any"): {
        "etcd-without-quorum",
        "etcd-without-quorum-before-decision",
    },
    ("all control plane", "≥ 1 h, agent and proxy restarts included"): {
        "control-plane-gone-an-hour"
    },
    ("agent → coordinator only", "after commit"): {"acknowledgement-lost"},
    ("leader from all agents, but not from etcd", "any"): {"leader-without-agents"},
}
"""DESIGN.md's table "Behaviour under partition": which scenarios tell each row."""

A_DAY = "tables-that-nothing-needs"

others = [path for path in SHIPPED if path.stem not in LONG]


def named(paths: list[Path]) -> list[ParameterSet]:
    return [pytest.param(path, id=path.stem) for path in paths]


def faults(result: RunResult) -> str:
    found = [f"{f.number}: {line}" for f in result.findings for line in f.violations]
    return "\n".join([f"{result.name} with seed {result.seed}:", *found])


def comes_as_expected(path: Path, seed: int | None = None) -> None:
    result = run(load_scenario(path), seed=seed, keep_story=False)
    assert result.verdict is Verdict.VALID, faults(result)
    assert result.never_struck == ()


@pytest.mark.parametrize("path", named([path for path in SHIPPED if path.stem != A_DAY]))
def test_scenario_comes_to_what_it_expects(path: Path) -> None:
    comes_as_expected(path)


@pytest.mark.parametrize("path", named(others))
@pytest.mark.parametrize("seed", [2001, 2002])
def test_scenario_with_another_seed_comes_to_what_it_expects(path: Path, seed: int) -> None:
    comes_as_expected(path, seed)


def test_tables_that_nothing_needs_are_deleted_after_a_day_and_never_missed() -> None:
    (path,) = (path for path in SHIPPED if path.stem == A_DAY)
    scenario = load_scenario(path)
    simulation = Simulation(scenario, keep_story=False)
    simulation.go(scenario.duration_ns)
    result = simulation.result(wall_ns=0)
    assert result.verdict is Verdict.VALID, faults(result)
    kept = [key for key in simulation.cluster.items() if key.startswith(keys.TABLES)]
    assert len(result.switches) == 5
    assert len(kept) == 2


@pytest.mark.parametrize("path", named(SHIPPED))
def test_scenario_is_named_as_its_file_and_says_what_it_is(path: Path) -> None:
    scenario = load_scenario(path)
    assert scenario.name == path.stem
    assert scenario.description.endswith((".", ")"))


def told() -> str:
    return "\n".join(load_scenario(path).description for path in SHIPPED)


def test_each_row_of_the_partition_table_is_told() -> None:
    design = (ROOT / "docs" / "DESIGN.md").read_text(encoding="utf-8")
    table = design.split("## 6. Behaviour under partition")[1].split("\n\n")[1]
    cells = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert [(cut_off, when) for cut_off, when, *_ in cells] == list(ROWS)


def test_scenarios_of_the_partition_table_say_so() -> None:
    said = {
        path.stem
        for path in SHIPPED
        if load_scenario(path).description.startswith("Of the partition table")
    }
    assert said == set().union(*ROWS.values())


def test_each_story_behind_a_rule_is_told_or_cannot_be() -> None:
    assert {"H1", "H26", "P1", "P12"} <= STORIES
    assert set(re.findall(r"\b[HP]\d+\b", told())) == STORIES - set(UNTOLD)
