"""What an agent's machine knows: one frozen value, and the working copy of one step.

Everything that must survive a crash is in ``record`` (and in the table files); the rest is learnt
again. Nothing here counts or dates what no rule asks about, so that two situations in which the
machine behaves alike are equal values.
"""

from __future__ import annotations

from attrs import frozen

from turnout.protocol.activation import ClockEstimate
from turnout.protocol.clock import Instant, MonotonicNs
from turnout.protocol.effects import Activate, AgentEffect, Prove, Send, Stage
from turnout.protocol.events import Refusal
from turnout.protocol.frozenmap import FrozenMap
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
from turnout.protocol.limits import Timing
from turnout.protocol.messages import Progress, Up
from turnout.protocol.records import Active, AgentRecord, Head, SignedTable
from turnout.protocol.replacing import replaced
from turnout.protocol.routing import Colour, RoutingTable
from turnout.protocol.signing import Verifier
from turnout.protocol.timers import Timers
from turnout.protocol.transitions import PROGRESS, VOTING, Cause, Voting

DUE = "due"
"""The newest commit's activation time."""

RETRY = "retry"
"""Until then a refused staging or flip of a commit is not tried again."""

REPROVE = "reprove"
"""Until then failed probes are not repeated."""

JOURNAL = "journal"
"""Until then a failed record of a flip is not written again."""

REPORT = "report"
"""The next report that no change asks for."""


HEARSAY = frozenset({"head", "clock", "linked", "mistrust"})
"""Fields about leaders: no phase is worked out from them, nor what the proxy is to do next."""

VOTED_BY = frozenset({"record", "candidate", "staged_lost"})
"""All that ``ParticipantState.voting`` is worked out from."""

PROGRESSED_BY = frozenset({"record", "serving", "live_ns", "trouble", "operation", "timers"})
"""All that ``ParticipantState.progress`` is worked out from."""

NOTHING = Active()
"""What a proxy serves that was never told anything."""


@frozen(kw_only=True)
class ParticipantConfig:
    """Who the agent is; ``domain_key`` (hex) verifies heads, tables and incarnations."""

    agent: AgentId
    region: Region
    domain_key: str
    timing: Timing = Timing()


@frozen(kw_only=True)
class Slot:
    """The proxy's single place for a table beside the live one, and what is ready in it."""

    epoch: Epoch
    digest: Digest


@frozen(kw_only=True)
class Candidate:
    """The newest prepare that passed the gate and has no yes; ``refusal`` is the no it got."""

    epoch: Epoch
    digest: Digest
    term: Term
    refusal: Refusal | None = None


@frozen(kw_only=True)
class LeaderClock:
    """What is known of one leader's clock."""

    term: Term
    replica: ReplicaId
    estimate: ClockEstimate = ClockEstimate()


@frozen(kw_only=True)
class Drain:
    """One source that finishes what it has.

    Attributes:
        epoch: whose flip began it.
        in_flight: as counted last.
        close: what is left at the timeout is closed.
        left_ns: what was left of its time when it was paused; None while it runs or has ended.
        ended: none, empty, timeout or closed.
    """

    epoch: Epoch
    service: ServiceName
    colour: Colour
    close: bool
    in_flight: int = 0
    left_ns: int | None = None
    ended: str = ""

    @property
    def timer(self) -> str:
        """The name of its deadline."""
        return f"drain {self.service} {self.colour}"

    @property
    def is_running(self) -> bool:
        """Whether the source is being watched."""
        return self.left_ns is None and not self.ended


@frozen(kw_only=True, slots=False)
class ParticipantState:
    """An agent's machine at rest. Not slotted: see ``replacing.py``.

    Attributes:
        record: what is in the journal.
        tables: what is on disk.
        head: the newest head verified since the start.
        serving: what the proxy serves, as far as it told; rises only, but for its restart.
        slot: what is ready in the proxy beside the live table.
        operation: the one changing operation of the proxy under way.
        proof: the probing under way.
        before: the digest that served before ``record.active``.
        ahead: the proxy may have served what the journal does not say, and which colours it has left
            is not known: at the start it was found above ``record.active``, or may have been told to
            flip; or it was told to, and was not seen to in time. So until it serves a table that is on disk.
        staged_lost: why what was prepared could not be staged again.
        trouble: what proxy or probes last said against the newest commit.
        flipped_ns, live_ns: when ``record.active`` flipped and was proven; None: not (yet) here.
        mistrust: why what coordinators say is not believed; empty while it is.
        linked: whether a stream to a leader is open.
    """

    record: AgentRecord = AgentRecord(journal_id="")
    tables: FrozenMap[Digest, SignedTable] = FrozenMap()
    head: Head | None = None
    serving: Active = Active()
    slot: Slot | None = None
    operation: Stage | Activate | None = None
    proof: Prove | None = None
    before: Digest = NO_DIGEST
    ahead: bool = False
    candidate: Candidate | None = None
    staged_lost: str = ""
    trouble: str = ""
    flipped_ns: MonotonicNs | None = None
    live_ns: MonotonicNs | None = None
    drains: tuple[Drain, ...] = ()
    mistrust: str = ""
    linked: bool = False
    clock: LeaderClock | None = None
    timers: Timers = Timers()

    @property
    def newest(self) -> Active:
        """What the proxy serves once the newest journalled commit is in force."""
        return self.record.committed.active if self.record.committed else NOTHING

    @property
    def wanted(self) -> Active:
        """What the proxy should serve at this moment: never below what it was told (S5)."""
        return self.record.active if self.timers.armed(DUE) else self.newest

    @property
    def estimate(self) -> ClockEstimate:
        """What is known of the leader's clock."""
        return self.clock.estimate if self.clock else ClockEstimate()

    def table(self, digest: Digest) -> RoutingTable | None:
        """Return a table that is on disk, or None."""
        held = self.tables.get(digest)
        return held.table if held else None

    @property
    def voting(self) -> Voting:
        """Where the agent stands with the epoch being prepared."""
        if self.record.prepared is not None:
            return Voting.LOST if self.staged_lost else Voting.PREPARED
        if self.candidate is not None:
            return Voting.REFUSED if self.candidate.refusal else Voting.STAGING
        return Voting.IDLE

    @property
    def progress(self) -> Progress:
        """Where it is with the newest commit."""
        newest = self.newest
        if self.record.committed is None:
            return Progress.NOTHING
        if self.serving == newest:
            return Progress.PROVING if self.live_ns is None else Progress.LIVE
        if self.trouble:
            return Progress.DIVERGED
        flip = self.operation
        if isinstance(flip, Activate) and (flip.incarnation, flip.epoch) == newest.rank:
            return Progress.FLIPPING
        return Progress.WAITING if self.timers.armed(DUE) else Progress.STAGING


class Turn:
    """One step under way: the state so far and the effects asked for. It never leaves the step."""

    def __init__(
        self,
        config: ParticipantConfig,
        verifier: Verifier,
        state: ParticipantState,
        now: Instant,
    ) -> None:
        self.config = config
        self.verifier = verifier
        self.state = state
        self.now = now
        self.effects: list[AgentEffect] = []
        self.has_news = False
        """Whether the leader is to get a report at the end of the step."""
        self.has_moved = False
        """Whether anything changed by which it is known what to do next (``serving.py``)."""

    def ask(self, *effects: AgentEffect) -> None:
        """Append effects, in the order in which they must be carried out."""
        self.effects.extend(effects)

    def send(self, message: Up) -> None:
        """Send upward, if anybody is there to hear it."""
        if self.state.linked:
            self.ask(Send(message=message))

    def change(self, cause: Cause | None = None, **changes: object) -> None:
        """Replace fields of the state; without a cause, no phase may change.

        Raises:
            IllegalTransition: a table has no row for what the change does to its phase.
        """
        before = self.state
        self.state = after = replaced(before, changes)
        if not HEARSAY.issuperset(changes):
            self.has_moved = True
        if not VOTED_BY.isdisjoint(changes):
            VOTING.check(before.voting, cause, after.voting)
        if not PROGRESSED_BY.isdisjoint(changes):
            PROGRESS.check(before.progress, cause, after.progress)

    def arm(self, name: str, delay_ns: int) -> None:
        """Arm a deadline, this long from now."""
        self._time(name, self.state.timers.arm(name, self.now.monotonic_ns + delay_ns))

    def disarm(self, name: str) -> None:
        """Disarm a deadline."""
        self._time(name, self.state.timers.disarm(name))

    def _time(self, name: str, timers: Timers) -> None:
        """A report's deadline moves nothing on, and no phase depends on any but the commit's."""
        assert name != DUE, "a commit's time changes with a cause"
        self.state = replaced(self.state, {"timers": timers})
        self.has_moved = self.has_moved or name != REPORT
