"""The protocol's times as configurations and scenarios give them: in seconds."""

from __future__ import annotations

from attrs import fields, frozen

from turnout.protocol.clock import SECOND
from turnout.protocol.limits import Timing

COUNTS = frozenset({"streams_per_replica", "handshakes_per_s"})
"""What is no time: a number, and a rate."""


@frozen(kw_only=True)
class TimingSettings:
    """Each time of ``limits.Timing``, by the same name but for its unit."""

    prepare_timeout_s: float = 5
    undo_timeout_s: float = 2
    live_timeout_s: float = 5
    budget_s: float = 30
    lease_ttl_s: float = 5
    election_s: float = 1
    streams_per_replica: int = 100
    handshakes_per_s: int = 200
    max_g_s: float = 2.5
    max_round_trip_s: float = 0.5
    store_write_s: float = 0.25
    flip_s: float = 1.5
    max_clock_bound_s: float = 0.05
    sync_interval_s: float = 1
    silence_s: float = 4
    retry_s: float = 1

    def timing(self) -> Timing:
        """The same in nanoseconds, as the machines take it."""
        values: dict[str, int] = {}
        for one in fields(TimingSettings):
            value = getattr(self, one.name)
            if one.name in COUNTS:
                values[one.name] = value
            else:
                values[one.name.removesuffix("_s") + "_ns"] = round(value * SECOND)
        return Timing(**values)
