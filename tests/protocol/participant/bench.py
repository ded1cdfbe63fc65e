"""One agent's machine on a workbench: given events, asked what it did. Nothing here decides."""

from __future__ import annotations

from typing import TypeVar

from attrs import evolve

from simulator.signers import CheapSigner, CheapVerifier
from turnout.protocol.clock import MS, SECOND, ClockNs, Instant, MonotonicNs
from turnout.protocol.effects import (
    Activate,
    AgentEffect,
    Persist,
    Prove,
    SaveTable,
    Send,
    Stage,
)
from turnout.protocol.events import (
    Activated,
    AgentEvent,
    Booted,
    FromLeader,
    LinkUp,
    PersistFailed,
    Proven,
    Refusal,
    Staged,
    Wake,
)
from turnout.protocol.identifiers import (
    NO_DIGEST,
    AgentId,
    Digest,
    Epoch,
    Region,
    ReplicaId,
    ServiceName,
    Term,
)
from turnout.protocol.messages import Down, No, Prepare, Progress, Receipt, Report, Sync, Vote
from turnout.protocol.participant import Participant
from turnout.protocol.participant_state import ParticipantConfig, ParticipantState
from turnout.protocol.records import (
    Activation,
    Active,
    AgentRecord,
    Commitment,
    Head,
    Incarnation,
    Kind,
    Mode,
    SignedTable,
    TableName,
)
from turnout.protocol.routing import (
    AfterDrain,
    Backends,
    Colour,
    RegionBackends,
    RoutingTable,
    Service,
    Weights,
)
from turnout.protocol.signing import signed
from turnout.protocol.transitions import Voting

E = TypeVar("E", bound=AgentEffect)

DOMAIN = CheapSigner("domain")
STRANGER = CheapSigner("stranger")
INCARNATION = Incarnation(number=1, id="first")
CONFIG = ParticipantConfig(agent=AgentId("a1"), region=Region("eu"), domain_key=DOMAIN.public_key)
START_NS = 1_000 * SECOND
WALL_NS = 2_000_000 * SECOND
CHECKOUT = ServiceName("checkout")


def service(name: str, colour: Colour, after: AfterDrain = AfterDrain.KEEP) -> Service:
    """A service with everything on one colour."""
    return Service(
        name=ServiceName(name),
        hosts=(f"{name}.example",),
        weights=Weights.all_to(colour),
        backends=(
            RegionBackends(
                region=Region("eu"),
                blue=Backends(addresses=("10.0.0.1:80",)),
                green=Backends(addresses=("10.0.1.1:80",)),
            ),
        ),
        after_drain=after,
    )


def sign_table(table: RoutingTable, signer: CheapSigner = DOMAIN) -> SignedTable:
    """A table with its signature."""
    name = signed(TableName(digest=table.digest), signer)
    return SignedTable(table=table, signature=name.signature)


def table_of(*services: Service) -> SignedTable:
    """A signed table of these services."""
    return sign_table(RoutingTable(services=services))


BLUE = table_of(service("checkout", Colour.BLUE))
GREEN = table_of(service("checkout", Colour.GREEN))
OTHER = table_of(service("checkout", Colour.GREEN), service("search", Colour.BLUE))
TABLES = {t.digest: t for t in (BLUE, GREEN, OTHER)}


IMMEDIATE = Activation()


def head_at(  # noqa: PLR0913 - as many facts as a head has
    decided: int,
    committed: int = 0,
    table: SignedTable | None = None,
    *,
    base: SignedTable | None = None,
    term: int = 10,
    activation: Activation = IMMEDIATE,
    drain_timeout_ms: int | None = None,
    incarnation: Incarnation = INCARNATION,
    signer: CheapSigner = DOMAIN,
) -> Head:
    """A signed head, decided by replica r1."""
    head = Head(
        incarnation=incarnation,
        decided=Epoch(decided),
        committed=Epoch(committed),
        digest=table.digest if table else NO_DIGEST,
        base=base.digest if base else NO_DIGEST,
        term=Term(term),
        replica=ReplicaId("r1"),
        activation=activation,
        drain_timeout_ms=drain_timeout_ms,
    )
    return signed(head, signer)


EMPTY = head_at(0)
HEAD6 = head_at(6, 6, BLUE)
HEAD7 = head_at(7, 7, GREEN, base=BLUE)
ABORT7 = head_at(7, 6, BLUE)


def prepare(
    epoch: int,
    table: SignedTable,
    head: Head,
    *,
    term: int = 10,
    replica: str = "r1",
    sent: SignedTable | None = None,
    bare: bool = False,
) -> Prepare:
    """A prepare that carries its table, another one, or none."""
    return Prepare(
        incarnation=head.incarnation,
        term=Term(term),
        replica=ReplicaId(replica),
        head=head,
        epoch=Epoch(epoch),
        digest=table.digest,
        kind=Kind.SWITCH,
        table=None if bare else sent or table,
    )


def sync(
    head: Head | None, *, term: int = 10, replica: str = "r1", table: SignedTable | None = None
) -> Sync:
    """A sync."""
    return Sync(
        incarnation=head.incarnation if head else INCARNATION,
        term=Term(term),
        replica=ReplicaId(replica),
        head=head,
        table=table,
    )


def scheduled(in_ns: int, g_ns: int = 2 * SECOND) -> Activation:
    """An activation this long after the start, on a leader's clock that reads as the host's."""
    return Activation(mode=Mode.SCHEDULED, time_ns=ClockNs(START_NS + in_ns), g_ns=g_ns, bound_ns=0)


def active(epoch: int, table: SignedTable, incarnation: int = 1) -> Active:
    """What a proxy serves."""
    return Active(incarnation=incarnation, epoch=Epoch(epoch), digest=table.digest)


def fresh_record() -> AgentRecord:
    """A new agent that has heard of its domain's incarnation."""
    return AgentRecord(journal_id="j1", incarnation=INCARNATION)


def settled_record(head: Head = HEAD6) -> AgentRecord:
    """An agent that serves the head's commit."""
    commitment = Commitment(head=head, due_wall_ns=WALL_NS)
    return evolve(fresh_record(), committed=commitment, active=commitment.active)


class Bench:
    """A machine, its state and its clocks."""

    def __init__(self, record: AgentRecord | None = None, *tables: SignedTable) -> None:
        self.machine = Participant(CONFIG, CheapVerifier())
        self.state = ParticipantState()
        self.now_ns = START_NS
        self.effects: tuple[AgentEffect, ...] = ()
        record = record or settled_record()
        self.give(Booted(record=record, tables=tables or (BLUE,), serving=record.active))
        self.give(LinkUp())

    @property
    def now(self) -> Instant:
        """All clocks run evenly; the wall clock reads ``WALL_NS`` at the start."""
        return Instant(
            monotonic_ns=MonotonicNs(self.now_ns),
            clock_ns=ClockNs(self.now_ns),
            wall_ns=WALL_NS + self.now_ns - START_NS,
        )

    def voting(self) -> Voting:
        """Where it stands with the epoch being prepared."""
        return self.state.voting

    def progress(self) -> Progress:
        """Where it is with the newest commit."""
        return self.state.progress

    def give(self, event: AgentEvent) -> tuple[AgentEffect, ...]:
        """Step once and return the effects."""
        before = self.state
        self.state, self.effects = self.machine.step(before, event, self.now)
        return self.effects

    def hear(self, message: Down) -> tuple[AgentEffect, ...]:
        """A message comes down."""
        return self.give(FromLeader(message=message))

    def wait(self, ns: int) -> tuple[AgentEffect, ...]:
        """Let time pass, waking the machine at each of its deadlines; return all effects."""
        end = self.now_ns + ns
        seen: tuple[AgentEffect, ...] = ()
        while (deadline := self.machine.next_deadline(self.state)) is not None and deadline <= end:
            self.now_ns = max(self.now_ns, deadline)
            seen += self.give(Wake())
        self.now_ns = end
        return seen

    def staged(
        self, refusal: Refusal | None = None, staging_ns: int = 0
    ) -> tuple[AgentEffect, ...]:
        """The staging under way ends."""
        operation = self.state.operation
        assert isinstance(operation, Stage)
        return self.give(
            Staged(
                epoch=operation.epoch,
                digest=operation.digest,
                refusal=refusal,
                staging_ns=staging_ns,
            )
        )

    def activated(self, refusal: Refusal | None = None) -> tuple[AgentEffect, ...]:
        """The flip under way ends."""
        operation = self.state.operation
        assert isinstance(operation, Activate)
        return self.give(Activated(epoch=operation.epoch, digest=operation.digest, refusal=refusal))

    def proven(self, failure: str | None = None) -> tuple[AgentEffect, ...]:
        """The probing under way ends."""
        assert self.state.proof is not None
        return self.give(Proven(epoch=self.state.proof.epoch, failure=failure))

    def prepared(self, message: Prepare) -> tuple[AgentEffect, ...]:
        """Hear a prepare, let the proxy stage it, and return the effects of the yes."""
        self.hear(message)
        return self.staged()

    def live(self) -> None:
        """Flip and prove what is due."""
        if isinstance(self.state.operation, Stage):
            self.staged()
        self.activated()
        self.proven()

    def reboot(self, serving: Active | None = None) -> tuple[AgentEffect, ...]:
        """The agent dies after its last effect, and starts again."""
        return self.give(
            Booted(
                record=self.state.record,
                tables=tuple(self.state.tables.values()),
                serving=self.state.serving if serving is None else serving,
            )
        )

    def reboot_without(self, table: SignedTable) -> tuple[AgentEffect, ...]:
        """The agent dies, and this table's file with it."""
        tables = tuple(t for t in self.state.tables.values() if t.digest != table.digest)
        record, serving = self.state.record, self.state.serving
        effects = self.give(Booted(record=record, tables=tables, serving=serving))
        self.give(LinkUp())
        return effects

    def fail_disk(
        self, record: AgentRecord, *, at: type[Persist | SaveTable] = Persist
    ) -> tuple[AgentEffect, ...]:
        """The last step's first durable effect of a kind failed; the disk holds ``record``."""
        index = next(i for i, effect in enumerate(self.effects) if isinstance(effect, at))
        undone = self.effects[index:]
        lost = {e.table.digest for e in undone if isinstance(e, SaveTable)}
        return self.give(
            PersistFailed(
                reason="no space left on device",
                record=record,
                tables=tuple(d for d in self.state.tables if d not in lost),
                undone=undone,
            )
        )

    def receipt(
        self, *, round_trip_ns: int = 10 * MS, term: int = 10, replica: str = "r1"
    ) -> tuple[AgentEffect, ...]:
        """A report goes up and its receipt comes back."""
        echo_ns = MonotonicNs(self.now_ns)
        self.now_ns += round_trip_ns
        return self.hear(
            Receipt(
                term=Term(term),
                replica=ReplicaId(replica),
                echo_ns=echo_ns,
                clock_ns=ClockNs(self.now_ns - round_trip_ns // 2),
                wall_ns=0,
            )
        )


def of(effects: tuple[AgentEffect, ...], kind: type[E]) -> tuple[E, ...]:
    """The effects of one kind."""
    return tuple(effect for effect in effects if isinstance(effect, kind))


def kinds(effects: tuple[AgentEffect, ...]) -> list[str]:
    """The names of the effects, in order; a message's name for a send."""
    return [type(e.message).__name__ if isinstance(e, Send) else type(e).__name__ for e in effects]


def votes(effects: tuple[AgentEffect, ...]) -> tuple[Vote, ...]:
    """The votes sent."""
    return tuple(e.message for e in of(effects, Send) if isinstance(e.message, Vote))


def reports(effects: tuple[AgentEffect, ...]) -> tuple[Report, ...]:
    """The reports sent."""
    return tuple(e.message for e in of(effects, Send) if isinstance(e.message, Report))


def refusal(no: No = No.REFUSED, reason: str = "bind: address in use") -> Refusal:
    """A proxy's refusal."""
    return Refusal(no=no, reason=reason)


def digest(table: SignedTable) -> Digest:
    """A table's name."""
    return table.digest


def operation(effects: tuple[AgentEffect, ...]) -> Stage | Activate | None:
    """The changing operation asked for, if any."""
    found = [e for e in effects if isinstance(e, Stage | Activate)]
    assert len(found) <= 1
    return found[0] if found else None


def proof(effects: tuple[AgentEffect, ...]) -> Prove | None:
    """The probing asked for, if any."""
    found = of(effects, Prove)
    return found[0] if found else None
