"""One node's clocks: a monotonic one that drifts, a wall clock that is off and may step.

What may be wrong with a clock, and how much, is in facts of the field (``README.md``): quartz drifts
78 ppm at the median and rarely above 500; NTP keeps a wall clock within 1-20 ms; an operator or a bad
server steps it by anything.
"""

from __future__ import annotations

from attrs import define

from turnout.protocol.clock import Instant, MonotonicNs

WALL_NS = 1_700_000_000 * 10**9
"""True wall-clock time when a run begins: some second of 2023."""

MILLION = 1_000_000


@define(eq=False)
class NodeClock:
    """A host's clocks.

    The steady clock (``Instant.clock_ns``) is the wall clock as a process read it once when it started,
    moved on by the monotonic clock; :meth:`read_wall` reads it, at each start of the process.

    Attributes:
        offset_ns: what the monotonic clock showed when the run began.
        ppm: how fast it runs: 100 gains a tenth of a millisecond each second.
        wall_error_ns: how far the wall clock is ahead of the truth.
        bound_ns: how far the wall clock says that it may be off; None where nobody says.
    """

    offset_ns: int = 0
    ppm: int = 0
    wall_error_ns: int = 0
    bound_ns: int | None = None
    _steady_ns: int = 0
    _turned_ns: int = 0
    _turned_mono_ns: int = 0
    _read: tuple[int, Instant] | None = None

    def monotonic_ns(self, true_ns: int) -> MonotonicNs:
        """What the monotonic clock shows at a true moment."""
        since_ns = true_ns - self._turned_ns
        elapsed_ns = since_ns + since_ns * self.ppm // MILLION
        return MonotonicNs(self.offset_ns + self._turned_mono_ns + elapsed_ns)

    def true_ns(self, monotonic_ns: int) -> int:
        """The first true moment at which the monotonic clock shows at least this."""
        elapsed_ns = monotonic_ns - self.offset_ns - self._turned_mono_ns
        return self._turned_ns - (-elapsed_ns * MILLION // (MILLION + self.ppm))

    def now(self, true_ns: int) -> Instant:
        """All clocks read together: at one moment by several, of whom the first one works it out."""
        read = self._read
        if read is not None and read[0] == true_ns:
            return read[1]
        since_ns = true_ns - self._turned_ns
        elapsed_ns = since_ns + since_ns * self.ppm // MILLION
        monotonic_ns = self.offset_ns + self._turned_mono_ns + elapsed_ns
        now = Instant(
            monotonic_ns,  # type: ignore[arg-type]
            self._steady_ns + monotonic_ns,  # type: ignore[arg-type]
            WALL_NS + true_ns + self.wall_error_ns,
            self.bound_ns,
        )
        self._read = true_ns, now
        return now

    def wall_ns(self, true_ns: int) -> int:
        """What the wall clock shows."""
        return WALL_NS + true_ns + self.wall_error_ns

    def read_wall(self, true_ns: int) -> None:
        """A process starts: it reads the wall clock, once."""
        self._steady_ns = self.wall_ns(true_ns) - self.monotonic_ns(true_ns)
        self._read = None

    def drift(self, ppm: int, true_ns: int) -> None:
        """Let the monotonic clock run at another speed from a true moment on."""
        monotonic_ns = self.monotonic_ns(true_ns)
        self._turned_ns, self._turned_mono_ns = true_ns, monotonic_ns - self.offset_ns
        self.ppm = ppm

    def step_wall(self, by_ns: int) -> None:
        """Set the wall clock forward (or, below zero, back)."""
        self.wall_error_ns += by_ns
        self._read = None

    def state_bound(self, bound_ns: int | None) -> None:
        """Let the wall clock say that it may be off by so much."""
        self.bound_ns = bound_ns
        self._read = None
