from __future__ import annotations

import attrs

from turnout.protocol.clock import MS, SECOND
from turnout.protocol.limits import Timing
from turnout.protocol.timing_settings import TimingSettings


def test_defaults_are_those_of_the_machines() -> None:
    assert TimingSettings().timing() == Timing()


def test_times_are_seconds_and_counts_are_counts() -> None:
    timing = TimingSettings(store_write_s=0.8, handshakes_per_s=50, lease_ttl_s=6).timing()
    assert timing.store_write_ns == 800 * MS
    assert timing.lease_ttl_ns == 6 * SECOND
    assert timing.handshakes_per_s == 50


def test_every_time_of_the_machines_can_be_set() -> None:
    names = {field.name for field in attrs.fields(Timing)}
    assert len(attrs.fields(TimingSettings)) == len(names)
