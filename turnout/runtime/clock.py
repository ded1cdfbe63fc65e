"""A host's real clocks, read together as one value (see ``turnout.protocol.clock``)."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import field, frozen

from turnout.protocol.clock import ClockNs, Instant, MonotonicNs


@frozen(kw_only=True)
class Readings:
    """Where time comes from; tests bring their own."""

    monotonic_ns: Callable[[], int] = time.monotonic_ns
    wall_ns: Callable[[], int] = time.time_ns


def _nobody_says(_now_ns: int) -> int | None:
    return None


@frozen
class SystemClock:
    """Reads this host's clocks.

    The *steady clock* is the wall clock as it stood when this object was made, moved on by the
    monotonic clock: it dates things, and never steps. Make one for a process and share it.
    ``wall_bound_ns`` says how far the wall clock may be off at a monotonic instant (see
    ``wall_bound.py``); without it nobody does.
    """

    wall_bound_ns: Callable[[int], int | None] = _nobody_says
    _readings: Readings = field(factory=Readings, kw_only=True, alias="readings")
    _start_ns: int = field(init=False)

    @_start_ns.default
    def _steady_minus_monotonic(self) -> int:
        return self._readings.wall_ns() - self._readings.monotonic_ns()

    def now(self) -> Instant:
        """All clocks, read together.

        The process may be put aside between two readings, for 300 ms on a busy virtual machine:
        what passed meanwhile is added to the wall clock's bound.
        """
        monotonic_ns = self._readings.monotonic_ns()
        wall_ns = self._readings.wall_ns()
        passed_ns = self._readings.monotonic_ns() - monotonic_ns
        bound_ns = self.wall_bound_ns(monotonic_ns)
        return Instant(
            monotonic_ns=MonotonicNs(monotonic_ns),
            clock_ns=ClockNs(self._start_ns + monotonic_ns),
            wall_ns=wall_ns,
            wall_bound_ns=None if bound_ns is None else bound_ns + passed_ns,
        )
