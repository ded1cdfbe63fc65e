"""What a coordinator knows: one frozen value. All of it can be read again from store and agents.

Nothing here must survive a crash: a new leader reads the store, and agents report themselves
(etcd-io/raft's split of hard and soft state, with etcd as the hard one).
"""

from __future__ import annotations

import enum
from bisect import bisect_left

from attrs import field, frozen

from turnout.protocol.clock import ClockNs, Instant
from turnout.protocol.codec import canonical_bytes
from turnout.protocol.effects import CoordinatorEffect, Operation
from turnout.protocol.events import QueuedRequest, Requested, WaiveRequested
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.identifiers import (
    NO_TERM,
    AgentId,
    Digest,
    Epoch,
    Region,
    ReplicaId,
    Term,
)
from turnout.protocol.limits import Timing
from turnout.protocol.messages import Report, Vote
from turnout.protocol.records import (
    AgentEntry,
    Decision,
    Head,
    Incarnation,
    IncarnationRecord,
    Intent,
    Outcome,
    RequestRecord,
    SignedTable,
    Standing,
    StandingEntry,
    Status,
)
from turnout.protocol.replacing import replaced
from turnout.protocol.signing import Signer, Verifier
from turnout.protocol.timers import Timers
from turnout.protocol.transactions import Transaction
from turnout.protocol.transitions import SwitchPhase
from turnout.protocol.writes import Reign


class Role(enum.StrEnum):
    """What a replica is doing."""

    FOLLOWER = "follower"
    TAKING_OVER = "taking-over"
    LEADING = "leading"
    HALTED = "halted"
    """Holds the leader key but decides nothing: the store went back (S11) or is not a domain."""


@frozen(kw_only=True)
class CoordinatorConfig:
    """What a replica is started with."""

    replica: ReplicaId
    timing: Timing = Timing()
    signer: Signer = field(eq=False)
    verifier: Verifier = field(eq=False)


@frozen(kw_only=True)
class Fleet:
    """The enrolled agents, and the standing of those that are not good, as of one revision."""

    revision: int = 0
    agents: FrozenMap[AgentId, AgentEntry] = FrozenMap()
    standing: FrozenMap[AgentId, StandingEntry] = FrozenMap()

    def status(self, agent: AgentId) -> Status:
        """The agent's standing; whoever is not named is good."""
        entry = self.standing.get(agent)
        return entry.status if entry else Status.GOOD

    def with_status(self, status: Status) -> tuple[AgentId, ...]:
        """The agents that are not good and of this standing, sorted."""
        return tuple(sorted(a for a, e in self.standing.items() if e.status is status))

    @property
    def good(self) -> tuple[AgentId, ...]:
        """The good agents, sorted."""
        return tuple(sorted(a for a in self.agents if a not in self.standing))

    @property
    def excluded_regions(self) -> tuple[Region, ...]:
        """The regions that have an excluded agent, sorted."""
        excluded = self.with_status(Status.EXCLUDED)
        return tuple(sorted({self.agents[a].region for a in excluded}))

    def marked(
        self, agents: tuple[AgentId, ...], status: Status, reason: str
    ) -> FrozenMap[AgentId, StandingEntry]:
        """Standing with these agents marked; good ones are no longer named."""
        others = set(self.standing) - set(agents)
        entries = {a: e for a, e in self.standing.items() if a in others}
        if status is not Status.GOOD:
            for agent in agents:
                entries[agent] = StandingEntry(agent=agent, status=status, reason=reason)
        return FrozenMap(dict(sorted(entries.items())))


def standing_record(entries: FrozenMap[AgentId, StandingEntry]) -> Standing:
    """The stored form of a standing, sorted by agent."""
    return Standing(entries=tuple(entries[agent] for agent in sorted(entries)))


@frozen(kw_only=True)
class Attempt:
    """An epoch being prepared or decided.

    Attributes:
        body: digest of the request as it was asked, with its table.
        required: the agents asked, sorted; fixed in the intent.
        marked: standing as the accept transaction writes it (a rollback's), else None.
        accepted_at_ns: when the accept transaction was known to have won; None before.
        yes, no: votes of this leader's own term, from required agents only.
        deciding: the decision on its way to the store; once sent it is repeated until known.
        overdue: its time to collect votes is over.
        tickets: who is to be told once it is accepted.
    """

    intent: Intent
    body: Digest
    table: SignedTable
    stored: bool
    required: tuple[AgentId, ...]
    marked: FrozenMap[AgentId, StandingEntry] | None = None
    phase: SwitchPhase = SwitchPhase.PREPARING
    accepted_at_ns: ClockNs | None = None
    yes: FrozenMap[AgentId, Vote] = FrozenMap()
    no: FrozenMap[AgentId, Vote] = FrozenMap()
    deciding: Decision | None = None
    abort_wanted: str = ""
    overdue: bool = False
    tickets: tuple[int, ...] = ()

    @property
    def epoch(self) -> Epoch:
        """The epoch attempted."""
        return self.intent.epoch

    def asks(self, agent: AgentId) -> bool:
        """Whether the agent is required; found by halving, since it is asked at every message."""
        place = bisect_left(self.required, agent)
        return place < len(self.required) and self.required[place] == agent

    @property
    def is_answered(self) -> bool:
        """Whether every required agent has answered: counted, since it is asked at every vote."""
        return len(self.yes) + len(self.no) == len(self.required)

    @property
    def silent(self) -> tuple[AgentId, ...]:
        """Required agents that have not answered, sorted."""
        return tuple(a for a in self.required if a not in self.yes and a not in self.no)


@frozen(kw_only=True)
class Landed:
    """When one agent flipped and was proven live, on this leader's clock."""

    flipped_at_ns: ClockNs | None
    live_at_ns: ClockNs
    bound_ns: int | None
    late: bool


@frozen(kw_only=True)
class Following:
    """A committed epoch, from its decision until its source is released.

    Attributes:
        required: the agents that the intent asked.
        outcome: None until it is written.
        writing: the outcome on its way to the store; it is computed once. ``marking``: the agents
            that it marks stale.
        live: agents known to be live at this epoch or a later one.
        diverged: agents whose proxy refused it, with its words.
        drained: agents whose drains of this epoch all ended; ``waived``: by an operator's word.
        taken_over: whether another leader accepted it: its times carry both clocks' bounds.
    """

    intent: Intent
    decision: Decision
    required: tuple[AgentId, ...]
    phase: SwitchPhase = SwitchPhase.COMMITTED
    outcome: Outcome | None = None
    writing: Outcome | None = None
    marking: tuple[AgentId, ...] = ()
    live: FrozenMap[AgentId, Landed] = FrozenMap()
    diverged: FrozenMap[AgentId, str] = FrozenMap()
    drained: FrozenMap[AgentId, bool] = FrozenMap()
    waived: tuple[AgentId, ...] = ()
    overdue: bool = False
    taken_over: bool = False

    @property
    def epoch(self) -> Epoch:
        """The committed epoch."""
        return self.decision.epoch


@frozen(kw_only=True, slots=False)
class CoordinatorState:
    """All that one replica knows. Not slotted: see ``replacing.py``.

    Attributes:
        incarnation: as stored, with its exact bytes in ``reign``.
        reports: each agent's last report, kept when its stream ends.
        connected: agents with an open stream, in order of arrival.
        tables: those in memory by digest: head's, the one before, and what was looked up.
        library: decisions looked up, by epoch.
        requests: idempotency keys and what they became.
        continuing: the intent that a new leader found, until its required set is known again.
        attempt: at most one.
        doubtful: a prepare may be out for the number after head, which has no intent (H3);
            ``burning``: the abort that a new leader writes for it.
        following: committed epochs not yet released, by epoch.
        undo_next: the rollback that asked for the abort of the attempt, once for each time that it
            was sent; goes on if commit wins.
        waiting: requests that wait for the attempt or for a fleet change to end, in order.
        pending: transactions sent and not known to have won or lost.
        unanswered: those of them that are to be sent again, no reply having come.
        waiving: waivers to be written, one after another.
        proof: the newest signed head that an agent showed and the store may not know of (S11).
        fleet_change: the fleet as it will be if the change on its way to the store wins.
    """

    role: Role = Role.FOLLOWER
    term: Term = NO_TERM
    incarnation: IncarnationRecord | None = None
    head: Head | None = None
    fleet: Fleet = Fleet()
    reports: FrozenMap[AgentId, Report] = FrozenMap()
    connected: FrozenMap[AgentId, bool] = FrozenMap()
    tables: FrozenMap[Digest, SignedTable] = FrozenMap()
    library: FrozenMap[Epoch, Decision] = FrozenMap()
    requests: FrozenMap[str, RequestRecord] = FrozenMap()
    continuing: Intent | None = None
    attempt: Attempt | None = None
    doubtful: bool = False
    burning: Decision | None = None
    following: FrozenMap[Epoch, Following] = FrozenMap()
    undo_next: tuple[Requested, ...] = ()
    waiting: tuple[QueuedRequest, ...] = ()
    looking_up: Requested | None = None
    waiving: tuple[WaiveRequested, ...] = ()
    proof: Head | None = None
    fleet_change: FleetChange | None = None
    pending: FrozenMap[Operation, Transaction] = FrozenMap()
    unanswered: tuple[Operation, ...] = ()
    timers: Timers = Timers()
    trouble: str = ""

    @property
    def known_incarnation(self) -> Incarnation | None:
        """Number and id of the domain's incarnation; None before takeover."""
        return self.incarnation.incarnation if self.incarnation else None

    @property
    def unfinished(self) -> Following | None:
        """The first committed epoch that has no outcome yet, if any."""
        for following in self.following.values():
            if following.outcome is None:
                return following
        return None

    @property
    def needed_tables(self) -> frozenset[Digest]:
        """Digests of the tables that this leader never deletes.

        They are head's and the one before, and those of the commits that are followed.
        """
        needed = {self.head.digest, self.head.base} if self.head else set()
        for following in self.following.values():
            needed |= {following.intent.digest, following.intent.base}
        return frozenset(needed)

    @property
    def newest(self) -> Following | None:
        """The newest committed epoch, if it is still followed."""
        return self.following.get(self.head.committed) if self.head else None


@frozen(kw_only=True)
class FleetChange:
    """A change of the fleet on its way to the store."""

    fleet: Fleet
    text: str
    ticket: int | None = None


class Turn:
    """One step under way: the state so far and the effects asked for. It never leaves the step."""

    def __init__(self, config: CoordinatorConfig, state: CoordinatorState, now: Instant) -> None:
        self.config = config
        self.state = state
        self.now = now
        self.effects: list[CoordinatorEffect] = []

    def ask(self, *effects: CoordinatorEffect) -> None:
        """Append effects, in the order in which they must be carried out."""
        self.effects.extend(effects)

    def change(self, **changes: object) -> None:
        """Replace fields of the state: some fifty times in a switch of ten agents."""
        self.state = replaced(self.state, changes)

    def arm(self, name: str, delay_ns: int) -> None:
        """Arm a deadline, this long from now."""
        at = self.now.monotonic_ns + max(0, delay_ns)
        self.change(timers=self.state.timers.arm(name, at))

    def arm_earlier(self, name: str, delay_ns: int) -> None:
        """Arm a deadline, unless it is armed for an earlier moment."""
        at = dict(self.state.timers.due).get(name)
        if at is None or at > self.now.monotonic_ns + delay_ns:
            self.arm(name, delay_ns)

    def disarm(self, name: str) -> None:
        """Disarm a deadline."""
        if self.state.timers.armed(name):
            self.change(timers=self.state.timers.disarm(name))

    @property
    def head(self) -> Head:
        """The head; a leader always has one."""
        assert self.state.head is not None
        return self.state.head

    @property
    def reign(self) -> Reign:
        """The guards of every write."""
        assert self.state.incarnation is not None
        return Reign(term=self.state.term, incarnation=canonical_bytes(self.state.incarnation))

    @property
    def fleet_guard(self) -> int:
        """The mod-revision that ``standing`` must still have."""
        return self.state.fleet.revision
