"""Both machines in any history of crashes, partitions, and bad luck with wire and store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.fabric_weather import Weather
from tests.protocol.histories import (
    BREEZE,
    FAULTS,
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
@pytest.mark.parametrize("weather", [BREEZE, ROUGH, STORM], ids=["breeze", "rough", "storm"])
@examples(100)
@given(script=scripts(OPERATORS, FAULTS), seed=st.integers(0, 2**32))
def test_cluster_in_any_faults_keeps_every_invariant_and_ends_well(
    weather: Weather, part: int, script: list[Step], seed: int
) -> None:
    course = ends_well(tell(script, seed, weather))
    assert judge_course(course) == ()
