"""Everything that is seen of a run comes here, and is passed to whoever remembers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from simulator.etcd.ledger import Committed
from simulator.judging.chronicle import Chronicle
from simulator.judging.marks import Marks
from simulator.judging.story import Storyteller
from simulator.judging.witness import Witness
from simulator.process import Process
from simulator.users import Users
from simulator.virtual_time import Agenda
from simulator.world import AgentView, ProxyEffect, ReplicaView
from turnout.protocol.clock import SECOND
from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.effects import Transact
from turnout.protocol.events import AgentEvent, Booted, CoordinatorEvent, FromLeader, Wake
from turnout.protocol.identifiers import AgentId
from turnout.protocol.invariants import Violation
from turnout.protocol.messages import Message, Report, Up, Vote
from turnout.protocol.participant_state import ParticipantState
from turnout.protocol.records import Active, AgentRecord, Decision
from turnout.protocol.transactions import KeyValue

_MAX_VIOLATIONS = 20
"""Of each number: the first says the most, and the rest mostly follows from it."""


class Judge:
    """The one observer of a run."""

    def __init__(
        self,
        agenda: Agenda,
        users: Users,
        items: Callable[[], Mapping[str, KeyValue]],
        story: Storyteller,
    ) -> None:
        """``items`` tells what the store holds."""
        self._agenda = agenda
        self._users = users
        self._items = items
        self.story = story
        self.marks = Marks()
        self.witness = Witness(self._found)
        self.chronicle = Chronicle(self._in_flight)
        self.violations: dict[str, list[str]] = {}
        self._nodes: dict[AgentId, AgentView] = {}

    def begin(self, nodes: Mapping[AgentId, AgentView]) -> None:
        """The run begins, with the store and the proxies as they are."""
        items = self._items()
        self.witness.begin(items)
        self.chronicle.begin(items)
        for agent, node in nodes.items():
            self._nodes[agent] = node
            self.witness.watch(node)
            serving = node.proxy.serving
            self.witness.ghosts[agent].served.append(serving)
            self.chronicle.found_serving(agent, serving)
            self.story.serves(agent, serving, self.chronicle.tables[serving.digest], 0)

    def _found(self, violation: Violation) -> None:
        self.breaks(violation.number, violation.text)

    def breaks(self, number: str, text: str) -> None:
        """An invariant is broken; the same finding is kept once."""
        seen = self.violations.setdefault(number, [])
        if len(seen) < _MAX_VIOLATIONS and not any(line.endswith(text) for line in seen):
            seen.append(f"at {self._agenda.now_ns / SECOND:.6f} s: {text}")

    def _in_flight(self, agent: AgentId, service: str, colour: str) -> int:
        return self._users.in_flight(agent, service, colour, self._agenda.now_ns)

    # ---------------------------------------------------------------- agents

    def agent_stepped(
        self,
        node: AgentView,
        before: ParticipantState,
        event: AgentEvent | Wake,
        after: ParticipantState,
    ) -> None:
        """An agent's machine took an event."""
        if before is after:
            return
        now_ns = self._agenda.now_ns
        if isinstance(event, Booted):
            self.chronicle.booted(node.agent)
        elif isinstance(event, FromLeader) and before.record is not after.record:
            self.chronicle.hears(node, before, after, now_ns)
        self.chronicle.stepped(node, before, after, now_ns)
        self.marks.agent_stepped(node, before, event, after)

    def voted(self, node: AgentView, message: Up) -> None:
        """An agent sends a vote or report."""
        ghost = self.witness.ghosts[node.agent]
        if isinstance(message, Vote):
            switch = self.chronicle.switches.get(message.epoch)
            if switch is not None:
                said = f"no ({message.no})" if message.no else "yes"
                switch.votes.setdefault(node.agent, said)
            if ghost.votes(message, node.disk.record):
                self.witness.judge()

    def journalled(self, node: AgentView, record: AgentRecord) -> None:
        """A record is on an agent's disk."""
        self.witness.ghosts[node.agent].journalled(record)

    def flipped(self, agent: AgentId, active: Active) -> None:
        """An agent's proxy serves another table."""
        node, now_ns = self._nodes[agent], self._agenda.now_ns
        self.witness.ghosts[agent].flips(active, node.disk.record)
        self.chronicle.serves(node, active, now_ns)
        table = self.chronicle.tables.get(active.digest)
        if table is not None:
            self.story.serves(agent, active, table, now_ns)
        self.witness.judge()

    def asked_of_proxy(self, node: AgentView, effect: ProxyEffect) -> None:
        """An agent asks something of its proxy."""
        self.chronicle.orders(node, effect, self._agenda.now_ns)

    # ---------------------------------------------------------------- replicas and the store

    def replica_stepped(
        self,
        node: ReplicaView,
        before: CoordinatorState,
        event: CoordinatorEvent | Wake,
        after: CoordinatorState,
    ) -> None:
        """A replica's machine took an event."""
        if before.role is not after.role:
            text = f"{after.role}" + (f" in term {after.term}" if after.role is Role.LEADING else "")
            self.noted(node.process, f"{text}: {after.trouble}" if after.trouble else text)
        self.marks.replica_stepped(node, before, event, after)

    def asked_of_store(self, node: ReplicaView, effect: Transact) -> None:
        """A leader asks the store for something."""
        self.chronicle.asks(node, effect, self._agenda.now_ns)

    def shown(self, node: ReplicaView, report: Report) -> None:
        """A leader is about to hear a report."""
        self.chronicle.shows(node, report, self._items())

    def committed(self, committed: Committed) -> None:
        """The store has carried out a transaction, or a lease's end."""
        if not committed.won:
            return
        items = self._items()
        self.witness.wrote(committed, items)
        self.chronicle.wrote(
            committed, items, self.witness.fleet, self._nodes, self._agenda.now_ns
        )
        for switch in self.chronicle.switches.values():
            decision: Decision | None = switch.decision
            if decision is not None and not switch.required:
                switch.required = self.witness.required(decision)
        self.marks.committed(committed)

    def restored(self) -> None:
        """The store went back."""
        self.witness.doubt()

    # ---------------------------------------------------------------- the wire

    def said(self, message: Message, sender: Process, receiver: Process) -> Callable[[], None]:
        """A message leaves."""
        self.witness.hears(message)
        return self.story.said(message, sender.name, receiver.name)

    def noted(self, process: Process, text: str) -> None:
        """Something worth a line befell a process."""
        self.story.noted(process.name, text)
