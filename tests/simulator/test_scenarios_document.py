"""``simulator/SCENARIOS.md`` documents every key, and its examples are a scenario."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import attrs
import pytest

from simulator.fault_kinds import KINDS, FaultKind
from simulator.moments import REACHED_BY, Moment, Point
from simulator.operations import DOINGS, Do
from simulator.population import MOVING, Role
from simulator.scenario import Scenario
from simulator.scenario_file import parse_scenario, to_toml
from tests.architecture import ROOT

DOCUMENT = (ROOT / "simulator" / "SCENARIOS.md").read_text(encoding="utf-8")
EXAMPLE = "\n".join(re.findall(r"^```toml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL))
PLAIN: dict[str, Any] = tomllib.loads(EXAMPLE)
SECTIONS = {
    field.name: field.type
    for field in attrs.fields(attrs.resolve_types(Scenario))
    if attrs.has(field.type or object)
}


def keys(cls: Any) -> set[str]:
    return {field.alias for field in attrs.fields(cls)}


def test_examples_together_are_a_scenario() -> None:
    scenario = parse_scenario(EXAMPLE.encode(), source="SCENARIOS.md")
    assert parse_scenario(to_toml(scenario).encode(), source="written") == scenario


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_a_section_has_an_example(section: str) -> None:
    assert set(PLAIN[section]) == keys(SECTIONS[section])


def test_every_section_has_an_example() -> None:
    assert set(PLAIN) == keys(Scenario)


def test_every_key_of_a_moment_has_an_example() -> None:
    said = {key for one in (*PLAIN["operation"], *PLAIN["fault"]) for key in one}
    assert keys(Moment) <= said


@pytest.mark.parametrize("do", Do)
def test_every_operation_has_an_example_of_each_of_its_keys(do: Do) -> None:
    said = {key for one in PLAIN["operation"] if one["do"] == do for key in one}
    common = keys(Moment) | {"repeat", "through"}
    assert said - common == keys(DOINGS[do].cls) - common


@pytest.mark.parametrize("kind", FaultKind)
def test_every_fault_has_an_example_of_each_of_its_keys(kind: FaultKind) -> None:
    said = {key for one in PLAIN["fault"] if one["kind"] == kind for key in one}
    assert said - keys(Moment) == keys(KINDS[kind].cls) - keys(Moment)


def test_reach_points_are_described_in_their_order() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| an? ([a-z ]+) \|", DOCUMENT, re.MULTILINE)
    roles = {"member of etcd": Role.ETCD, "agent": Role.AGENT, "coordinator": Role.COORDINATOR}
    assert [(point, roles[who]) for point, who in rows] == [(p, REACHED_BY[p]) for p in Point]


def test_moving_roles_are_named() -> None:
    assert all(f"`{selector}`" in DOCUMENT for selector in MOVING)
