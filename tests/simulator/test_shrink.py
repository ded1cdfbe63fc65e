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
from simulator.scenario_file import load_scenario, to_toml
from simulator.shipped import find
from simulator.shrink import fewest, shrink
from simulator.simulation import run
from turnout.protocol import draining


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
