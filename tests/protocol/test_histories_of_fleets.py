"""Both machines while the fleet changes too: regions excluded, disks lost, proxies that refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.fabric_weather import CALM, Weather
from tests.protocol.histories import (
    FAULTS,
    FLEET,
    OPERATORS,
    ROUGH,
    STORM,
    Step,
    examples,
    scripts,
    tell,
)
from tests.protocol.history_ends import ends_well
from turnout.protocol.invariants import judge_course


@pytest.mark.parametrize("part", range(3))  # so that none is long, whatever the machine
@pytest.mark.parametrize("weather", [CALM, ROUGH, STORM], ids=["calm", "rough", "storm"])
@examples(100)
@given(script=scripts(OPERATORS, FLEET, FAULTS), seed=st.integers(0, 2**32))
def test_fleet_in_any_change_keeps_every_invariant_and_ends_well(
    weather: Weather, part: int, script: list[Step], seed: int
) -> None:
    course = ends_well(tell(script, seed, weather))
    assert judge_course(course) == ()
