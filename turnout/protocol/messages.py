"""What coordinator and agents say to each other; the whole vocabulary.

Down (leader to agent): :class:`Prepare`, :class:`Sync`, :class:`Receipt`, :class:`Rebase`.
Up (agent to leader): :class:`Vote`, :class:`Report`.

A decision has no message of its own: a :class:`Sync` carries the head, and agents are driven by
the head's level, not by edges, so that a decision lost, repeated or overtaken is one case
(H9, H19). An acknowledgement is a report whose ``live_at_ns`` is set.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

from attrs import frozen

from turnout.protocol.clock import ClockNs, MonotonicNs
from turnout.protocol.identifiers import (
    NO_DIGEST,
    NO_EPOCH,
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
    Head,
    Incarnation,
    IncarnationRecord,
    Kind,
    Prepared,
    SignedTable,
)
from turnout.protocol.routing import Colour
from turnout.protocol.signing import SignedMessage


class No(enum.StrEnum):
    """Why an agent votes no."""

    BASE = "base"
    SIGNATURE = "signature"
    TABLE = "table"
    REFUSED = "refused"
    UNHEALTHY = "unhealthy"
    JOURNAL = "journal"
    CONFLICT = "conflict"


@frozen(kw_only=True)
class Prepare:
    """Stage this table and vote on it. ``table`` is None where the agent said that it has it."""

    incarnation: Incarnation
    term: Term
    replica: ReplicaId
    head: Head
    epoch: Epoch
    digest: Digest
    kind: Kind
    table: SignedTable | None = None


@frozen(kw_only=True)
class Sync:
    """The head as it stands: announces decisions, proves leadership, brings laggards up.

    ``head`` is None only toward an excluded agent that must not learn a newer one. ``table`` is
    the head's, for an agent that lacks it.
    """

    incarnation: Incarnation
    term: Term
    replica: ReplicaId
    head: Head | None
    table: SignedTable | None = None


@frozen(kw_only=True)
class Receipt:
    """The answer to a report: the leader's clocks, for the agent's clock bound.

    Attributes:
        echo_ns: the report's ``sent_ns``.
        clock_ns: the leader's clock when it answered.
        wall_ns, wall_bound_ns: its wall clock and how far that may be off (None: unknown).
    """

    term: Term
    replica: ReplicaId
    echo_ns: MonotonicNs
    clock_ns: ClockNs
    wall_ns: int
    wall_bound_ns: int | None = None


@frozen(kw_only=True)
class Rebase:
    """The domain's incarnation as its operator signed it: sent to an agent that knows another."""

    record: IncarnationRecord


@frozen(kw_only=True, slots=False)
class Vote(SignedMessage):
    """Yes (``no`` is None) or no to one epoch's table, given in one term.

    Attributes:
        staging_ns: how long the proxy took.
        round_trip_ns: largest measured to this leader; None if none was measured yet.
        bound_ns: how well the agent knows the leader's clock; None if not at all.
    """

    agent: AgentId
    incarnation: Incarnation
    term: Term
    epoch: Epoch
    digest: Digest
    journal_id: str
    no: No | None = None
    reason: str = ""
    staging_ns: int = 0
    round_trip_ns: int | None = None
    bound_ns: int | None = None


class Progress(enum.StrEnum):
    """How far an agent is with the newest commit it has journalled."""

    NOTHING = "nothing"
    WAITING = "waiting"
    STAGING = "staging"
    FLIPPING = "flipping"
    PROVING = "proving"
    LIVE = "live"
    DIVERGED = "diverged"


@frozen(kw_only=True)
class DrainStatus:
    """A source's drain at one edge. ``ended`` is none, empty, timeout or closed."""

    epoch: Epoch
    service: ServiceName
    colour: Colour
    in_flight: int
    ended: str = ""


@frozen(kw_only=True, slots=False)
class Report(SignedMessage):
    """All that a leader needs to know of an agent; sent at each connect and each change.

    Attributes:
        committed: newest commit journalled, with its signed head (S11 needs the signature).
        flipped_at_ns, live_at_ns: of ``active``, on the leader's clock; None until measured.
        late: the flip was not on schedule because the commit was learnt late.
        staged_lost: the prepared table could not be staged again after a restart.
        tables: digests that the agent has on disk.
        sent_ns: the agent's monotonic clock when it left, echoed by the receipt; a host's to correct.
        challenge: the leader's, that the stream was opened in answer to; a host's to fill in. By it a
            host tells what is said now from what was recorded (S10).
    """

    agent: AgentId
    region: Region
    incarnation: Incarnation | None
    journal_id: str
    promised: Term
    prepared: Prepared | None = None
    committed: Head | None = None
    active: Active = Active()
    progress: Progress = Progress.NOTHING
    reason: str = ""
    flipped_at_ns: ClockNs | None = None
    live_at_ns: ClockNs | None = None
    bound_ns: int | None = None
    late: bool = False
    staged_lost: str = ""
    drains: tuple[DrainStatus, ...] = ()
    tables: tuple[Digest, ...] = ()
    sent_ns: MonotonicNs = MonotonicNs(0)
    challenge: str = ""

    @property
    def committed_epoch(self) -> Epoch:
        """Newest commit that the agent has journalled; 0 for none."""
        return self.committed.committed if self.committed else NO_EPOCH

    @property
    def committed_digest(self) -> Digest:
        """Its digest."""
        return self.committed.digest if self.committed else NO_DIGEST


Down: TypeAlias = Prepare | Sync | Receipt | Rebase
Up: TypeAlias = Vote | Report
Message: TypeAlias = Down | Up
