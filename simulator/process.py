"""A process on a host of its own: it runs, is stopped, dies and starts again.

Everything that happens *to* a process comes through here: what arrives, and its own timers. A dead
process gets nothing, ever, of what was meant for an earlier life of it. A stopped one (SIGSTOP, or a
virtual machine that is being moved) gets all of it when it goes on, in order, as a kernel's buffers
and expired timers would have it; its clocks have gone on meanwhile.
"""

from __future__ import annotations

import enum
from typing import NewType

from simulator.clocks import NodeClock
from simulator.virtual_time import Act, Agenda, Appointment
from turnout.protocol.clock import Instant, MonotonicNs
from turnout.protocol.identifiers import Region

NodeName = NewType("NodeName", str)
"""``agent eu-west-1/1``, ``coordinator us-east-1``, ``etcd us-east-1``, ``operator us-east-1``."""


class Condition(enum.StrEnum):
    """How a process is."""

    RUNNING = "running"
    STOPPED = "stopped"
    DEAD = "dead"


class Process:
    """One process.

    Attributes:
        life: rises with each start, so that what was meant for an earlier life is dropped.
        on_death: called when it dies, on_start when it starts again, on_stop when it is stopped,
            on_drift when its clock runs at another speed: for whoever models the process.
    """

    def __init__(self, name: NodeName, region: Region, clock: NodeClock, agenda: Agenda) -> None:
        self.name = name
        self.region = region
        self.clock = clock
        self.agenda = agenda
        self.condition = Condition.RUNNING
        self.life = 1
        self.on_death: list[Act] = []
        self.on_start: list[Act] = []
        self.on_stop: list[Act] = []
        self.on_drift: list[Act] = []
        self._kept: list[Act] = []
        self._is_condemned = False
        clock.read_wall(agenda.now_ns)

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or will go on."""
        return self.condition is not Condition.DEAD

    def now(self) -> Instant:
        """Its clocks, read together."""
        return self.clock.now(self.agenda.now_ns)

    def monotonic_ns(self) -> MonotonicNs:
        """Its monotonic clock, read alone."""
        return self.clock.monotonic_ns(self.agenda.now_ns)

    def deliver(self, act: Act, life: int) -> None:
        """Something comes for one life of it: now, or once it goes on."""
        if life != self.life:
            return
        if self.condition is Condition.RUNNING:
            act()
        elif self.condition is Condition.STOPPED:
            self._kept.append(act)

    def after(self, delay_ns: int, act: Act) -> Appointment:
        """A timer of its own, for this life; ``delay_ns`` is true time."""
        return self._timed(self.agenda.now_ns + delay_ns, act)

    def at_monotonic(self, due_ns: int, act: Act) -> Appointment:
        """A timer that rings when its own monotonic clock shows this."""
        return self._timed(self.clock.true_ns(due_ns), act)

    def _timed(self, moment_ns: int, act: Act) -> Appointment:
        """One that has rung while the process was stopped can still be cancelled by it."""
        life = self.life

        def ring() -> None:
            if life != self.life:
                return
            if self.condition is Condition.RUNNING:
                act()
            elif self.condition is Condition.STOPPED:
                self._kept.append(lambda: None if appointment.is_cancelled else act())

        appointment = self.agenda.at(moment_ns, ring)
        return appointment

    def drift(self, ppm: int) -> None:
        """Its monotonic clock runs at another speed from now on, and its timers with it."""
        self.clock.drift(ppm, self.agenda.now_ns)
        for act in self.on_drift:
            act()

    def kill(self) -> None:
        """It dies: its memory and its timers are gone."""
        if self.condition is not Condition.DEAD:
            self.condition = Condition.DEAD
            self._kept.clear()
            for act in self.on_death:
                act()

    def condemn(self) -> None:
        """It dies for good: whoever starts it starts nothing."""
        self._is_condemned = True
        self.kill()

    def start(self) -> None:
        """It starts again; one that lives is left alone."""
        if self.condition is Condition.DEAD and not self._is_condemned:
            self.condition = Condition.RUNNING
            self.life += 1
            self.clock.read_wall(self.agenda.now_ns)
            for act in self.on_start:
                act()

    def stop(self) -> None:
        """It is stopped: nothing of it goes on but its clocks."""
        if self.condition is Condition.RUNNING:
            self.condition = Condition.STOPPED
            for act in self.on_stop:
                act()

    def go_on(self) -> None:
        """It goes on, and first takes all that came meanwhile."""
        if self.condition is not Condition.STOPPED:
            return
        self.condition = Condition.RUNNING
        kept, self._kept = self._kept, []
        life = self.life
        for place, act in enumerate(kept):
            if self.condition is Condition.STOPPED:
                self._kept[:0] = kept[place:]
                return
            self.deliver(act, life)
