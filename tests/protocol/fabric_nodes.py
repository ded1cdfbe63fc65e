"""The fabric's nodes, with clocks of their own: what they are and what is wrong with them."""

from __future__ import annotations

from typing import Protocol

from attrs import Factory, define, frozen

from simulator.explore.nodes import AgentHost, AgentNode, ReplicaHost
from simulator.judging.chronicle import Source
from turnout.protocol.clock import ZERO, ClockNs, Instant, MonotonicNs
from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.effects import AgentEffect, Persist, Transact
from turnout.protocol.events import AgentEvent, PersistFailed
from turnout.protocol.identifiers import AgentId, Region, ReplicaId
from turnout.protocol.limits import Timing
from turnout.protocol.messages import Down, Up
from turnout.protocol.records import Active, AgentRecord

WALL_NS = 1_700_000_000 * 10**9
MILLION = 1_000_000


@define
class Clock:
    """A host's clocks: the monotonic one runs ``ppm`` fast, the wall clock is off by ``error_ns``.

    ``bound_ns`` is how far the wall clock is said to be off; None where nobody says.
    """

    offset_ns: int = 0
    ppm: int = 0
    error_ns: int = 0
    bound_ns: int | None = None

    def monotonic_ns(self, true_ns: int) -> MonotonicNs:
        """The monotonic clock's reading."""
        return MonotonicNs(self.offset_ns + true_ns + true_ns * self.ppm // MILLION)

    def true_at(self, monotonic_ns: int) -> int:
        """The first true moment at which the monotonic clock reads at least this."""
        since = monotonic_ns - self.offset_ns
        return -(-since * MILLION // (MILLION + self.ppm))

    def now(self, true_ns: int) -> Instant:
        """All clocks read together."""
        monotonic_ns = self.monotonic_ns(true_ns)
        return Instant(
            monotonic_ns=monotonic_ns,
            clock_ns=ClockNs(WALL_NS + self.error_ns + monotonic_ns - self.offset_ns),
            wall_ns=WALL_NS + self.error_ns + true_ns,
            wall_bound_ns=self.bound_ns,
        )


@frozen
class Link:
    """One stream from an agent to a replica."""

    number: int
    agent: AgentId
    replica: ReplicaId


class WatchfulHost(AgentHost):
    """An agent's host that also tells what it has carried out.

    While its disk is full the journal's fsync fails: what would have followed in the step is not
    carried out, and the machine is told (``effects.py``).
    """

    def __init__(self, agent: AgentId, region: Region, timing: Timing) -> None:
        super().__init__(agent, region, timing)
        self.disk_is_full = False
        self._done: list[tuple[AgentEffect, AgentRecord]] = []

    def step(
        self, node: AgentNode, event: AgentEvent, now: Instant = ZERO, *, effects: int | None = None
    ) -> tuple[AgentNode, tuple[Up, ...]]:
        """Take one event and carry out its effects, up to the first that the disk refuses."""
        _, asked = self.machine.step(node.state, event, now) if self.disk_is_full else (None, ())
        failing = [place for place, effect in enumerate(asked) if isinstance(effect, Persist)]
        if not failing:
            return super().step(node, event, now, effects=effects)
        node, sent = super().step(node, event, now, effects=failing[0])
        failed = PersistFailed(
            reason="no space left on the disk",
            record=node.disk.record,
            tables=tuple(table.digest for table in node.disk.tables),
            undone=asked[failing[0] :],
        )
        node, more = self.step(node, failed, now)
        return node, (*sent, *more)

    def take_done(self) -> list[tuple[AgentEffect, AgentRecord]]:
        """What was carried out since the last call, each with the record that was on disk then."""
        done, self._done = self._done, []
        return done

    def _carry_out(self, node: AgentNode, effect: AgentEffect, sent: list[Up]) -> AgentNode:
        self._done.append((effect, node.disk.record))
        return super()._carry_out(node, effect, sent)


@define(eq=False)
class Edge:
    """An agent with its disk, proxy, clocks and line.

    Attributes:
        life: rises with every death, so that what was meant for an earlier life is dropped.
        dies_after: it dies in the next step that has more effects than this, after so many.
        dies_at: it dies when its proxy has done this (``Activate``), before it hears so.
        refuses, hangs: what its proxy refuses to do, and never finishes.
        in_flight: what its sources still have in flight whenever that is counted.
        left: what each source had in flight when its proxy left it, until there is nothing.
        opening: the next report is the first on a new stream.
    """

    host: WatchfulHost
    node: AgentNode
    clock: Clock
    alive: bool = False
    life: int = 0
    armed: int | None = None
    link: Link | None = None
    opening: bool = False
    heard_ns: int = 0
    cut_up: bool = False
    cut_down: bool = False
    dies_after: int | None = None
    dies_at: str = ""
    refuses: set[str] = Factory(set)
    hangs: set[str] = Factory(set)
    in_flight: int = 0
    left: dict[Source, int] = Factory(dict)

    @property
    def agent(self) -> AgentId:
        """Who it is."""
        return self.node.agent

    @property
    def record(self) -> AgentRecord:
        """What its disk has kept."""
        return self.node.disk.record

    @property
    def serving(self) -> Active:
        """What its proxy serves."""
        return self.node.serving

    def grow_quiet(self) -> None:
        """All requests are answered."""
        self.in_flight = 0
        self.left.clear()

    @property
    def deadline(self) -> MonotonicNs | None:
        """When its machine wants to be woken."""
        return self.host.machine.next_deadline(self.node.state)


@define(eq=False)
class Replica:
    """A coordinator's process."""

    replica: ReplicaId
    host: ReplicaHost
    clock: Clock
    state: CoordinatorState = CoordinatorState()
    alive: bool = True
    life: int = 0
    armed: int | None = None
    store_cut: bool = False
    links: dict[AgentId, Link] = Factory(dict)
    dies_after: int | None = None
    resting_until_ns: int = 0

    @classmethod
    def make(cls, replica: ReplicaId, timing: Timing, *, clock: Clock) -> Replica:
        """A replica that follows."""
        return cls(replica=replica, host=ReplicaHost(replica, timing), clock=clock)

    @property
    def deadline(self) -> MonotonicNs | None:
        """When its machine wants to be woken."""
        return self.host.machine.next_deadline(self.state)

    @property
    def leads(self) -> bool:
        """Whether it takes itself for the leader."""
        return self.alive and self.state.role is Role.LEADING

    @property
    def can_hold(self) -> bool:
        """Whether it can keep a lease alive."""
        return self.alive and not self.store_cut


class Trace(Protocol):
    """Who is told what happens, to write it down."""

    def say(self, text: str) -> None: ...
    def up(self, agent: AgentId, message: Up) -> None: ...
    def down(self, agent: AgentId, message: Down) -> None: ...
    def journal(self, edge: Edge, before: AgentNode) -> None: ...
    def store(self, replica: ReplicaId, effect: Transact, result: object) -> None: ...
    def role(self, replica: Replica, before: CoordinatorState) -> None: ...
