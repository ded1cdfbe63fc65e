"""When a lease is over: known to etcd's leader alone, and to nobody else's clock.

As in etcd's ``lessor.go``: the leader looks every 500 ms, counted from its own start; what is over it
asks the log to revoke, so the keys go at one revision like any other write. A renewal is not written
anywhere. So a new leader knows no renewal, and gives every lease its whole time again, and an election
timeout besides.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from simulator.etcd.knobs import EtcdKnobs
from simulator.process import Process
from simulator.virtual_time import Appointment
from turnout.protocol.clock import SECOND

Revoke = Callable[[int], None]
Renewed = Callable[[bool], None]


@frozen
class LeaseTime:
    """What a lease was granted for, and how many whole seconds it has left."""

    granted_s: int
    left_s: int


class Lessor:
    """One member's knowledge of the leases, in nanoseconds of its monotonic clock.

    It may lead in error (paused, or cut off) and renew leases that another lets run out meanwhile.
    """

    def __init__(self, process: Process, knobs: EtcdKnobs, revoke: Revoke) -> None:
        self.process, self.knobs, self._revoke = process, knobs, revoke
        self.ttl_s: dict[int, int] = {}
        self._leads = False
        self._over_ns: dict[int, int] = {}
        self._revoke_ns: dict[int, int] = {}
        self._waiting: dict[int, list[Renewed]] = {}
        self._timer: Appointment | None = None
        self._timer_ns = 0
        self._started_ns = 0

    def start(self) -> None:
        """The process has started: nobody's deadlines are known."""
        self._started_ns = self._now_ns()
        self._timer = None
        self.demote()

    def granted(self, lease: int, ttl_s: int) -> None:
        """The log has made a lease."""
        self.ttl_s[lease] = ttl_s
        if self._leads:
            self._let_live(lease, 0)

    def revoked(self, lease: int) -> None:
        """The log has ended a lease; who waited to renew it hears so."""
        self.ttl_s.pop(lease, None)
        self._over_ns.pop(lease, None)
        self._revoke_ns.pop(lease, None)
        for renewed in self._waiting.pop(lease, ()):
            renewed(False)

    def promote(self) -> None:
        """This member leads now."""
        self._leads = True
        for lease in self.ttl_s:
            self._let_live(lease, self.knobs.election_ns)

    def demote(self) -> None:
        """It leads no longer: who waited hears nothing."""
        self._leads = False
        self._over_ns, self._revoke_ns, self._waiting = {}, {}, {}

    def renew(self, lease: int, renewed: Renewed) -> None:
        """Give a lease its whole time again; one that is over waits for its end."""
        if lease not in self.ttl_s:
            renewed(False)
        elif self.is_over(lease):
            self._waiting.setdefault(lease, []).append(renewed)
        else:
            self._let_live(lease, 0)
            renewed(True)

    def time(self, lease: int) -> LeaseTime | None:
        """As leader: the whole seconds that a lease has left, the one that has begun not counted."""
        if lease not in self.ttl_s or self.is_over(lease):
            return None
        left_s = -((self._now_ns() - self._over_ns[lease]) // SECOND) - 1
        return LeaseTime(self.ttl_s[lease], left_s)

    def is_over(self, lease: int) -> bool:
        """As leader: whether a lease has run out, though the log may not have ended it yet."""
        return self._over_ns[lease] <= self._now_ns()

    def _now_ns(self) -> int:
        return self.process.clock.monotonic_ns(self.process.agenda.now_ns)

    def _let_live(self, lease: int, more_ns: int) -> None:
        over_ns = self._now_ns() + self.ttl_s[lease] * SECOND + more_ns
        self._over_ns[lease] = self._revoke_ns[lease] = over_ns
        self._look_at(over_ns)

    def _look_at(self, due_ns: int) -> None:
        """Look at the first of this member's regular moments that is not before then."""
        step_ns = self.knobs.lease_check_ns
        at_ns = self._started_ns - (self._started_ns - due_ns) // step_ns * step_ns
        if self._timer is not None and self._timer_ns <= at_ns:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = at_ns
        self._timer = self.process.at_monotonic(at_ns, self._look)

    def _look(self) -> None:
        self._timer = None
        now_ns = self._now_ns()
        for lease in [number for number, due_ns in self._revoke_ns.items() if due_ns <= now_ns]:
            self._revoke_ns[lease] = now_ns + self.knobs.lease_retry_ns
            self._revoke(lease)
        if self._revoke_ns:
            self._look_at(min(self._revoke_ns.values()))
