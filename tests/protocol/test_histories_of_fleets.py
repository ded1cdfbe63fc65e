"""Both machines while the fleet changes too: regions excluded, disks lost, proxies that refuse."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.fabric_weather import Weather
from tests.protocol.histories import (
    FAULTS,
    FLEET,
    OPERATORS,
    ROUGH,
    STORM,
    Step,
    ends_well,
    scripts,
    tell,
)


@pytest.mark.parametrize("part", range(4))  # so that none is long, whatever the machine
@pytest.mark.parametrize("weather", [ROUGH, STORM], ids=["rough", "storm"])
@settings(max_examples=125)
@given(script=scripts(OPERATORS, FLEET, FAULTS), seed=st.integers(0, 2**32))
def test_fleet_in_any_change_keeps_s1_to_s7_and_ends_well(
    weather: Weather, part: int, script: list[Step], seed: int
) -> None:
    ends_well(tell(script, seed, weather))
