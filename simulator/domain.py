"""A domain in good order, as it stands on every disk when a run begins: epoch 1, all on blue.

It begins as after a power cut: the store has the first commit behind it, each agent has it in its
journal, each proxy serves it, and nobody leads yet or is connected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from simulator.signers import CheapSigner
from turnout.protocol import keys
from turnout.protocol.clock import ClockNs
from turnout.protocol.codec import canonical_bytes
from turnout.protocol.identifiers import (
    AgentId,
    Digest,
    Epoch,
    Region,
    ReplicaId,
    ServiceName,
    Term,
)
from turnout.protocol.records import (
    Active,
    AgentEntry,
    AgentRecord,
    Commitment,
    Decision,
    Head,
    Incarnation,
    IncarnationRecord,
    Intent,
    Kind,
    Outcome,
    OutcomeKind,
    Request,
    RequiredSet,
    SignedTable,
    Standing,
    TableName,
    Verdict,
    digest_of_ids,
)
from turnout.protocol.routing import (
    Backends,
    Colour,
    RegionBackends,
    RoutingTable,
    Service,
    Weights,
)
from turnout.protocol.signing import signed
from turnout.protocol.wire import pack_table

FIRST = Epoch(1)
FIRST_TERM = Term(1)
DRAIN_TIMEOUT_MS = 30_000
RETAIN_MS = 60_000
"""A minute rather than the usual hour, so that a run of ten sees sources released."""


class Domain:
    """What every node of a run starts from."""

    def __init__(
        self, regions: Sequence[Region], services: Sequence[ServiceName], budget_ns: int
    ) -> None:
        self.signer = CheapSigner("domain")
        self.regions = tuple(sorted(set(regions)))
        self.services = tuple(services)
        self._budget_ns = budget_ns
        self.incarnation = Incarnation(number=1, id="first")
        self.table = self.signed(self.table_of(self.services))
        self.head = signed(
            Head(
                incarnation=self.incarnation,
                decided=FIRST,
                committed=FIRST,
                digest=self.table.digest,
                term=FIRST_TERM,
                replica=ReplicaId("the first leader"),
            ),
            self.signer,
        )
        self.active = Active(
            incarnation=self.incarnation.number, epoch=FIRST, digest=self.table.digest
        )

    def table_of(self, services: Iterable[ServiceName], *, port: int = 80) -> RoutingTable:
        """Every service with one backend a colour in each region, on this port, all on blue."""
        return RoutingTable(services=tuple(self._service(name, port) for name in sorted(services)))

    def _service(self, name: ServiceName, port: int) -> Service:
        backends = tuple(
            RegionBackends(
                region=region,
                blue=Backends(addresses=(f"10.0.0.1:{port}",)),
                green=Backends(addresses=(f"10.0.1.1:{port}",)),
            )
            for region in self.regions
        )
        return Service(
            name=name,
            hosts=(f"{name}.example",),
            weights=Weights.all_to(Colour.BLUE),
            backends=backends,
            drain_timeout_ms=DRAIN_TIMEOUT_MS,
            retain_ms=RETAIN_MS,
        )

    def signed(self, table: RoutingTable) -> SignedTable:
        """A table with the domain's signature."""
        name = signed(TableName(digest=table.digest), self.signer)
        return SignedTable(table=table, signature=name.signature)

    def record(self, journal_id: str) -> AgentRecord:
        """What an agent's journal says: the first commit, journalled and active."""
        return AgentRecord(
            journal_id=journal_id,
            incarnation=self.incarnation,
            promised=FIRST_TERM,
            committed=Commitment(head=self.head, due_wall_ns=0),
            active=self.active,
        )

    def items(self, agents: Mapping[AgentId, tuple[Region, str, str]]) -> dict[str, bytes]:
        """What the store holds; each agent with its region, public key and journal id."""
        entries = [
            AgentEntry(agent=agent, region=region, public_key=key, journal_id=journal)
            for agent, (region, key, journal) in sorted(agents.items())
        ]
        founded = signed(IncarnationRecord(incarnation=self.incarnation), self.signer)
        return {
            keys.INCARNATION: canonical_bytes(founded),
            keys.HEAD: canonical_bytes(self.head),
            keys.STANDING: canonical_bytes(Standing()),
            keys.table(self.table.digest): pack_table(self.table),
            keys.intent(FIRST): canonical_bytes(self._intent(tuple(sorted(agents)))),
            keys.decision(FIRST): canonical_bytes(self._decision()),
            keys.outcome(FIRST): canonical_bytes(self._outcome()),
            **{keys.agent(entry.agent): canonical_bytes(entry) for entry in entries},
        }

    def _intent(self, agents: tuple[AgentId, ...]) -> Intent:
        return Intent(
            epoch=FIRST,
            incarnation=self.incarnation,
            term=FIRST_TERM,
            replica=self.head.replica,
            digest=self.table.digest,
            base=Digest(""),
            base_epoch=Epoch(0),
            required=RequiredSet(fleet=0, count=len(agents), digest=digest_of_ids(agents)),
            request=Request(key="first", kind=Kind.APPLY, table=self.table.table),
            requested_at_ns=ClockNs(0),
        )

    def _decision(self) -> Decision:
        return Decision(
            epoch=FIRST,
            verdict=Verdict.COMMIT,
            head=self.head,
            term=FIRST_TERM,
            replica=self.head.replica,
            digest=self.table.digest,
            kind=Kind.APPLY,
            decided_at_ns=ClockNs(0),
        )

    def _outcome(self) -> Outcome:
        return Outcome(
            epoch=FIRST,
            outcome=OutcomeKind.LIVE,
            elapsed_ns=0,
            known_ns=0,
            budget_ns=self._budget_ns,
        )
