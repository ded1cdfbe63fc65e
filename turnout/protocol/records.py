"""What survives a crash: the records in etcd and the one record in an agent's journal.

Every record is an immutable value with canonical bytes (``codec.py``). Who may write which, under
which guards, is in ``writes.py``; how the agent's record becomes bytes on disk in ``journal.py``.
"""

from __future__ import annotations

import enum

from attrs import evolve, field, frozen

from turnout.protocol.clock import ClockNs
from turnout.protocol.codec import canonical_bytes, digest_of
from turnout.protocol.identifiers import (
    NO_DIGEST,
    NO_EPOCH,
    NO_TERM,
    AgentId,
    Digest,
    Epoch,
    Region,
    ReplicaId,
    ServiceName,
    Term,
)
from turnout.protocol.routing import Colour, RoutingTable


class Kind(enum.StrEnum):
    """What a switch was asked as."""

    SWITCH = "switch"
    APPLY = "apply"
    ROLLBACK = "rollback"


class Verdict(enum.StrEnum):
    """The decision about one epoch."""

    COMMIT = "commit"
    ABORT = "abort"


class OutcomeKind(enum.StrEnum):
    """What a switch came to."""

    LIVE = "live"
    PARTIAL = "partial"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"


class Status(enum.StrEnum):
    """An agent's standing."""

    GOOD = "good"
    STALE = "stale"
    EXCLUDED = "excluded"


class Mode(enum.StrEnum):
    """When a commit is activated: at one instant everywhere, or on receipt."""

    SCHEDULED = "scheduled"
    IMMEDIATE = "immediate"


@frozen(kw_only=True)
class Incarnation:
    """Number and random id of a domain's history; only its number is ordered."""

    number: int
    id: str


@frozen(kw_only=True)
class IncarnationRecord:
    """An incarnation as the operator signed it, over its predecessor and first epoch."""

    incarnation: Incarnation
    predecessor: Incarnation | None = None
    first_epoch: Epoch = Epoch(1)
    signature: str = ""


@frozen(kw_only=True)
class Activation:
    """When a commit flips.

    Attributes:
        mode: as decided; ``reason`` says why a scheduled request became immediate.
        time_ns: the instant on the deciding leader's clock; None when immediate.
        g_ns: G, the longest that any agent waits after receipt, whatever its clock says.
        bound_ns: the largest clock bound among the votes, for the report.
    """

    mode: Mode = Mode.IMMEDIATE
    time_ns: ClockNs | None = None
    g_ns: int = 0
    bound_ns: int | None = None
    reason: str = ""


@frozen(kw_only=True)
class Head:
    """Last decided and last committed epoch; every message down carries it.

    Written with each decision, signed by the deciding replica, and journalled by the agents with
    the commit, so that nobody can invent one and a restored store can be proved (S11).

    Attributes:
        base, base_epoch: the commit before ``committed``: S7's rollback exception needs its
            digest, and a rollback walks back along them.
        term, replica: of the leader that decided ``committed``.
        drain_timeout_ms: overrides the services' own for this commit; None leaves them.
        history: digest of the last decision's history entry, which anchors the chain.
    """

    incarnation: Incarnation
    decided: Epoch = NO_EPOCH
    committed: Epoch = NO_EPOCH
    digest: Digest = NO_DIGEST
    base: Digest = NO_DIGEST
    base_epoch: Epoch = NO_EPOCH
    term: Term = NO_TERM
    replica: ReplicaId = ReplicaId("")
    activation: Activation = Activation()
    drain_timeout_ms: int | None = None
    history: Digest = NO_DIGEST
    signature: str = ""

    def resolves(self, epoch: Epoch) -> Verdict | None:
        """What this head says about one epoch; None where it cannot tell.

        An epoch decided at or below ``decided`` but above ``committed`` was aborted. One below
        ``committed`` may have been either; nobody needs to know it any more.
        """
        if epoch == self.committed:
            return Verdict.COMMIT
        if self.committed < epoch <= self.decided:
            return Verdict.ABORT
        return None

    def contradicts(self, proof: Head) -> bool:
        """Whether a true head of this incarnation is beyond this one, or of another history.

        It knows of a later decision; or of a commit that this one takes for an abort, or for the commit
        of another table: 1. The store goes back behind the decision of 7. 2. A leader that no agent has
        reached yet aborts 7. 3. The agents, which serve 7, know of no later number than the store does.
        """
        if proof.decided > self.decided or self.resolves(proof.committed) is Verdict.ABORT:
            return True
        return proof.committed == self.committed and proof.digest != self.digest


@frozen(kw_only=True)
class SignedTable:
    """A table with the domain's signature over its digest."""

    table: RoutingTable
    signature: str = ""

    @property
    def digest(self) -> Digest:
        """The table's digest."""
        return self.table.digest


@frozen(kw_only=True)
class TableName:
    """What is signed for a table: its digest, in the domain's incarnation-free name space."""

    digest: Digest
    signature: str = ""


@frozen(kw_only=True)
class Request:
    """What an operator (or the leader itself, for an automatic rollback) asked for.

    Attributes:
        key: idempotency key; the same key with the same body is the same switch.
        undo: rollback: the epoch whose change of ``service`` is undone; None means the last one.
        table: apply: the whole wanted table (weights of known services are not taken from it).
        allow_stale: agents named by the operator that may be passed over.
        allow_stale_count: how many stale agents may be passed over unnamed.
    """

    key: str
    kind: Kind
    service: ServiceName | None = None
    to: Colour | None = None
    undo: Epoch | None = None
    table: RoutingTable | None = None
    activation: Mode = Mode.IMMEDIATE
    allow_stale: tuple[AgentId, ...] = ()
    allow_stale_count: int = 0
    override: tuple[str, ...] = ()
    drain_timeout_ms: int | None = None
    point_of_no_return: str | None = None
    actor: str = ""
    reason: str = ""
    comment: str = ""

    def body_digest(self) -> Digest:
        """Digest of what was asked, by whomever: 409 when a key comes back with another."""
        return digest_of(canonical_bytes(evolve(self, actor="")))


@frozen(kw_only=True)
class RequestRecord:
    """Which epoch an idempotency key became, and the digest of the body it came with."""

    epoch: Epoch
    body: Digest


@frozen(kw_only=True)
class RequiredSet:
    """The agents asked, as the intent stores them (H26).

    Recomputed from ``agents/`` and ``standing`` as they stood at the intent's own revision.

    Attributes:
        fleet: mod-revision of ``standing`` when the set was computed.
        excluded: regions excluded then, for people.
        digest: over the sorted agent ids.
    """

    fleet: int
    excluded: tuple[Region, ...] = ()
    passed_over: tuple[AgentId, ...] = ()
    count: int
    digest: Digest


def digest_of_ids(ids: tuple[AgentId, ...]) -> Digest:
    """Digest of a set of agents, given sorted."""
    return digest_of("\n".join(ids).encode())


@frozen(kw_only=True)
class Source:
    """A colour of a service that a switch leaves: no new request goes to it after the flip."""

    service: ServiceName
    colour: Colour


@frozen(kw_only=True)
class Intent:
    """An attempt at an epoch, frozen before anybody's vote counts.

    Attributes:
        source: the one colour that a switch of one service leaves, for people.
        sources: every colour that is left, and may be scaled down ``retain_ms`` after the
            decision, if it is drained everywhere by then.
    """

    epoch: Epoch
    incarnation: Incarnation
    term: Term
    replica: ReplicaId
    digest: Digest
    base: Digest
    base_epoch: Epoch
    required: RequiredSet
    request: Request
    source: Colour | None = None
    sources: tuple[Source, ...] = ()
    retain_ms: int = 0
    requested_at_ns: ClockNs


@frozen(kw_only=True)
class Decision:
    """The one decision about an epoch, with the head that it made.

    Attributes:
        point_of_no_return: why going back past this commit was declared to do harm, if it was.
    """

    epoch: Epoch
    verdict: Verdict
    head: Head
    term: Term
    replica: ReplicaId
    digest: Digest = NO_DIGEST
    kind: Kind | None = None
    reason: str = ""
    absent: tuple[AgentId, ...] = ()
    point_of_no_return: str | None = None
    accepted_at_ns: ClockNs | None = None
    decided_at_ns: ClockNs


@frozen(kw_only=True)
class Laggard:
    """A required agent not known to be live in time after a commit."""

    agent: AgentId
    region: Region
    reason: str


@frozen(kw_only=True)
class Outcome:
    """What a switch came to, as measured; written once.

    Attributes:
        elapsed_ns: latest ``live_at`` less accepted, or less for an abort: decided less accepted.
        known_ns: when the leader knew, less accepted.
        bound_ns: how far ``elapsed_ns`` may be off (both clocks' bounds across a takeover).
        skew_ns: latest less earliest flip.
    """

    epoch: Epoch
    outcome: OutcomeKind
    reason: str = ""
    elapsed_ns: int | None = None
    known_ns: int | None = None
    bound_ns: int = 0
    budget_ns: int
    skew_ns: int | None = None
    laggards: tuple[Laggard, ...] = ()

    @property
    def sla_met(self) -> bool | None:
        """Whether the upper end of ``elapsed_ns`` is within the budget; None if unmeasured."""
        if self.elapsed_ns is None:
            return None
        return self.elapsed_ns + self.bound_ns <= self.budget_ns


@frozen(kw_only=True)
class StandingEntry:
    """Why an agent is not good."""

    agent: AgentId
    status: Status
    reason: str


@frozen(kw_only=True)
class Standing:
    """The agents that are not good, sorted by id; its mod-revision is the ``fleet`` revision."""

    entries: tuple[StandingEntry, ...] = ()


@frozen(kw_only=True)
class AgentEntry:
    """An enrolled agent. ``journal_id`` is registered when it becomes good."""

    agent: AgentId
    region: Region
    public_key: str
    journal_id: str = ""


@frozen(kw_only=True)
class HistoryEntry:
    """One line of the append-only history; ``previous`` is the last decision's entry's digest."""

    epoch: Epoch
    kind: str
    at_ns: ClockNs
    actor: str
    replica: ReplicaId
    term: Term
    text: str
    reason: str = ""
    comment: str = ""
    previous: Digest

    def digest(self) -> Digest:
        """The entry's own digest, which the next decision's entry carries."""
        return digest_of(canonical_bytes(self))


@frozen(kw_only=True)
class Prepared:
    """A yes that only a decision withdraws."""

    epoch: Epoch
    digest: Digest
    term: Term


@frozen(kw_only=True)
class Commitment:
    """A commit as an agent journals it: with the signed head, it needs nobody any more.

    Attributes:
        due_wall_ns: when to flip, on this host's wall clock: only a restart reads it, and waits
            no longer than what is left of G.
        late: learnt after the fact (from another leader, or catching up): flips at once.
        active: what the proxy serves once it has flipped to this commit.
    """

    head: Head
    due_wall_ns: int
    late: bool = False
    active: Active = field(init=False, eq=False, repr=False)

    @active.default
    def _active(self) -> Active:
        return Active(
            incarnation=self.head.incarnation.number, epoch=self.epoch, digest=self.digest
        )

    @property
    def epoch(self) -> Epoch:
        """The committed epoch."""
        return self.head.committed

    @property
    def digest(self) -> Digest:
        """The committed table's digest."""
        return self.head.digest


@frozen(kw_only=True)
class Active:
    """What the proxy was last seen to have flipped to.

    ``incarnation`` is its number: epochs are compared within one only, and the first epoch of a
    new one may be below what a cut-off edge serves of the old (H18). ``rank`` is what must rise with
    every flip (S5).
    """

    incarnation: int = 0
    epoch: Epoch = NO_EPOCH
    digest: Digest = NO_DIGEST
    rank: tuple[int, Epoch] = field(init=False, eq=False, repr=False)

    @rank.default
    def _rank(self) -> tuple[int, Epoch]:
        return self.incarnation, self.epoch


@frozen(kw_only=True)
class Draining:
    """A source that an agent's proxy has left, and that was not drained yet when it last flipped.

    Attributes:
        epoch: whose flip left it.
        close: what is left when its time is over is closed.
        left_ms: what was left of its time then.
    """

    epoch: Epoch
    service: ServiceName
    colour: Colour
    close: bool
    left_ms: int


@frozen(kw_only=True)
class AgentRecord:
    """All that an agent must remember; the last whole record of its journal is the truth.

    Promise and prepared belong to their incarnation: a higher one starts both empty. What drains is
    written with each flip: one that has ended since is begun again by a restart, and ends at once.
    """

    journal_id: str
    incarnation: Incarnation | None = None
    promised: Term = NO_TERM
    prepared: Prepared | None = None
    committed: Commitment | None = None
    active: Active = Active()
    draining: tuple[Draining, ...] = ()

    @property
    def committed_epoch(self) -> Epoch:
        """Newest committed epoch journalled; 0 where there was none."""
        return self.committed.epoch if self.committed else NO_EPOCH

    @property
    def committed_digest(self) -> Digest:
        """Its digest."""
        return self.committed.digest if self.committed else NO_DIGEST
