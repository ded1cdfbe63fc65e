"""Named deadlines as a value: "time is an argument; the next deadline is a question" (aioquic)."""

from __future__ import annotations

from attrs import frozen

from turnout.protocol.clock import Instant, MonotonicNs


@frozen
class Timers:
    """Which deadlines are armed, sorted by name; each name at most once."""

    due: tuple[tuple[str, MonotonicNs], ...] = ()

    def arm(self, name: str, at: int) -> Timers:
        """Arm (or move) one deadline."""
        others = [entry for entry in self.due if entry[0] != name]
        return Timers(tuple(sorted([*others, (name, MonotonicNs(at))])))

    def disarm(self, name: str) -> Timers:
        """Disarm one deadline; one that is not armed stays so."""
        return Timers(tuple([entry for entry in self.due if entry[0] != name]))

    def armed(self, name: str) -> bool:
        """Whether this deadline is armed."""
        for armed, _ in self.due:  # noqa: SIM110 - asked a dozen times a step: ``any`` takes thrice as long
            if armed == name:
                return True
        return False

    def expired(self, now: Instant) -> tuple[str, ...]:
        """The deadlines that have come, earliest first."""
        ready = sorted([(at, name) for name, at in self.due if at <= now.monotonic_ns])
        return tuple([name for _, name in ready])

    def next(self) -> MonotonicNs | None:
        """The earliest deadline; None where none is armed."""
        return min([at for _, at in self.due]) if self.due else None
