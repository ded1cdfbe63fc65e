"""Everything that is seen of a run comes here, and is passed to whoever remembers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from simulator.etcd.cluster import EtcdCluster
from simulator.etcd.database import Backup
from simulator.etcd.ledger import Committed
from simulator.judging.chronicle import Chronicle
from simulator.judging.marks import Marks
from simulator.judging.replays import Replays
from simulator.judging.stored import value_of
from simulator.judging.story import Storyteller
from simulator.judging.witness import EVERYTHING, Witness
from simulator.process import NodeName, Process
from simulator.trace import Trace
from simulator.users import Sample, Users
from simulator.virtual_time import Agenda
from simulator.world import AgentView, ProxyEffect, ReplicaView
from turnout.protocol import keys
from turnout.protocol.clock import SECOND
from turnout.protocol.coordinator_state import CoordinatorState, Role
from turnout.protocol.effects import Transact
from turnout.protocol.events import AgentEvent, Booted, CoordinatorEvent, FromLeader, Wake
from turnout.protocol.identifiers import AgentId, Epoch, ServiceName
from turnout.protocol.invariants import COURSE, SAFETY, Violation
from turnout.protocol.messages import Message, Report, Up, Vote
from turnout.protocol.participant_state import ParticipantState
from turnout.protocol.rebasing import REBASE
from turnout.protocol.records import Active, AgentRecord, Head
from turnout.protocol.routing import Colour
from turnout.protocol.transactions import KeyValue, Put

_MAX_VIOLATIONS = 20
"""Of each number: the first says the most, and the rest mostly follows from it."""


def _nobody_waits(_epoch: Epoch) -> None:
    """Until somebody does."""


class Judge:
    """The one observer of a run."""

    def __init__(
        self,
        agenda: Agenda,
        users: Users,
        items: Callable[[], Mapping[str, KeyValue]],
        story: Storyteller,
        trace: Trace,
    ) -> None:
        """``items`` tells what the store holds."""
        self._agenda = agenda
        self._users = users
        self._items = items
        self.story = story
        self._trace = trace
        self.marks = Marks()
        self.witness = Witness(self._found)
        self.chronicle = Chronicle(self.witness, self._in_flight)
        self.chronicle.reigns = []
        self.replays = Replays(self.chronicle)
        self.violations: dict[str, list[str]] = {}
        self.forgetful: set[AgentId] = set()
        """Agents whose proxies were made to forget: what those send astray is no fault of ours."""
        self.keeps_backups = False
        """Whether anybody will restore the store."""
        self.cluster: EtcdCluster | None = None
        self.decided: Callable[[Epoch], None] = _nobody_waits
        self.accepted: Callable[[Epoch], None] = _nobody_waits
        self.founded_ns = 0
        """When the incarnation began that is judged."""
        self._backups: dict[Epoch, Backup] = {}
        self._leading: set[NodeName] = set()
        users.on_sample = self._sampled

    def begin(self, nodes: Mapping[AgentId, AgentView]) -> None:
        """The run begins, with the store and the proxies as they are."""
        items = self._items()
        self.witness.begin(items)
        self.chronicle.begin(items)
        for agent, node in nodes.items():
            self.witness.watch(node)
            self.chronicle.found(node)
            self.story.serves(agent, node.serving, self.chronicle.tables[node.serving.digest], 0)

    def _found(self, violation: Violation) -> None:
        self.breaks(violation.number, violation.text)

    def breaks(self, number: str, text: str) -> None:
        """An invariant is broken; the same finding is kept once."""
        seen = self.violations.setdefault(number, [])
        if len(seen) < _MAX_VIOLATIONS and not any(line.endswith(text) for line in seen):
            seen.append(f"at {self._agenda.now_ns / SECOND:.6f} s: {text}")

    def _sampled(self, sample: Sample) -> None:
        """A user's request crossed a flip (S9)."""
        if sample.is_misrouted and sample.agent not in self.forgetful:
            self.breaks(
                "S9", f"{sample.agent} sent a new request to the source after epoch {sample.epoch}"
            )

    def _in_flight(self, agent: AgentId, service: ServiceName, colour: Colour) -> int:
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
            # A record whose sync nobody lived to see may be there all the same.
            self.witness.ghosts[node.agent].journalled(node.record)
            self.chronicle.booted(node.agent)
        elif isinstance(event, FromLeader) and before.record is not after.record:
            self.chronicle.hears(node, before, after, now_ns)
        self.chronicle.stepped(node, before, after, now_ns)
        self.marks.agent_stepped(node, before, event, after)

    def voted(self, node: AgentView, message: Up) -> None:
        """An agent sends a vote or report."""
        if isinstance(message, Vote):
            said = f"no ({message.no})" if message.no else "yes"
            votes = self.chronicle.votes_on(message.epoch)
            votes.setdefault(node.agent, (said, self._agenda.now_ns))
            self.witness.votes(node.agent, message, node.record)

    def journalled(self, node: AgentView, record: AgentRecord, line: bytes) -> None:
        """A record is on an agent's disk, in these bytes."""
        self.witness.ghosts[node.agent].journalled(record)
        self.chronicle.journalled(node.agent, record, self._agenda.now_ns)
        self._trace.record(node.process.name, "journals", line)

    def flipped(self, agent: AgentId, active: Active) -> None:
        """An agent's proxy serves another table."""
        if agent in self.forgetful and active == self.witness.ghosts[agent].served[-1]:
            return  # its agent has brought back what it forgot
        now_ns = self._agenda.now_ns
        self.witness.flips(agent, active)
        self.chronicle.serves(self.witness.agents[agent], active, now_ns)
        table = self.chronicle.tables.get(active.digest)
        if table is not None:
            self.story.serves(agent, active, table, now_ns)

    def restarted(self, agent: AgentId, active: Active) -> None:
        """An agent's proxy has come back: as it was, but for one that was made to forget."""
        if not active.digest and agent not in self.forgetful:
            self.breaks("S6", f"{agent} served nothing after its proxy came back")

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
            text = f"{after.role}" + (
                f" in term {after.term}" if after.role is Role.LEADING else ""
            )
            self.noted(node.process, f"{text}: {after.trouble}" if after.trouble else text)
            if after.role is Role.TAKING_OVER:
                self.chronicle.takes_over(node.replica)
        self._leads(node, after.role is Role.LEADING)
        self.marks.replica_stepped(node, before, event, after)

    def _leads(self, node: ReplicaView, leads: bool) -> None:
        """Whether it does, as seen just now: one that stood still and goes on may lead still."""
        name = node.process.name
        if leads is not (name in self._leading):
            (self._leading.add if leads else self._leading.discard)(name)
            self.chronicle.led(name, self._agenda.now_ns, leads=leads)

    def replica_stopped(self, node: ReplicaView) -> None:
        """A replica's process stands still, and leads nobody."""
        self._leads(node, False)

    def replica_died(self, node: ReplicaView) -> None:
        """A replica's process has died."""
        self._leads(node, False)
        self.marks.died(node.replica)

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
        if committed.transaction is not None and committed.transaction.name == REBASE:
            self._begin_anew(items)
            return
        self.witness.wrote(committed, items)
        self.chronicle.wrote(committed, items, self._agenda.now_ns)
        self.marks.committed(committed)
        values = [write.value for write in committed.writes if isinstance(write, Put)]
        self._trace.record(NodeName("etcd"), f"revision {committed.revision}", b"".join(values))
        for write in committed.writes:
            if isinstance(write, Put):
                self._tell_of(write.key)

    def _begin_anew(self, items: Mapping[str, KeyValue]) -> None:
        """An operator has founded another incarnation, by hand: all is judged again."""
        self.founded_ns = self._agenda.now_ns
        head = value_of(items[keys.HEAD].value, Head)
        self.witness.begin_anew(head, items)
        self.chronicle.begin_anew(head.committed, self.founded_ns)

    def _tell_of(self, key: str) -> None:
        """An intent or a decision is in the store: who waits for it is told."""
        if key.startswith(keys.INTENTS):
            epoch = Epoch(int(key.removeprefix(keys.INTENTS)))
            if self.keeps_backups and self.cluster is not None:
                self._backups[epoch] = self.cluster.snapshot()
            self.accepted(epoch)
        elif key.startswith(keys.DECISIONS):
            self.decided(Epoch(int(key.removeprefix(keys.DECISIONS))))

    @property
    def highest(self) -> tuple[int, Epoch]:
        """The highest incarnation that any edge is in, and the highest epoch that was ever named."""
        found = [node.record.incarnation for node in self.witness.agents.values()]
        number = max((incarnation.number for incarnation in found if incarnation), default=0)
        return number, max(self.newest, self.witness.highest)

    @property
    def newest(self) -> Epoch:
        """The newest epoch that anybody attempted."""
        return max(self.chronicle.switches, default=Epoch(0))

    def backup_before(self, decisions: int) -> Backup | None:
        """The store as it was before so many of its last decisions; None where there were fewer."""
        switches = self.chronicle.switches
        decided = [e for e in sorted(self._backups) if switches[e].decision is not None]
        return self._backups[decided[-decisions]] if len(decided) >= decisions else None

    @property
    def promised(self) -> frozenset[str]:
        """The safety invariants that can be judged as things are."""
        if self.witness.judged == EVERYTHING:
            return frozenset(number for number, _ in (*SAFETY, *COURSE))
        return self.witness.judged | frozenset(number for number, _ in COURSE)

    def restored(self) -> None:
        """The store went back: until it is founded anew, little is promised."""
        self.witness.doubt(self._items())

    # ---------------------------------------------------------------- the wire

    def said(self, message: Message, sender: Process, receiver: Process) -> Callable[[], None]:
        """A message leaves."""
        self.witness.hears(message)
        arrived = self.story.said(message, sender.name, receiver.name)
        if not self.replays.listens:
            return arrived
        life = receiver.life

        def heard() -> None:
            arrived()
            self.replays.overhear(message, receiver.name, life)

        return heard

    def hurts(self, kind: str, nodes: tuple[NodeName, ...]) -> None:
        """A fault was injected."""
        self._trace.record(NodeName("world"), f"{kind} {' '.join(nodes)}")

    def noted(self, process: Process, text: str) -> None:
        """Something worth a line befell a process."""
        self.story.noted(process.name, text)
