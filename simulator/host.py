"""The loop that drives one machine in virtual time: events in, effects out, one by one.

It is the twin of ``turnout.runtime.host``: the same order, the same rule about durable effects, the same
``Wake``. What only a simulation can do happens in its *seams*: before each effect and after the last one
a fault may kill or stop the process, and whatever has been carried out by then has been, and no more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from simulator.process import Condition, Process
from simulator.virtual_time import Appointment
from turnout.protocol.clock import Instant, MonotonicNs
from turnout.protocol.events import Wake

WAKE = Wake()
RUNNING = Condition.RUNNING

State = TypeVar("State")
State_contra = TypeVar("State_contra", contravariant=True)
Event = TypeVar("Event")
Effect = TypeVar("Effect")
Event_contra = TypeVar("Event_contra", contravariant=True)
Effect_co = TypeVar("Effect_co", covariant=True)
Effect_contra = TypeVar("Effect_contra", contravariant=True)


class Machine(Protocol[State, Event_contra, Effect_co]):
    """What is driven: it decides everything and does nothing."""

    def step(
        self, state: State, event: Event_contra, now: Instant
    ) -> tuple[State, tuple[Effect_co, ...]]:
        """Take one event."""

    def next_deadline(self, state: State, /) -> MonotonicNs | None:
        """When to say ``Wake``."""


class Hands(Protocol[Effect_contra]):
    """Carries effects out in the modelled world."""

    def carry_out(self, effect: Effect_contra) -> bool:
        """Do it or start it. False: nothing may follow before ``Host.done`` or ``Host.failed``.

        Which of the two it was is told later, never from within.
        """


class Watcher(Protocol[State_contra, Event_contra, Effect_contra]):
    """Looks on."""

    def stepped(
        self,
        before: State_contra,
        event: Event_contra,
        after: State_contra,
        effects: tuple[Effect_contra, ...],
    ) -> None:
        """The machine has taken an event; nothing of its effects has been carried out yet."""

    def seam(self, effects: tuple[Effect_contra, ...], place: int) -> None:
        """``place`` of these effects have been carried out: a fault may strike now."""


class Host(Generic[State, Event, Effect]):
    """Drives one machine of one process."""

    def __init__(
        self,
        process: Process,
        machine: Machine[State, Event | Wake, Effect],
        hands: Hands[Effect],
        watcher: Watcher[State, Event | Wake, Effect],
    ) -> None:
        self._process = process
        self._machine = machine
        self._hands = hands
        self._watcher = watcher
        self._events: deque[Event | Wake] = deque()
        self._effects: tuple[Effect, ...] = ()
        self._place = 0
        self._seam = -1
        self._is_running = False
        self._is_waiting = False
        self._due: MonotonicNs | None = None
        self._may_be_due = False
        self._alarm: tuple[MonotonicNs, Appointment] | None = None
        self.state: State
        process.on_drift.append(self._arm_anew)

    def begin(self, state: State) -> None:
        """The process has started: begin with this state, and nothing of an earlier life."""
        self.end()
        self.state = state
        self._due = self._machine.next_deadline(state)
        self._arm()

    def end(self) -> None:
        """The process is dead: what was under way is gone."""
        self._events.clear()
        self._clear()
        self._is_waiting = False
        if self._alarm is not None:
            self._alarm[1].cancel()
            self._alarm = None

    def tell(self, event: Event) -> None:
        """Queue an event, and take it at once if the host is idle."""
        self._events.append(event)
        if not self._is_running:
            self._run()

    @property
    def is_idle(self) -> bool:
        """Whether what it is told next is taken at once, and nothing before it is under way."""
        return not (self._is_running or self._is_waiting or self._effects or self._events)

    def done(self) -> None:
        """The durable effect that was waited for is on disk."""
        self._is_waiting = False
        self._run()

    def failed(self, tell: Callable[[tuple[Effect, ...]], Event]) -> None:
        """It has failed: what followed it is dropped, and the machine is told before all else."""
        undone = self._effects[self._place - 1 :]
        self._clear()
        self._is_waiting = False
        self._events.appendleft(tell(undone))
        self._run()

    def _run(self) -> None:
        """Effects first, then the next event, until nothing is left or something must be awaited."""
        if self._is_running:
            return
        process, life = self._process, self._process.life
        self._is_running = self._may_be_due = True
        while self._effects or self._events or self._may_be_due:
            if process.condition is not RUNNING or process.life != life or self._is_waiting:
                break
            if self._effects:
                self._go_on()
            else:
                self._take_next()
        self._is_running = False
        if process.life != life or process.condition is Condition.DEAD:
            return
        if process.condition is Condition.STOPPED:
            process.deliver(self._run, life)
        self._arm()

    def _go_on(self) -> None:
        """The seam before an effect, or the effect; after the last effect comes one more seam."""
        effects, place = self._effects, self._place
        if self._seam != place:
            self._seam = place
            self._watcher.seam(effects, place)
        elif place == len(effects):
            self._clear()
        else:
            self._place += 1
            self._is_waiting = not self._hands.carry_out(effects[place])

    def _clear(self) -> None:
        self._effects, self._place, self._seam = (), 0, -1

    def _take_next(self) -> None:
        """One step, if anything is due or told.

        The next deadline is worked out here, once: no time passes before the run ends or waits. A state
        that the event leaves as it was has the deadline that it had.
        """
        now = self._process.now()
        event: Event | Wake
        if self._due is not None and self._due <= now.monotonic_ns:
            event = WAKE
        elif self._events:
            event = self._events.popleft()
        else:
            self._may_be_due = False
            return
        before = self.state
        after, self._effects = self._machine.step(before, event, now)
        if after is not before:
            self.state = after
            self._due = self._machine.next_deadline(after)
        self._may_be_due = self._due is not None and self._due <= now.monotonic_ns
        self._watcher.stepped(before, event, after, self._effects)

    def _arm(self) -> None:
        """Have the machine woken in time; an alarm that rings too early is set again."""
        due = self._due
        if due is None or self._is_waiting or (self._alarm is not None and self._alarm[0] <= due):
            return
        if self._alarm is not None:
            self._alarm[1].cancel()
        self._alarm = (due, self._process.at_monotonic(due, self._ring))

    def _arm_anew(self) -> None:
        """The clock runs at another speed."""
        if self._alarm is not None:
            self._alarm[1].cancel()
            self._alarm = None
            self._arm()

    def _ring(self) -> None:
        """Often it is too early: what it was set for was put off meanwhile."""
        self._alarm = None
        if self._due is None or self._process.monotonic_ns() < self._due:
            self._arm()
        else:
            self._run()
