"""Etcd goes back to a backup in the middle of any history, and an operator founds the domain anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.fabric_disasters import rebase, restore
from tests.protocol.fabric_weather import Weather
from tests.protocol.histories import (
    BREEZE,
    FAULTS,
    OPERATORS,
    ROUGH,
    Step,
    examples,
    go_through,
    scripts,
    tell,
)
from tests.protocol.history_ends import ends_well
from turnout.protocol.invariants import judge_course

short = scripts(OPERATORS, FAULTS, most=8)


@pytest.mark.parametrize("weather", [BREEZE, ROUGH], ids=["breeze", "rough"])
@examples(80)
@given(before=short, lost=short, after=short, seed=st.integers(0, 2**32))
def test_store_that_goes_back_decides_nothing_until_it_is_founded_anew(
    weather: Weather, before: list[Step], lost: list[Step], after: list[Step], seed: int
) -> None:
    fabric = tell(before, seed, weather)
    backup = fabric.store
    go_through(fabric, lost, first=100)
    restore(fabric, backup)
    go_through(fabric, after, first=200)
    rebase(fabric)
    assert judge_course(ends_well(fabric)) == ()
