"""The one loop that drives a machine: events in, effects out, in order, and nothing in between.

    host = Host(Participant(config), AgentState(), Hands(...), SystemClock())
    nursery.start_soon(host.run)
    await host.tell(LinkUp())

A machine decides and a host does. The host takes one event from a bounded queue, asks the machine
for the next state and the effects, and has its :class:`Handler` carry these out one after another
before it looks at the next event: the order in which a machine names its effects is the order in
which they happen (persist before send is data, not discipline; the idea is etcd-io/raft's
``Ready``). What takes long a handler only *starts*; its result comes back as an event. Between two
events the host sleeps until the machine's own next deadline, and then says ``Wake``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Generic, Protocol, TypeVar

import trio

from turnout.protocol.clock import SECOND, Instant, MonotonicNs
from turnout.protocol.events import Wake

QUEUE_EVENTS = 1024
"""Events that may wait. A leader takes about 0.3 ms for one, so nobody waits a second longer."""

State = TypeVar("State")
Event = TypeVar("Event")
Effect = TypeVar("Effect")
EventIn_contra = TypeVar("EventIn_contra", contravariant=True)
EventOut_co = TypeVar("EventOut_co", covariant=True)
EffectIn_contra = TypeVar("EffectIn_contra", contravariant=True)
EffectOut_co = TypeVar("EffectOut_co", covariant=True)


class EffectFailed(Exception):  # noqa: N818 - reads as what happened
    """A durable effect could not be carried out; the text says why, for people."""


class Clock(Protocol):
    """Reads a host's clocks."""

    def now(self) -> Instant:
        """All clocks, read together."""


class Machine(Protocol[State, EventIn_contra, EffectOut_co]):
    """Decides everything and does nothing."""

    def step(
        self, state: State, event: EventIn_contra, now: Instant
    ) -> tuple[State, tuple[EffectOut_co, ...]]:
        """Take one event; return the new state and the effects, in the order to carry out."""

    def next_deadline(self, state: State, /) -> MonotonicNs | None:
        """When the machine wants a ``Wake``; None where it waits for nothing."""


class Handler(Protocol[EventOut_co, EffectIn_contra]):
    """Carries effects out for real. It must not wait for room in the host's own queue."""

    async def carry_out(self, effect: EffectIn_contra) -> None:
        """Do it, or start it where it takes long. Raises EffectFailed for a durable one."""

    async def failed(self, reason: str, undone: tuple[EffectIn_contra, ...]) -> EventOut_co:
        """Say what to tell the machine when a durable effect failed.

        ``undone`` is the effect that failed and all that followed it in its step.
        """


class Host(Generic[State, Event, Effect]):
    """Drives one machine with real time and real effects. Run it in exactly one task."""

    def __init__(
        self,
        machine: Machine[State, Event | Wake, Effect],
        state: State,
        handler: Handler[Event, Effect],
        clock: Clock,
        *,
        queue_events: int = QUEUE_EVENTS,
        after_step: Callable[[State, State], None] | None = None,
    ) -> None:
        """Make it ready to run.

        ``after_step`` is told the state before and after every step, once the step's effects have
        been carried out: for those who only watch (metrics, views). It must not raise.
        """
        self._machine = machine
        self._handler = handler
        self._clock = clock
        self._after_step = after_step
        self._sender, self._receiver = trio.open_memory_channel[Event](queue_events)
        self.state = state

    async def tell(self, event: Event) -> None:
        """Queue an event; waits while the queue is full, which holds back whoever is too fast.

        While there is room it does not even let others run: a leader hears a thousand agents.
        """
        try:
            self._sender.send_nowait(event)
        except trio.WouldBlock:
            await self._sender.send(event)

    def tell_nowait(self, event: Event) -> None:
        """Queue an event. Raises trio.WouldBlock while the queue is full."""
        self._sender.send_nowait(event)

    async def run(self) -> None:
        """Drive the machine until cancelled; whatever the machine or its handler raises, raises.

        A machine that raises has met a state it was not made for. It is not carried on from there:
        the process ends, and its journal or the store tells the next one how things stand.
        """
        while True:
            if self._is_due():
                await self._step(Wake())
            event = await self._next_event()
            if event is not None:
                await self._step(event)

    def _is_due(self) -> bool:
        deadline = self._machine.next_deadline(self.state)
        return deadline is not None and deadline <= self._clock.now().monotonic_ns

    async def _next_event(self) -> Event | None:
        """The next event in the queue; None when the machine's deadline has come first.

        Others get their turn before each event, and a queue that is never empty delays no deadline,
        nor does a deadline that is always due shut out the queue.
        """
        await trio.lowlevel.checkpoint()
        with suppress(trio.WouldBlock):
            return self._receiver.receive_nowait()
        deadline = self._machine.next_deadline(self.state)
        patience_s = inf
        if deadline is not None:
            patience_s = max(0, deadline - self._clock.now().monotonic_ns) / SECOND
        with trio.move_on_after(patience_s):
            return await self._receiver.receive()
        return None

    async def _step(self, event: Event | Wake) -> None:
        """Take one event and do all that follows; a failure is told before any other event."""
        failure = await self._take(event)
        while failure is not None:
            failure = await self._take(failure)

    async def _take(self, event: Event | Wake) -> Event | None:
        before = self.state
        self.state, effects = self._machine.step(before, event, self._clock.now())
        failure = await self._carry_out(effects)
        if self._after_step is not None:
            self._after_step(before, self.state)
        return failure

    async def _carry_out(self, effects: tuple[Effect, ...]) -> Event | None:
        """All effects in order; if one fails the rest is dropped, and the machine is told so."""
        for at, effect in enumerate(effects):
            try:
                await self._handler.carry_out(effect)
            except EffectFailed as failure:
                return await self._handler.failed(str(failure), effects[at:])
        return None
