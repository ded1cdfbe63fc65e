"""Virtual time: what happens when, as one heap of appointments in whole nanoseconds.

    agenda = Agenda()
    agenda.after(20 * MS, lambda: deliver(message))
    agenda.run(until_ns=600 * SECOND)

Nothing waits: time jumps from one appointment to the next. Appointments of the same nanosecond are kept
in the order in which they were made, so a run is one sequence of events, the same in every process.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

Act = Callable[[], None]


class Appointment:
    """Something that will happen, unless it is cancelled."""

    __slots__ = ("act", "is_cancelled")

    def __init__(self, act: Act) -> None:
        self.act: Act | None = act
        self.is_cancelled = False

    def cancel(self) -> None:
        """Let it not happen; once it has happened this does nothing."""
        self.act = None
        self.is_cancelled = True


class Agenda:
    """The one true clock, and all that is still to happen.

    Attributes:
        now_ns: the present, in nanoseconds since the run began. No node reads it: each has a clock.
        events: how many appointments were kept.
    """

    def __init__(self) -> None:
        self.now_ns = 0
        self.events = 0
        self._heap: list[tuple[int, int, Appointment]] = []
        self._made = 0

    def at(self, moment_ns: int, act: Act) -> Appointment:
        """Have something happen at a moment; one that has passed means now."""
        self._made += 1
        appointment = Appointment(act)
        at_ns = max(self.now_ns, moment_ns)
        heappush(self._heap, (at_ns, self._made, appointment))
        return appointment

    def after(self, delay_ns: int, act: Act) -> Appointment:
        """Have something happen so much later."""
        return self.at(self.now_ns + delay_ns, act)

    def run(self, until_ns: int, done: Callable[[], bool] | None = None) -> bool:
        """Let time pass until a moment, or until ``done`` says so; return whether it did.

        ``done`` is asked after each event.
        """
        heap = self._heap
        while heap and heap[0][0] <= until_ns:
            at_ns, _, appointment = heappop(heap)
            act = appointment.act
            if act is None:
                continue
            appointment.act = None
            self.now_ns = at_ns
            self.events += 1
            act()
            if done is not None and done():
                return True
        self.now_ns = max(self.now_ns, until_ns)
        return False
