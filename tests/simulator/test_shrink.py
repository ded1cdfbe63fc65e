"""What is left of a failing plan when all that can be spared is taken out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from simulator.fault_kinds import FaultKind
from simulator.results import Verdict
from simulator.scenario import Expect
from simulator.scenario_file import load_scenario, parse_scenario, to_toml
from simulator.shipped import find
from simulator.shrink import failures, fewest, shrink
from simulator.simulation import run
from turnout.protocol import draining, switching

PAUSED = """
name = "paused"
[topology]
matrix = "aws-19"
coordinators = ["us-east-1"]
etcd = ["us-east-1"]
[[fault]]
at_s = 100.0
kind = "pause"
node = "us-east-1"
for_s = 1.0
"""


@given(st.integers(0, 40), st.sets(st.integers(0, 39), max_size=5))
def test_fewest_are_those_that_all_must_be_there(size: int, wanted: set[int]) -> None:
    needed = {number for number in wanted if number < size}

    def fails(kept: Sequence[int]) -> bool:
        return needed <= set(kept)

    assert set(fewest(list(range(size)), fails)) == needed


def test_fewest_keeps_the_order() -> None:
    assert fewest([5, 3, 9, 1], lambda kept: {9, 5} <= set(kept)) == [5, 9]


def test_nothing_is_left_of_a_plan_that_has_no_part_in_it() -> None:
    assert list(fewest([1, 2, 3], lambda _kept: True)) == []


def test_what_is_left_of_a_failing_scenario_fails_likewise_until_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = load_scenario(find("replaced-disk-still-drains"))
    include = load_scenario(find("late-agent-still-drains")).operations[-1]
    clock_step = load_scenario(find("wall-clocks-of-two-leaders")).faults[0]
    plan = evolve(
        story,
        operation=(*story.operations, include),
        fault=(clock_step, *story.faults),
        expect=Expect(),
    )
    path = tmp_path / "small.toml"
    with monkeypatch.context() as broken:
        broken.setattr(draining, "unused_colours", lambda _table: ())
        found = shrink(plan, progress=lambda _said: None)
        assert found is not None
        path.write_text(to_toml(found.scenario), encoding="utf-8")
        small = load_scenario(path)
        assert run(small).verdict is Verdict.VALID
    assert run(small).verdict is Verdict.INVALID
    assert small.expect == Expect(verdict="invalid", violated=("S9",))
    assert small.operations == story.operations
    assert [fault.kind for fault in small.faults] == [FaultKind.PARTITION, FaultKind.DISK_REPLACE]


def test_scenario_that_does_not_fail_is_not_shrunk() -> None:
    assert shrink(load_scenario(find("undisturbed-switch")), progress=print) is None


def test_what_an_expectation_alone_objects_to_is_made_small_and_still_objected_to() -> None:
    """It breaks no invariant that [expect] violated could name."""
    story = load_scenario(find("tokyo-in-doubt"))
    pause = parse_scenario(PAUSED.encode(), source="x").faults[0]
    plan = evolve(story, fault=(pause, *story.faults), expect=Expect(outcome="aborted"))
    found = shrink(plan, progress=lambda _said: None)
    assert found is not None
    assert found.numbers == ("expect.outcome",)
    assert found.scenario.faults == story.faults, (
        "without its fault it is live, which is another failure"
    )
    assert found.scenario.expect == plan.expect
    assert parse_scenario(to_toml(found.scenario).encode(), source="x") == found.scenario
    (failed,) = failures(found.scenario, run(found.scenario))
    assert failed.violations == ("partial, not aborted",)


def test_scenario_that_breaks_what_it_should_does_not_fail() -> None:
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(draining, "unused_colours", lambda _table: ())
        story = load_scenario(find("replaced-disk-still-drains"))
        plan = evolve(story, expect=Expect(verdict="invalid", violated=("S9",)))
        assert run(plan, keep_story=False).violated == ("S9",)
        assert shrink(plan, progress=lambda _said: None) is None


def test_run_that_breaks_down_is_made_small_and_expects_nothing_that_is_no_invariant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaks_down(*_: object, **__: object) -> None:
        raise AssertionError("the machine met a state it was not made for")

    monkeypatch.setattr(switching, "accepted", breaks_down)
    found = shrink(load_scenario(find("undisturbed-switch")), progress=lambda _said: None)
    assert found is not None
    assert found.numbers == ("run",)
    assert parse_scenario(to_toml(found.scenario).encode(), source="x") == found.scenario
