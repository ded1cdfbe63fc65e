"""What a machine can ask for, as plain values, in the order they must be carried out.

The order is the protocol's discipline: a host carries out one effect after another, and goes on
only when a durable one (:class:`Persist`, :class:`SaveTable`) is on disk. When that fails, the
host drops the rest of the step's effects and tells the machine with ``PersistFailed``. Effects
that take long (staging, store calls) are *started* in order; their results come as events.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from turnout.protocol.identifiers import AgentId, Digest, Epoch, ServiceName, Term
from turnout.protocol.messages import Down, Up
from turnout.protocol.records import AgentRecord, SignedTable
from turnout.protocol.routing import Colour
from turnout.protocol.transactions import Range, Transaction

# --- an agent's ---------------------------------------------------------------------------------


@frozen(kw_only=True)
class Persist:
    """Append the record to the journal and fsync, before anything that follows."""

    record: AgentRecord


@frozen(kw_only=True)
class SaveTable:
    """Write the table's file and fsync, before anything that follows."""

    table: SignedTable


@frozen(kw_only=True)
class ForgetTables:
    """Delete the files of all tables but these. Losing this effect costs disk space only."""

    keep: tuple[Digest, ...]


@frozen(kw_only=True)
class Send:
    """Send a vote or report (the host signs it) to the leader, if a link is up; else drop it."""

    message: Up


@frozen(kw_only=True)
class Stage:
    """Load the table beside the live one and probe the staged routes; answered by ``Staged``.

    With ``check``, the backends of every colour that gets requests it did not get under
    ``against`` are health-checked from this edge too.
    """

    epoch: Epoch
    digest: Digest
    check: bool
    against: Digest


@frozen(kw_only=True)
class Activate:
    """Flip the proxy to the staged table; answered by ``Activated``.

    The proxy remembers all three: they are the ``serving`` of ``Booted`` and ``ProxyRestarted``.
    """

    incarnation: int
    epoch: Epoch
    digest: Digest


@frozen(kw_only=True)
class Prove:
    """Probe through the proxy that it serves this epoch; answered by ``Proven``."""

    epoch: Epoch
    digest: Digest
    against: Digest


@frozen(kw_only=True)
class WatchDrain:
    """Count a source's requests in flight until told otherwise; answered by ``InFlight``s."""

    epoch: Epoch
    service: ServiceName
    colour: Colour


@frozen(kw_only=True)
class StopDrain:
    """Stop counting: the drain ended or was cancelled."""

    service: ServiceName
    colour: Colour


@frozen(kw_only=True)
class CloseSource:
    """Close what is left at a source whose drain timed out under ``after_drain = close``."""

    service: ServiceName
    colour: Colour


AgentEffect: TypeAlias = (
    Persist
    | SaveTable
    | ForgetTables
    | Send
    | Stage
    | Activate
    | Prove
    | WatchDrain
    | StopDrain
    | CloseSource
)

# --- a coordinator's ----------------------------------------------------------------------------


@frozen
class Operation:
    """Which of a leader's store calls an answer belongs to; at most one of each is under way.

    The term keeps an answer meant for an earlier reign from being taken for this one's.
    """

    name: str
    epoch: Epoch
    term: Term


@frozen(kw_only=True)
class Transact:
    """Send the transaction to the store; answered by ``Transacted``."""

    operation: Operation
    transaction: Transaction


@frozen(kw_only=True)
class Read:
    """Read linearizably (or at an older revision); answered by ``ReadDone``."""

    operation: Operation
    ranges: tuple[Range, ...]
    revision: int = 0


@frozen(kw_only=True)
class Tell:
    """Send one message to these agents, in this order; an agent not connected is passed over."""

    agents: tuple[AgentId, ...]
    message: Down


@frozen(kw_only=True)
class Reply:
    """Answer an operator's request; ``ticket`` is the one it came with."""

    ticket: int
    answer: Accepted | Refused | Done


@frozen(kw_only=True)
class StepDown:
    """Give up the leader key (if it is still ours) and close the agents' streams."""

    reason: str


CoordinatorEffect: TypeAlias = Transact | Read | Tell | Reply | StepDown


@frozen(kw_only=True)
class Accepted:
    """The request became (or already was) this epoch; ``noop``: nothing to do."""

    epoch: Epoch
    noop: bool = False


@frozen(kw_only=True)
class Done:
    """An administrative request was carried out; ``text`` says what."""

    text: str


@frozen(kw_only=True)
class Refused:
    """Nothing was changed.

    Attributes:
        code: a stable word for scripts, a key of the problem registry (``stale-agents``, ...).
        text: what was refused, why, and what to do.
        agents: whom it is about, where it is about agents.
    """

    code: str
    text: str
    agents: tuple[AgentId, ...] = ()
