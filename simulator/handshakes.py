"""How a connection comes to be: some round trips, and a turn in the listener's queue.

The first round trip is the kernels' affair, so a stopped listener takes part in it; the others
(TLS) need the listener itself. Each leg is sent until it arrives: at first after a second, as the
first packet of TCP is, then after twice that. A dialler that has enough closes the connection.
"""

from __future__ import annotations

from functools import partial

from simulator.connections import Way
from simulator.paths import Fate
from simulator.virtual_time import Act, Agenda
from turnout.protocol.clock import SECOND

REFUSED = "connection refused"


class Admission:
    """A server's turns: so many a second, first come, first served, after a short burst.

    A turn that is due to somebody who has gone meanwhile is spent all the same, as it is by the
    server that this models (``turnout.runtime.http.pace``).
    """

    __slots__ = ("_allowance_ns", "_interval_ns", "_next_ns", "agenda")

    def __init__(self, agenda: Agenda, per_s: int, burst: int) -> None:
        self.agenda = agenda
        self._interval_ns = SECOND // per_s
        self._allowance_ns = burst * self._interval_ns
        self._next_ns = 0

    def wait_ns(self) -> int:
        """Take the next turn; return how long it is until then."""
        now_ns = self.agenda.now_ns
        mine_ns = max(self._next_ns, now_ns - self._allowance_ns)
        self._next_ns = mine_ns + self._interval_ns
        return max(0, mine_ns - now_ns)


class Handshake:
    """One connection on its way to being open."""

    __slots__ = ("_admission", "_dialling", "_left", "_listening", "_opened", "agenda")

    def __init__(
        self, there: Way, round_trips: int, opened: Act, admission: Admission | None
    ) -> None:
        self._dialling, self._listening = there.source, there.target
        self._left = round_trips
        self._opened = opened
        self._admission = admission
        self.agenda = there.path.agenda

    def begin(self) -> None:
        """Send the first packet."""
        self._dialling.begin()
        self._send(self._dialling.way, self._knock)

    def _send(self, way: Way, arrival: Act, attempts: int = 0) -> None:
        if self._dialling.is_over:
            return
        fate = way.path.fate()
        if fate is Fate.HELD:
            way.path.hold(partial(self._send, way, arrival))
        elif fate is Fate.PASSES:
            self.agenda.after(way.path.delay_ns(), arrival)
        else:
            knobs = way.path.knobs
            wait_ns = min(knobs.first_after_ns << attempts, knobs.retransmit_most_ns)
            self.agenda.after(wait_ns, partial(self._send, way, arrival, attempts + 1))

    def _knock(self) -> None:
        """The first packet is at the listener's host."""
        listening = self._listening
        if listening.is_over:
            return
        if not listening.process.is_alive:
            listening.finish()
            self._send(listening.way, partial(self._dialling.hear, REFUSED))
            return
        listening.begin()
        self._answer()

    def _ask(self) -> None:
        """A later packet is: the listener itself deals with it."""
        self._listening.process.deliver(self._answer, self._listening.life)

    def _answer(self) -> None:
        """The listener's side of one round trip; the last one may have to wait for its turn."""
        self._left -= 1
        wait_ns = self._admission.wait_ns() if self._admission and not self._left else 0
        if wait_ns:
            self._listening.process.after(wait_ns, self._reply)
        else:
            self._reply()

    def _reply(self) -> None:
        if self._listening.is_over:
            return
        if not self._left:
            self._listening.is_open = True
        self._send(self._listening.way, self._arrive_back)

    def _arrive_back(self) -> None:
        dialling = self._dialling
        if dialling.is_over:
            return
        if self._left:
            self._send(dialling.way, self._ask)
        else:
            dialling.process.deliver(self._open, dialling.life)

    def _open(self) -> None:
        if not self._dialling.is_over:
            self._dialling.is_open = True
            self._opened()
