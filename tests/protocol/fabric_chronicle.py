"""What happened when, on the fabric's true clock: the evidence for S8-S11 and L1-L3.

Read off the nodes and the store as they change, never from what a machine says of itself: a flip is
what the proxy did, a commit is what the store wrote, a drain is over when the edge's own requests
are gone or its own clock has counted the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import define, evolve, field, frozen

from simulator.explore.store import FakeStore
from tests.protocol.fabric_nodes import Edge, Replica
from turnout.protocol import keys
from turnout.protocol.clock import MS
from turnout.protocol.codec import decode
from turnout.protocol.coordinator_state import Fleet
from turnout.protocol.effects import Activate, Stage, Transact
from turnout.protocol.identifiers import AgentId, Digest, Epoch, ServiceName
from turnout.protocol.invariants import (
    Intrusion,
    Parting,
    Proof,
    ScheduledFlip,
    SourceRequest,
)
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.messages import Report
from turnout.protocol.participant_state import ParticipantState
from turnout.protocol.records import (
    Decision,
    Head,
    Intent,
    Mode,
    Outcome,
    OutcomeKind,
    Status,
    Verdict,
)
from turnout.protocol.routing import Colour, RoutingTable, abandoned_colours
from turnout.protocol.storing import DECIDE
from turnout.protocol.transactions import Put, Transaction
from turnout.protocol.wire import unpack_table

Source = tuple[ServiceName, Colour]
MILLION = 1_000_000


@define
class Switch:
    """One epoch's moments in the store; None: not yet.

    ``required`` are those whom the decision counts on: asked, and not named absent.
    """

    intent: Intent
    accepted_ns: int
    decided_ns: int | None = None
    decision: Decision | None = None
    required: tuple[AgentId, ...] = ()
    ended_ns: int | None = None
    outcome: OutcomeKind | None = None

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


@define
class Departure:
    """An edge's own account of a source that it flipped away from."""

    epoch: Epoch
    at_ns: int
    timeout_ns: int
    in_flight: int


@define
class Days:
    """What is remembered of one agent.

    Attributes:
        served: (moment, epoch) of every flip of its proxy.
        live: the first moment at which it was proven to serve an epoch.
        doubts: (epoch, since, until) of every yes; until None while it is on disk.
        kept_out: whether it is excluded, or not enrolled; ``let_in_ns``: since when it is not.
    """

    served: list[tuple[int, Epoch]] = field(factory=list)
    live: dict[Epoch, int] = field(factory=dict)
    doubts: list[tuple[Epoch, int, int | None]] = field(factory=list)
    heard: Heard | None = None
    left: dict[Source, Departure] = field(factory=dict)
    kept_out: bool = False
    let_in_ns: int = 0


class Chronicle:
    """Remembers, and is asked at the end."""

    def __init__(self) -> None:
        self.switches: dict[Epoch, Switch] = {}
        self.days: dict[AgentId, Days] = {}
        self.flips: list[ScheduledFlip] = []
        self.requests: list[SourceRequest] = []
        self.partings: list[Parting] = []
        self.intrusions: list[Intrusion] = []
        self.proofs: list[Proof] = []
        self._planned: dict[str, tuple[int, int]] = {}
        self._tables: dict[Digest, RoutingTable] = {}
        self._seen: dict[AgentId, tuple[object, int]] = {}
        self._founded: tuple[Epoch, int] | None = None

    def begin(self, store: FakeStore) -> None:
        """What was committed before the history begins."""
        stored = store.items.get(keys.HEAD)
        if stored is not None:
            self._founded = (decode(stored.value, Head, limit=MAX_TABLE_BYTES).committed, 0)

    def begin_anew(self, first: Epoch, now_ns: int) -> None:
        """Another incarnation, founded with this epoch: what the old one began ends no more."""
        self.switches.clear()
        self._founded = (first, now_ns)
        for days in self.days.values():
            days.heard = None
            days.doubts.clear()

    # --- agents ------------------------------------------------------------------------------

    def see(self, edge: Edge, now_ns: int) -> None:
        """Look at an agent and its proxy after anything that may have changed them."""
        node = edge.node
        days = self.days.setdefault(node.agent, Days())
        before, self._seen[node.agent] = (
            self._seen.get(node.agent, (None, 0)),
            (node, edge.life),
        )
        if before[0] is node:
            return
        if before[1] != edge.life:
            days.heard = None
        if edge.in_flight == 0:
            for departure in days.left.values():
                departure.in_flight = 0
        self._see_flips(edge, days, now_ns)
        self._see_doubt(edge, days, now_ns)
        self._see_order(edge, days, now_ns)
        if node.state.live_ns is not None:
            days.live.setdefault(node.state.serving.epoch, now_ns)

    def _see_flips(self, edge: Edge, days: Days, now_ns: int) -> None:
        for table in edge.node.disk.tables:
            self._tables.setdefault(table.digest, table.table)
        served = edge.node.ghosts.served
        for place in range(len(days.served), len(served)):
            active = served[place]
            days.served.append((now_ns, active.epoch))
            before = self._tables.get(served[place - 1].digest) if place else None
            after = self._tables.get(active.digest)
            if before is not None and after is not None:
                self._leave(edge, days, now_ns, active.epoch, before, after)

    def _leave(
        self,
        edge: Edge,
        days: Days,
        now_ns: int,
        epoch: Epoch,
        before: RoutingTable,
        after: RoutingTable,
    ) -> None:
        for source in [s for s in days.left if _sends_to(after, s)]:
            del days.left[source]
        committed = edge.node.disk.record.committed
        override = None
        if committed is not None and committed.epoch == epoch:
            override = committed.head.drain_timeout_ms
        for name, colour in abandoned_colours(before, after):
            service = after.service(name) or before.service(name)
            assert service is not None
            timeout_ms = service.drain_timeout_ms if override is None else override
            days.left[name, colour] = Departure(
                epoch=epoch,
                at_ns=edge.clock.monotonic(now_ns),
                timeout_ns=timeout_ms * MS,
                in_flight=edge.in_flight,
            )

    @staticmethod
    def _see_doubt(edge: Edge, days: Days, now_ns: int) -> None:
        prepared = edge.node.state.record.prepared
        if days.doubts:
            epoch, since, until = days.doubts[-1]
            if until is None and (prepared is None or prepared.epoch != epoch):
                days.doubts[-1] = (epoch, since, now_ns)
        is_new = not days.doubts or days.doubts[-1][2] is not None
        if prepared is not None and is_new:
            days.doubts.append((prepared.epoch, now_ns, None))

    def _see_order(self, edge: Edge, days: Days, now_ns: int) -> None:
        """When a commit that waits for its time is at last told to the proxy."""
        heard = days.heard
        if heard is None:
            return
        for operation in edge.node.operations:
            if isinstance(operation, Activate) and operation.epoch == heard.head.committed:
                days.heard = None
                self.flips.append(self._flip(edge.node.agent, heard, now_ns))
            elif isinstance(operation, Stage):
                days.heard = None  # a rollback's prepare, or a table lost, goes first

    def _flip(self, agent: AgentId, heard: Heard, now_ns: int) -> ScheduledFlip:
        activation = heard.head.activation
        planned_ns, ppm = self._planned[heard.head.signature]
        return ScheduledFlip(
            agent=agent,
            epoch=heard.head.committed,
            g_ns=activation.g_ns,
            due_ns=planned_ns + activation.g_ns * MILLION // (MILLION + ppm),
            received_ns=heard.at_ns,
            flipped_ns=now_ns,
            bound_ns=heard.bound_ns,
            bound_held=heard.bound_held,
        )

    def hears(self, edge: Edge, before: ParticipantState, now_ns: int) -> None:
        """An agent has taken in a message; ``before`` is its state then."""
        state = edge.node.state
        committed = state.record.committed
        known = before.record.committed
        if committed == known or committed is None or committed.late:
            return
        head = committed.head
        days = self.days.setdefault(edge.node.agent, Days())
        days.heard = None
        if head.activation.mode is not Mode.SCHEDULED or head.signature not in self._planned:
            return
        clock = before.clock
        bound_ns, held = None, False
        if clock is not None and clock.term == head.term:
            mono = edge.clock.monotonic(now_ns)
            bound_ns = clock.estimate.bound_ns(mono)
            offset = clock.estimate.offset(mono)
            true = self._leader_clock(head, now_ns) - mono
            held = offset is not None and offset.low - 1 <= true <= offset.high + 1
        days.heard = Heard(head=head, at_ns=now_ns, bound_ns=bound_ns, bound_held=held)

    def _leader_clock(self, head: Head, now_ns: int) -> int:
        """What the decider's clock would read now, had nobody touched it since the decision."""
        activation = head.activation
        assert activation.time_ns is not None
        planned_ns, ppm = self._planned[head.signature]
        passed = now_ns - planned_ns
        return activation.time_ns - activation.g_ns + passed + passed * ppm // MILLION

    def requested(self, edge: Edge, routed_by: Digest) -> None:
        """A new request passed an edge's proxy, which sent it on by this table."""
        used, served = self._tables.get(routed_by), self._tables.get(edge.node.serving.digest)
        if used is None or served is None:
            return
        for _ in abandoned_colours(used, served):
            self.requests.append(
                SourceRequest(
                    agent=edge.node.agent,
                    epoch=edge.node.serving.epoch,
                    by_affinity=False,
                    during_drain=True,
                )
            )

    def closes(self, edge: Edge, source: Source, now_ns: int) -> None:
        """An agent has its proxy close what is left at a source."""
        record = edge.node.disk.record
        digests = [edge.node.serving.digest, record.committed_digest]
        digests += [record.prepared.digest] if record.prepared else []
        self.partings.append(self._parting("closed", edge, source, digests, now_ns))
        departure = self.days[edge.node.agent].left.get(source)
        if departure is not None:
            departure.in_flight = 0

    def _parting(
        self, what: str, edge: Edge, source: Source, digests: list[Digest], now_ns: int
    ) -> Parting:
        departure = self.days[edge.node.agent].left.get(source)
        tables = [self._tables[digest] for digest in digests if digest in self._tables]
        over = departure is not None and (
            edge.clock.monotonic(now_ns) - departure.at_ns >= departure.timeout_ns
        )
        return Parting(
            what=what,
            agent=edge.node.agent,
            epoch=departure.epoch if departure else edge.node.serving.epoch,
            service=source[0],
            colour=source[1],
            is_wanted=any(_sends_to(table, source) for table in tables),
            in_flight=departure.in_flight if departure else 0,
            is_time_over=over,
        )

    def intrudes(self, what: str, before: object, after: object) -> None:
        """Somebody repeated or forged a message."""
        self.intrusions.append(Intrusion(what=what, before=before, after=after))

    # --- the store ---------------------------------------------------------------------------

    def asks(self, replica: Replica, effect: Transact, now_ns: int) -> None:
        """A leader asks the store for something."""
        operation = effect.operation
        if operation.name != DECIDE:
            return
        for write in effect.transaction.writes:
            if isinstance(write, Put) and write.key.startswith(keys.DECISIONS):
                head = decode(write.value, Decision, limit=MAX_TABLE_BYTES).head
                self._planned.setdefault(head.signature, (now_ns, replica.clock.ppm))
        for place, proof in enumerate(self.proofs):
            if proof.term == operation.term:
                decided = (*proof.decided, operation.epoch)
                self.proofs[place] = evolve(proof, decided=decided)

    def shows(self, replica: Replica, report: Report, store: FakeStore) -> None:
        """A leader is about to hear an agent's report; it may prove that the store went back."""
        shown, stored = report.committed, store.items.get(keys.HEAD)
        if shown is None or stored is None or not replica.leads:
            return
        head = decode(stored.value, Head, limit=MAX_TABLE_BYTES)
        term = replica.state.term
        is_news = all(proof.term != term for proof in self.proofs)
        if shown.incarnation == head.incarnation and head.contradicts(shown) and is_news:
            self.proofs.append(Proof(term=term, shown=shown.committed, stored=head.committed))

    def wrote(
        self,
        transaction: Transaction,
        store: FakeStore,
        fleet: Fleet,
        edges: Mapping[AgentId, Edge],
        now_ns: int,
    ) -> None:
        """A transaction has won."""
        for write in transaction.writes:
            if not isinstance(write, Put):
                continue
            if write.key.startswith(keys.INTENTS):
                intent = decode(write.value, Intent, limit=MAX_TABLE_BYTES)
                self.switches[intent.epoch] = Switch(intent, now_ns)
            elif write.key.startswith(keys.DECISIONS):
                self._decided(decode(write.value, Decision, limit=MAX_TABLE_BYTES), store, now_ns)
            elif write.key.startswith(keys.OUTCOMES):
                self._ended(decode(write.value, Outcome, limit=MAX_TABLE_BYTES), now_ns)
            elif write.key.startswith(keys.RELEASED):
                epoch = Epoch(int(write.key.removeprefix(keys.RELEASED)))
                self._released(epoch, store, fleet, edges, now_ns)
            elif write.key.startswith(keys.TABLES):
                table = unpack_table(write.value)
                self._tables.setdefault(table.digest, table.table)
            elif write.key == keys.STANDING:
                self._let_in(fleet, edges, now_ns)

    def _decided(self, decision: Decision, store: FakeStore, now_ns: int) -> None:
        switch = self.switches.get(decision.epoch)
        if switch is None:
            return
        switch.decided_ns, switch.decision = now_ns, decision
        ruling = store.rulings[-1]
        switch.required = tuple(a for a, _ in ruling.required if a not in decision.absent)

    def _ended(self, outcome: Outcome, now_ns: int) -> None:
        switch = self.switches.get(outcome.epoch)
        if switch is not None:
            switch.ended_ns, switch.outcome = now_ns, outcome.outcome

    def _released(
        self,
        epoch: Epoch,
        store: FakeStore,
        fleet: Fleet,
        edges: Mapping[AgentId, Edge],
        now_ns: int,
    ) -> None:
        """What every enrolled agent has to do with the sources that may be scaled down from now on."""
        intent = decode(store.items[keys.intent(epoch)].value, Intent, limit=MAX_TABLE_BYTES)
        head = decode(store.items[keys.HEAD].value, Head, limit=MAX_TABLE_BYTES)
        for agent in sorted(fleet.agents):
            if keys.waiver(epoch, agent) in store.items:
                continue
            edge = edges[agent]
            digests = [edge.node.serving.digest, head.digest]
            for source in intent.sources:
                named = (source.service, source.colour)
                self.partings.append(self._parting("released", edge, named, digests, now_ns))

    def _let_in(self, fleet: Fleet, edges: Mapping[AgentId, Edge], now_ns: int) -> None:
        for agent in edges:
            days = self.days.setdefault(agent, Days())
            out = agent not in fleet.agents or fleet.status(agent) is Status.EXCLUDED
            if days.kept_out and not out:
                days.let_in_ns = now_ns
            days.kept_out = out

    def colour(self, digest: Digest) -> Colour:
        """The colour of the one service that a table sends to."""
        (service,) = self._tables[digest].services
        return service.active

    # --- commits -----------------------------------------------------------------------------

    def commits(self) -> Iterator[tuple[Epoch, int, int | None]]:
        """Every commit with its moment, and the next one's."""
        found = [self._founded] if self._founded else []
        for epoch, switch in sorted(self.switches.items()):
            if switch.is_commit and switch.decided_ns is not None:
                found.append((epoch, switch.decided_ns))
        for place, (epoch, at_ns) in enumerate(found):
            after = found[place + 1][1] if place + 1 < len(found) else None
            yield epoch, at_ns, after


def _sends_to(table: RoutingTable, source: Source) -> bool:
    service = table.service(source[0])
    return service is not None and service.sends_to(source[1])
