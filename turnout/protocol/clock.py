"""Time as values: what a machine is told about now, never a clock to ask.

A machine waits on the monotonic clock only. The *leader's clock*, in which activation times and
measured moments are given, is the wall clock as its replica read it once when it started, moved on
by its monotonic clock: it never steps, and it dates things well enough for people.
"""

from __future__ import annotations

from typing import NamedTuple, NewType

MonotonicNs = NewType("MonotonicNs", int)
"""Nanoseconds of one process's monotonic clock."""

ClockNs = NewType("ClockNs", int)
"""Nanoseconds since the Unix epoch on some replica's steady clock (see above)."""

MS = 1_000_000
SECOND = 1_000_000_000


class Instant(NamedTuple):
    """One reading of a host's clocks, taken together.

    Attributes:
        monotonic_ns: for every wait and every measured length.
        clock_ns: the host's steady clock: for dating, and for activation on the leader.
        wall_ns: the host's wall clock as it stands, which may step.
        wall_bound_ns: how far ``wall_ns`` may be from true time; None where nobody says so
            credibly (H16 tells when the kernel is not to be believed).
    """

    monotonic_ns: MonotonicNs
    clock_ns: ClockNs
    wall_ns: int
    wall_bound_ns: int | None = None


ZERO = Instant(monotonic_ns=MonotonicNs(0), clock_ns=ClockNs(0), wall_ns=0)
