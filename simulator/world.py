"""What all nodes of a run share: time, chance, the network, the domain; who looks on and who hurts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define

from simulator.door import Door
from simulator.network import Network
from simulator.process import Process
from simulator.randomness import Randomness
from simulator.signers import CheapSigner
from simulator.trace import Trace
from simulator.virtual_time import Agenda
from turnout.protocol.clock import MonotonicNs
from turnout.protocol.coordinator_state import CoordinatorState
from turnout.protocol.effects import (
    Activate,
    AgentEffect,
    CloseSource,
    CoordinatorEffect,
    Prove,
    Stage,
    StopDrain,
    Transact,
    WatchDrain,
)
from turnout.protocol.events import AgentEvent, CoordinatorEvent, Wake
from turnout.protocol.identifiers import AgentId, ReplicaId
from turnout.protocol.limits import Timing
from turnout.protocol.messages import Message, Report, Up
from turnout.protocol.participant_state import ParticipantState
from turnout.protocol.records import Active, AgentRecord

ProxyEffect = Stage | Activate | Prove | WatchDrain | StopDrain | CloseSource


class ClockSeen(Protocol):
    """A node's monotonic clock, as whoever records sees it."""

    @property
    def ppm(self) -> int:
        """How fast it runs: 100 gains a tenth of a millisecond each second."""

    def monotonic_ns(self, true_ns: int) -> MonotonicNs:
        """What it shows at a true moment."""


class AgentSeen(Protocol):
    """An agent's node, as whoever records sees it: here, or a test's own (``tests/protocol/fabric.py``)."""

    @property
    def agent(self) -> AgentId:
        """Who it is."""

    @property
    def clock(self) -> ClockSeen:
        """What it goes by."""

    @property
    def record(self) -> AgentRecord:
        """What its disk is known to have kept."""

    @property
    def serving(self) -> Active:
        """What its proxy serves."""


class AgentView(AgentSeen, Protocol):
    """An agent's node, looked at from outside."""

    @property
    def process(self) -> Process:
        """Where it runs."""

    @property
    def state(self) -> ParticipantState:
        """What its machine knows."""


class ReplicaSeen(Protocol):
    """A replica's node, as whoever records sees it."""

    @property
    def replica(self) -> ReplicaId:
        """Who it is."""

    @property
    def clock(self) -> ClockSeen:
        """What it goes by."""

    @property
    def state(self) -> CoordinatorState:
        """What its machine knows."""

    @property
    def leads(self) -> bool:
        """Whether it takes itself for the leader."""


class ReplicaView(ReplicaSeen, Protocol):
    """A replica's node, looked at from outside."""

    @property
    def process(self) -> Process:
        """Where it runs."""


class Observer(Protocol):
    """Whoever looks on: it is shown everything, and changes nothing."""

    def agent_stepped(
        self,
        node: AgentView,
        before: ParticipantState,
        event: AgentEvent | Wake,
        after: ParticipantState,
    ) -> None:
        """An agent's machine took an event."""

    def replica_stepped(
        self,
        node: ReplicaView,
        before: CoordinatorState,
        event: CoordinatorEvent | Wake,
        after: CoordinatorState,
    ) -> None:
        """A replica's machine took an event."""

    def voted(self, node: AgentView, message: Up) -> None:
        """An agent sends a vote or report: what its disk holds now is what it rests on."""

    def journalled(self, node: AgentView, record: AgentRecord, line: bytes) -> None:
        """A record is on an agent's disk, in these bytes."""

    def asked_of_proxy(self, node: AgentView, effect: ProxyEffect) -> None:
        """An agent asks something of its proxy."""

    def asked_of_store(self, node: ReplicaView, effect: Transact) -> None:
        """A leader asks the store for something."""

    def shown(self, node: ReplicaView, report: Report) -> None:
        """A leader is about to hear a report."""

    def said(self, message: Message, sender: Process, receiver: Process) -> Callable[[], None]:
        """A message leaves; what is returned is called when it arrives."""

    def noted(self, process: Process, text: str) -> None:
        """Something worth a line befell a process."""


class Faults(Protocol):
    """Whoever hurts."""

    def at_agent_seam(self, node: AgentView, effects: tuple[AgentEffect, ...], place: int) -> None:
        """An agent has carried out ``place`` of its step's effects."""

    def at_replica_seam(
        self, node: ReplicaView, effects: tuple[CoordinatorEffect, ...], place: int
    ) -> None:
        """A replica has carried out ``place`` of its step's effects."""


@define(eq=False, kw_only=True)
class World:
    """One run's surroundings.

    Attributes:
        domain: whose key signs tables, heads and incarnations.
        doors: each replica's, by its address.
    """

    agenda: Agenda
    randomness: Randomness
    network: Network
    timing: Timing
    trace: Trace
    domain: CheapSigner
    observer: Observer
    faults: Faults
    doors: dict[str, Door]

    def door(self, url: str) -> Door | None:
        """Who answers at this address."""
        return self.doors.get(url)

    def urls(self, process: Process) -> tuple[str, ...]:
        """The replicas as a process has them in its configuration: each begins with another one."""
        urls = sorted(self.doors)
        first = self.randomness.stream(f"list of {process.name}").randrange(len(urls))
        return (*urls[first:], *urls[:first])
