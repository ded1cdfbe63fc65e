"""What a machine can be told. Time, ids and randomness come in here and nowhere else."""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from turnout.protocol.clock import MonotonicNs
from turnout.protocol.effects import AgentEffect, Operation
from turnout.protocol.identifiers import AgentId, Digest, Epoch, Region, ServiceName, Term
from turnout.protocol.messages import Down, No, Up
from turnout.protocol.records import Active, AgentRecord, Request, SignedTable
from turnout.protocol.routing import Colour
from turnout.protocol.transactions import Result, Snapshot


@frozen
class Wake:
    """The instant that ``next_deadline`` named has come (or any later one)."""


# --- an agent's ---------------------------------------------------------------------------------


@frozen(kw_only=True)
class Booted:
    """The agent started.

    Attributes:
        record: what its journal says (a fresh one under a new journal id where there was none or
            it was damaged).
        tables: every table file on disk that is whole.
        serving: what the proxy serves; epoch 0 where it serves nothing of ours.
    """

    record: AgentRecord
    tables: tuple[SignedTable, ...] = ()
    serving: Active = Active()


@frozen(kw_only=True)
class LinkUp:
    """A stream to a leader is open."""


@frozen(kw_only=True)
class LinkDown:
    """The stream is gone; ``reason`` for people."""

    reason: str = ""


@frozen(kw_only=True)
class FromLeader:
    """A message came down the stream (or, a receipt, back from a report)."""

    message: Down


@frozen(kw_only=True)
class PersistFailed:
    """A durable effect failed; what followed it in its step was not carried out.

    Attributes:
        record: what the journal holds, read again from disk.
        tables: digests of the table files on disk that are whole.
        undone: the effect that failed and those that followed it in its step.
    """

    reason: str
    record: AgentRecord
    tables: tuple[Digest, ...] = ()
    undone: tuple[AgentEffect, ...]


@frozen(kw_only=True)
class Refusal:
    """The proxy, its backends or the disk refused, in their own words."""

    no: No
    reason: str


@frozen(kw_only=True)
class Staged:
    """Staging ended; ``refusal`` None means that the table is ready to be flipped to."""

    epoch: Epoch
    digest: Digest
    refusal: Refusal | None = None
    staging_ns: int = 0


@frozen(kw_only=True)
class Activated:
    """The flip ended; ``flipped_ns`` is when the proxy's own evidence says that it happened."""

    epoch: Epoch
    digest: Digest
    refusal: Refusal | None = None
    flipped_ns: MonotonicNs | None = None


@frozen(kw_only=True)
class Proven:
    """Probing ended; ``failure`` None means that every probe saw the epoch, at ``proven_ns``."""

    epoch: Epoch
    failure: str | None = None
    proven_ns: MonotonicNs | None = None


@frozen(kw_only=True)
class ProxyRestarted:
    """The proxy came back; what was staged in its memory is gone."""

    serving: Active


@frozen(kw_only=True)
class InFlight:
    """What a draining source still has to finish."""

    service: ServiceName
    colour: Colour
    count: int


AgentEvent: TypeAlias = (
    Wake
    | Booted
    | LinkUp
    | LinkDown
    | FromLeader
    | PersistFailed
    | Staged
    | Activated
    | Proven
    | ProxyRestarted
    | InFlight
)

# --- a coordinator's ----------------------------------------------------------------------------


@frozen(kw_only=True)
class Elected:
    """This replica holds the leader key, which was created at revision ``term``."""

    term: Term


@frozen(kw_only=True)
class Deposed:
    """This replica holds it no more, or cannot tell for one lease time."""

    reason: str = ""


@frozen(kw_only=True)
class Transacted:
    """A transaction's result; ``Unknown`` where no reply came in time."""

    operation: Operation
    result: Result


@frozen(kw_only=True)
class ReadDone:
    """A read's answer; None where none came (or the revision was compacted)."""

    operation: Operation
    snapshot: Snapshot | None


@frozen(kw_only=True)
class AgentGone:
    """An agent's stream ended."""

    agent: AgentId


@frozen(kw_only=True)
class FromAgent:
    """A vote or report; the first report on a new stream has ``opened`` set."""

    message: Up
    opened: bool = False


@frozen(kw_only=True)
class Requested:
    """A switch, apply or rollback was asked for; ``ticket`` names the reply."""

    ticket: int
    request: Request


@frozen(kw_only=True)
class AbortRequested:
    """An operator wants this epoch, and no other, aborted."""

    ticket: int
    epoch: Epoch
    actor: str
    reason: str = ""


@frozen(kw_only=True)
class ExcludeRequested:
    """An operator takes a region out of switches, until it is included."""

    ticket: int
    region: Region
    actor: str
    reason: str


@frozen(kw_only=True)
class IncludeRequested:
    """An operator takes a region in again; its agents become stale, then good by themselves."""

    ticket: int
    region: Region
    actor: str
    reason: str = ""


@frozen(kw_only=True)
class EnrolRequested:
    """An operator enrols an agent."""

    ticket: int
    agent: AgentId
    region: Region
    public_key: str
    actor: str


@frozen(kw_only=True)
class RemoveRequested:
    """An operator removes an agent from the fleet."""

    ticket: int
    agent: AgentId
    actor: str
    reason: str = ""


@frozen(kw_only=True)
class WaiveRequested:
    """An operator waives an agent's confirmation that its drain of an epoch's source ended."""

    ticket: int
    epoch: Epoch
    agent: AgentId
    actor: str
    reason: str


QueuedRequest: TypeAlias = (
    Requested | ExcludeRequested | IncludeRequested | EnrolRequested | RemoveRequested
)
"""What may have to wait its turn: for an open intent, or another change of the fleet."""

CoordinatorEvent: TypeAlias = (
    Wake
    | Elected
    | Deposed
    | Transacted
    | ReadDone
    | AgentGone
    | FromAgent
    | Requested
    | AbortRequested
    | ExcludeRequested
    | IncludeRequested
    | EnrolRequested
    | RemoveRequested
    | WaiveRequested
)
