"""What happened when, on the true clock: the evidence for S8-S11 and L1-L3, and for reports.

Read off nodes and store as they change, never from what a machine says of itself: a flip is what the
proxy did, a commit is what the store wrote, a drain is over when the edge's own requests are gone or
its own clock has counted the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from attrs import define, evolve, field, frozen

from simulator.etcd.ledger import Committed
from simulator.judging.stored import value_of
from simulator.judging.witness import Witness
from simulator.world import AgentSeen, ProxyEffect, ReplicaSeen
from turnout.protocol import keys
from turnout.protocol.clock import MS
from turnout.protocol.effects import Activate, CloseSource, Stage, Transact
from turnout.protocol.identifiers import NO_EPOCH, AgentId, Digest, Epoch, ReplicaId, ServiceName
from turnout.protocol.invariants import Intrusion, Parting, Proof, ScheduledFlip
from turnout.protocol.messages import Report
from turnout.protocol.participant_state import ParticipantState
from turnout.protocol.records import (
    Active,
    AgentRecord,
    Decision,
    Head,
    Intent,
    Mode,
    Outcome,
    Status,
    Verdict,
)
from turnout.protocol.routing import Colour, RoutingTable, abandoned_colours
from turnout.protocol.storing import DECIDE
from turnout.protocol.transactions import KeyValue, Put
from turnout.protocol.wire import unpack_table

Source = tuple[ServiceName, Colour]
Votes = dict[AgentId, tuple[str, int]]
InFlight = Callable[[AgentId, ServiceName, Colour], int]

MILLION = 1_000_000


@define
class Switch:
    """One epoch's moments in the store; None: not yet.

    ``required`` are those whom the decision counts on: asked, and not named absent. ``votes`` has
    what each agent said first, and when.
    """

    intent: Intent
    accepted_ns: int
    decided_ns: int | None = None
    decision: Decision | None = None
    required: tuple[AgentId, ...] = ()
    ended_ns: int | None = None
    outcome: Outcome | None = None
    votes: Votes = field(factory=dict)

    @property
    def is_commit(self) -> bool:
        """Whether it was decided so."""
        return self.decision is not None and self.decision.verdict is Verdict.COMMIT


@frozen(kw_only=True)
class Heard:
    """A scheduled commit as an agent heard it from its decider, and by which clock it waits."""

    head: Head
    at_ns: int
    bound_ns: int | None
    bound_held: bool
    durable_ns: int | None = None


@define
class Departure:
    """An edge's own account of a source that it flipped away from."""

    epoch: Epoch
    at_ns: int
    timeout_ns: int


@define
class Days:
    """What is remembered of one agent.

    Attributes:
        served: (moment, epoch) of every flip of its proxy.
        live: the first moment at which it was proven to serve an epoch.
        doubts: (epoch, since, until) of every yes; until None while it is on disk.
        kept_out: whether it is excluded, or not enrolled; ``let_in_ns``: since when it is not.
    """

    served: list[tuple[int, Active]] = field(factory=list)
    live: dict[Epoch, int] = field(factory=dict)
    doubts: list[tuple[Epoch, int, int | None]] = field(factory=list)
    heard: Heard | None = None
    left: dict[Source, Departure] = field(factory=dict)
    kept_out: bool = False
    let_in_ns: int = 0


class Chronicle:
    """Remembers, and is asked at the end."""

    def __init__(self, witness: Witness, in_flight: InFlight) -> None:
        """``witness`` knows the nodes and who is enrolled; ``in_flight`` what an edge has at a source."""
        self.switches: dict[Epoch, Switch] = {}
        self.days: dict[AgentId, Days] = {}
        self.flips: list[ScheduledFlip] = []
        self.partings: list[Parting] = []
        self.intrusions: list[Intrusion] = []
        self.proofs: list[Proof] = []
        self.tables: dict[Digest, RoutingTable] = {}
        self.reigns: list[tuple[int, str, bool]] | None = None
        """When which replica began to lead (true), and when it led no more; None: nobody tells."""
        self._witness = witness
        self._in_flight = in_flight
        self._planned: dict[str, tuple[int, int]] = {}
        self._founded: tuple[Epoch, int] | None = None
        self._shown: dict[ReplicaId, int] = {}
        self._asked_though_shown: dict[str, int] = {}
        self._votes: dict[Epoch, Votes] = {}

    def begin(self, items: Mapping[str, KeyValue]) -> None:
        """What the store holds when the run begins."""
        stored = items.get(keys.HEAD)
        if stored is not None:
            head = value_of(stored.value, Head)
            self._founded = (head.committed, 0) if head.committed else None
        for key, item in sorted(items.items()):
            if key.startswith(keys.TABLES):
                table = unpack_table(item.value)
                self.tables[table.digest] = table.table

    def begin_anew(self, first: Epoch, now_ns: int) -> None:
        """Another incarnation, founded with this epoch: what the old one began ends no more.

        But doubt does: whoever is in it is told of the new one.
        """
        self._founded = (first, now_ns)
        self._shown.clear()
        self._asked_though_shown.clear()
        for days in self.days.values():
            days.heard = None
            days.doubts = [
                (epoch, now_ns, None) for epoch, _, until in days.doubts if until is None
            ]

    def of_now(self) -> Iterator[tuple[Epoch, Switch]]:
        """The switches of the present incarnation."""
        first = self._founded[0] if self._founded else NO_EPOCH
        return ((epoch, switch) for epoch, switch in self.switches.items() if epoch > first)

    def votes_on(self, epoch: Epoch) -> Votes:
        """What was said first of an epoch, by agent: a vote may come before the store has its intent."""
        return self._votes.setdefault(epoch, {})

    def days_of(self, agent: AgentId) -> Days:
        """What is remembered of an agent."""
        days = self.days.get(agent)
        if days is None:
            days = self.days[agent] = Days()
        return days

    # ---------------------------------------------------------------- agents

    def serves(self, node: AgentSeen, active: Active, now_ns: int) -> None:
        """An agent's proxy has flipped."""
        days = self.days_of(node.agent)
        before = self.tables.get(days.served[-1][1].digest) if days.served else None
        days.served.append((now_ns, active))
        after = self.tables.get(active.digest)
        if before is not None and after is not None:
            self._leave(node, days, now_ns, active.epoch, before, after)

    def found(self, node: AgentSeen) -> None:
        """What an agent's proxy serves when the run begins, if anything."""
        if node.serving.epoch:
            days = self.days_of(node.agent)
            days.served.append((0, node.serving))
            days.live[node.serving.epoch] = 0

    def _leave(
        self,
        node: AgentSeen,
        days: Days,
        now_ns: int,
        epoch: Epoch,
        before: RoutingTable,
        after: RoutingTable,
    ) -> None:
        for source in [s for s in days.left if sends_to(after, s)]:
            del days.left[source]
        committed = node.record.committed
        override = None
        if committed is not None and committed.epoch == epoch:
            override = committed.head.drain_timeout_ms
        for name, colour in abandoned_colours(before, after):
            service = after.service(name) or before.service(name)
            assert service is not None
            timeout_ms = service.drain_timeout_ms if override is None else override
            days.left[name, colour] = Departure(
                epoch=epoch,
                at_ns=node.clock.monotonic_ns(now_ns),
                timeout_ns=timeout_ms * MS,
            )

    def booted(self, agent: AgentId) -> None:
        """An agent began anew: what it had heard it has to hear again."""
        self.days_of(agent).heard = None

    def stepped(
        self, node: AgentSeen, before: ParticipantState, after: ParticipantState, now_ns: int
    ) -> None:
        """An agent's machine took an event."""
        if before.record is not after.record:
            self._see_doubt(node.agent, after, now_ns)
        if after.live_ns is not None and after.live_ns != before.live_ns:
            self.days_of(node.agent).live.setdefault(after.serving.epoch, now_ns)

    def _see_doubt(self, agent: AgentId, state: ParticipantState, now_ns: int) -> None:
        days, prepared = self.days_of(agent), state.record.prepared
        if days.doubts:
            epoch, since, until = days.doubts[-1]
            if until is None and (prepared is None or prepared.epoch != epoch):
                days.doubts[-1] = (epoch, since, now_ns)
        is_new = not days.doubts or days.doubts[-1][2] is not None
        if prepared is not None and is_new:
            days.doubts.append((prepared.epoch, now_ns, None))

    def led(self, replica: str, now_ns: int, *, leads: bool) -> None:
        """A replica begins to lead, or does so no more."""
        assert self.reigns is not None
        self.reigns.append((now_ns, replica, leads))

    def stopped(self, agent: AgentId) -> None:
        """An agent stands still: it will flip when it goes on, which no clock can help."""
        self.days_of(agent).heard = None

    def hears(
        self, node: AgentSeen, before: ParticipantState, after: ParticipantState, now_ns: int
    ) -> None:
        """An agent has taken in a leader's message."""
        committed, known = after.record.committed, before.record.committed
        if committed == known or committed is None or committed.late:
            return
        head, days = committed.head, self.days_of(node.agent)
        days.heard = None
        if head.activation.mode is not Mode.SCHEDULED or head.signature not in self._planned:
            return
        clock = before.clock
        bound_ns, held = None, False
        if clock is not None and clock.term == head.term:
            mono = node.clock.monotonic_ns(now_ns)
            bound_ns = clock.estimate.bound_ns(mono)
            offset = clock.estimate.offset(mono)
            true = self._leader_clock(head, now_ns) - mono
            held = offset is not None and offset.low - 1 <= true <= offset.high + 1
        days.heard = Heard(head=head, at_ns=now_ns, bound_ns=bound_ns, bound_held=held)

    def journalled(self, agent: AgentId, record: AgentRecord, now_ns: int) -> None:
        """A record is on its disk: a commit is in its hands from then on, and not before."""
        days = self.days_of(agent)
        heard = days.heard
        if heard is None or heard.durable_ns is not None:
            return
        if record.committed_epoch == heard.head.committed:
            days.heard = evolve(heard, durable_ns=now_ns)

    def _leader_clock(self, head: Head, now_ns: int) -> int:
        """What the decider's clock would read now, had nobody touched it since the decision."""
        activation = head.activation
        assert activation.time_ns is not None
        planned_ns, ppm = self._planned[head.signature]
        passed = now_ns - planned_ns
        return activation.time_ns - activation.g_ns + passed + passed * ppm // MILLION

    def orders(self, node: AgentSeen, effect: ProxyEffect, now_ns: int) -> None:
        """An agent asks something of its proxy."""
        days = self.days_of(node.agent)
        heard = days.heard
        if isinstance(effect, CloseSource):
            self._closes(node, (effect.service, effect.colour), now_ns)
        elif heard is None:
            return
        elif isinstance(effect, Activate) and effect.epoch == heard.head.committed:
            days.heard = None
            self.flips.append(self._flip(node.agent, heard, now_ns))
        elif isinstance(effect, Stage):
            days.heard = None  # a rollback's prepare, or a table lost, goes first

    def due_ns(self, head: Head) -> int | None:
        """The true moment at which a commit is due; None where it is immediate."""
        planned = self._planned.get(head.signature)
        if planned is None or head.activation.mode is not Mode.SCHEDULED:
            return None
        planned_ns, ppm = planned
        return planned_ns + head.activation.g_ns * MILLION // (MILLION + ppm)

    def _flip(self, agent: AgentId, heard: Heard, now_ns: int) -> ScheduledFlip:
        activation = heard.head.activation
        due_ns = self.due_ns(heard.head)
        assert due_ns is not None
        return ScheduledFlip(
            agent=agent,
            epoch=heard.head.committed,
            g_ns=activation.g_ns,
            due_ns=due_ns,
            received_ns=heard.at_ns if heard.durable_ns is None else heard.durable_ns,
            flipped_ns=now_ns,
            bound_ns=heard.bound_ns,
            bound_held=heard.bound_held,
        )

    def _closes(self, node: AgentSeen, source: Source, now_ns: int) -> None:
        """An agent has its proxy close what is left at a source."""
        record = node.record
        digests = [node.serving.digest, record.committed_digest]
        digests += [record.prepared.digest] if record.prepared else []
        self.partings.append(self._parting("closed", node, source, digests, now_ns))

    def _parting(
        self, what: str, node: AgentSeen, source: Source, digests: list[Digest], now_ns: int
    ) -> Parting:
        departure = self.days_of(node.agent).left.get(source)
        tables = [self.tables[digest] for digest in digests if digest in self.tables]
        over = departure is not None and (
            node.clock.monotonic_ns(now_ns) - departure.at_ns >= departure.timeout_ns
        )
        return Parting(
            what=what,
            agent=node.agent,
            epoch=departure.epoch if departure else node.serving.epoch,
            service=source[0],
            colour=source[1],
            is_wanted=any(sends_to(table, source) for table in tables),
            in_flight=self._in_flight(node.agent, *source) if departure else 0,
            is_time_over=over,
        )

    # ---------------------------------------------------------------- the store

    def asks(self, node: ReplicaSeen, effect: Transact, now_ns: int) -> None:
        """A leader asks the store for something."""
        operation = effect.operation
        if operation.name != DECIDE:
            return
        for write in effect.transaction.writes:
            if isinstance(write, Put) and write.key.startswith(keys.DECISIONS):
                head = value_of(write.value, Decision).head
                self._planned.setdefault(head.signature, (now_ns, node.clock.ppm))
                shown = self._shown.get(node.replica)
                if shown is not None:
                    self._asked_though_shown[head.signature] = shown

    def takes_over(self, replica: ReplicaId) -> None:
        """A reign begins, and it has been shown nothing: a store that went back gives terms out again."""
        self._shown.pop(replica, None)

    def shows(self, node: ReplicaSeen, report: Report, items: Mapping[str, KeyValue]) -> None:
        """A leader is about to hear a report; it may prove that the store went back."""
        shown, stored = report.committed, items.get(keys.HEAD)
        if shown is None or stored is None or not node.leads:
            return
        head = value_of(stored.value, Head)
        is_proof = head.contradicts(shown) and shown.incarnation == head.incarnation
        if is_proof and node.replica not in self._shown:
            self._shown[node.replica] = len(self.proofs)
            term = node.state.term
            self.proofs.append(Proof(term=term, shown=shown.committed, stored=head.committed))

    def wrote(self, committed: Committed, items: Mapping[str, KeyValue], now_ns: int) -> None:
        """The store has carried a transaction out; the witness has seen it."""
        for write in committed.writes:
            if not isinstance(write, Put):
                continue
            if write.key.startswith(keys.INTENTS):
                intent = value_of(write.value, Intent)
                votes = self.votes_on(intent.epoch)
                self.switches[intent.epoch] = Switch(intent, now_ns, votes=votes)
            elif write.key.startswith(keys.DECISIONS):
                self._decided(value_of(write.value, Decision), now_ns)
            elif write.key.startswith(keys.OUTCOMES):
                self._ended(value_of(write.value, Outcome), now_ns)
            elif write.key.startswith(keys.RELEASED):
                epoch = Epoch(int(write.key.removeprefix(keys.RELEASED)))
                self._released(epoch, items, now_ns)
            elif write.key.startswith(keys.TABLES):
                table = unpack_table(write.value)
                self.tables.setdefault(table.digest, table.table)
            elif write.key == keys.STANDING:
                self._let_in(now_ns)

    def _decided(self, decision: Decision, now_ns: int) -> None:
        place = self._asked_though_shown.get(decision.head.signature)
        if place is not None:
            proof = self.proofs[place]
            self.proofs[place] = evolve(proof, decided=(*proof.decided, decision.epoch))
        switch = self.switches.get(decision.epoch)
        if switch is not None:
            switch.decided_ns, switch.decision = now_ns, decision
            switch.required = self._witness.required(decision)

    def _ended(self, outcome: Outcome, now_ns: int) -> None:
        switch = self.switches.get(outcome.epoch)
        if switch is not None:
            switch.ended_ns, switch.outcome = now_ns, outcome

    def _released(self, epoch: Epoch, items: Mapping[str, KeyValue], now_ns: int) -> None:
        """What every enrolled agent has to do with the sources that may be scaled down from now on."""
        intent = value_of(items[keys.intent(epoch)].value, Intent)
        head = value_of(items[keys.HEAD].value, Head)
        for agent in sorted(self._witness.fleet.agents):
            node = self._witness.agents.get(agent)
            if node is None or keys.waiver(epoch, agent) in items:
                continue
            digests = [node.serving.digest, head.digest]
            for source in intent.sources:
                named = (source.service, source.colour)
                self.partings.append(self._parting("released", node, named, digests, now_ns))

    def _let_in(self, now_ns: int) -> None:
        fleet = self._witness.fleet
        for agent in self._witness.agents:
            days = self.days_of(agent)
            out = agent not in fleet.agents or fleet.status(agent) is Status.EXCLUDED
            if days.kept_out and not out:
                days.let_in_ns = now_ns
            days.kept_out = out

    def commits(self) -> Iterator[tuple[Epoch, int, int | None]]:
        """Every commit with its moment, and the next one's."""
        found = [self._founded] if self._founded else []
        for epoch, switch in sorted(self.of_now()):
            if switch.is_commit and switch.decided_ns is not None:
                found.append((epoch, switch.decided_ns))
        for place, (epoch, at_ns) in enumerate(found):
            after = found[place + 1][1] if place + 1 < len(found) else None
            yield epoch, at_ns, after


def sends_to(table: RoutingTable, source: Source) -> bool:
    """Whether a table sends requests to this colour of this service."""
    service = table.service(source[0])
    return service is not None and service.sends_to(source[1])
