"""Hosts for both machines as immutable values: disk, proxy, memory, and what they asked for.

A host carries out effects exactly in their order and may crash after any of them. What outlives a
crash is its disk (the real journal bytes) and its proxy; the ghosts are for the checker only.
"""

from __future__ import annotations

from attrs import evolve, frozen

from simulator.signers import CheapSigner, CheapVerifier
from turnout.protocol import journal
from turnout.protocol.clock import ZERO, Instant, MonotonicNs
from turnout.protocol.coordinator import Coordinator
from turnout.protocol.coordinator_state import CoordinatorConfig, CoordinatorState
from turnout.protocol.effects import (
    Activate,
    AgentEffect,
    CoordinatorEffect,
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
    CoordinatorEvent,
    LinkUp,
    Proven,
    Refusal,
    Staged,
    Wake,
)
from turnout.protocol.identifiers import AgentId, Digest, Epoch, Region, ReplicaId, Term
from turnout.protocol.invariants import Answered, Yes
from turnout.protocol.limits import Timing
from turnout.protocol.messages import Up, Vote
from turnout.protocol.participant import Participant
from turnout.protocol.participant_state import ParticipantConfig, ParticipantState
from turnout.protocol.records import Active, AgentRecord, SignedTable
from turnout.protocol.signing import signed
from turnout.protocol.timers import Timers

TIMING = Timing()
DOMAIN = CheapSigner("domain")
FAR = MonotonicNs(10**18)
"""Where every armed deadline is moved to between steps: which of them comes first is the
scheduler's free choice, so that no timing assumption can hide a fault."""


def agent_key(agent: AgentId) -> CheapSigner:
    """An agent's signer."""
    return CheapSigner(f"agent {agent}")


@frozen(kw_only=True)
class Disk:
    """What an agent's disk holds after its last fsync."""

    journal: bytes = b""
    tables: tuple[SignedTable, ...] = ()
    replaced: int = 0

    @property
    def record(self) -> AgentRecord:
        """The record that a boot reads: a fresh one, with a new journal id, on a new disk."""
        recovered = journal.recover(self.journal)
        return recovered.record or AgentRecord(journal_id=f"journal-{self.replaced}")


@frozen(kw_only=True)
class Ghosts:
    """What the checker remembers of an agent, whatever the agent forgets."""

    served: tuple[Active, ...] = ()
    unjournalled: tuple[Epoch, ...] = ()
    yes: tuple[Yes, ...] = ()
    answered: tuple[Answered, ...] = ()
    promised: tuple[tuple[str, int], ...] = ()


@frozen(kw_only=True)
class AgentNode:
    """One agent's host."""

    agent: AgentId
    region: Region = Region("eu")
    state: ParticipantState = ParticipantState()
    disk: Disk = Disk()
    serving: Active = Active()
    staged: Digest | None = None
    operations: tuple[Stage | Activate | Prove, ...] = ()
    ghosts: Ghosts = Ghosts()


class AgentHost:
    """Carries out an agent's effects on its node."""

    def __init__(self, agent: AgentId, region: Region, timing: Timing = TIMING) -> None:
        config = ParticipantConfig(
            agent=agent, region=region, domain_key=DOMAIN.public_key, timing=timing
        )
        self.agent, self.region = agent, region
        self.machine = Participant(config, CheapVerifier())
        self.signer = agent_key(agent)

    def step(
        self, node: AgentNode, event: AgentEvent, now: Instant = ZERO, *, effects: int | None = None
    ) -> tuple[AgentNode, tuple[Up, ...]]:
        """Take one event and carry out its effects, or only the first ``effects`` of them."""
        state, asked = self.machine.step(node.state, event, now)
        node = evolve(node, state=state)
        sent: list[Up] = []
        for effect in asked if effects is None else asked[:effects]:
            node = self._carry_out(node, effect, sent)
        return node, tuple(sent)

    def count_effects(self, node: AgentNode, event: AgentEvent, now: Instant = ZERO) -> int:
        """How many effects the event asks for: a crash may come before any of them."""
        return len(self.machine.step(node.state, event, now)[1])

    def _carry_out(self, node: AgentNode, effect: AgentEffect, sent: list[Up]) -> AgentNode:
        match effect:
            case Persist():
                return self._persist(node, effect.record)
            case SaveTable():
                tables = {t.digest: t for t in (*node.disk.tables, effect.table)}
                kept = tuple(tables[d] for d in sorted(tables))
                return evolve(node, disk=evolve(node.disk, tables=kept))
            case Send():
                sent.append(signed(effect.message, self.signer))
                return self._witness(node, effect.message)
            case Stage() | Activate() | Prove():
                return evolve(node, operations=(*node.operations, effect))
            case _:
                return node

    @staticmethod
    def _persist(node: AgentNode, record: AgentRecord) -> AgentNode:
        promises = dict(node.ghosts.promised)
        greatest = max(promises.get(record.journal_id, 0), record.promised)
        promises[record.journal_id] = greatest
        ghosts = evolve(node.ghosts, promised=tuple(sorted(promises.items())))
        return evolve(node, disk=evolve(node.disk, journal=journal.encode(record)), ghosts=ghosts)

    @staticmethod
    def _witness(node: AgentNode, message: Up) -> AgentNode:
        """Remember a vote: whether its promise was on disk when it left, and its term."""
        if not isinstance(message, Vote):
            return node
        ghosts, record = node.ghosts, node.disk.record
        greatest = Term(dict(ghosts.promised).get(message.journal_id, 0))
        if message.term < greatest:
            vote = Answered(epoch=message.epoch, term=message.term, promised=greatest)
            ghosts = evolve(ghosts, answered=(*ghosts.answered, vote))
        prepared = record.prepared
        if message.no is None and prepared is not None:
            yes = Yes(
                epoch=prepared.epoch,
                digest=prepared.digest,
                term=prepared.term,
                journal_id=record.journal_id,
            )
            if yes not in ghosts.yes:
                ghosts = evolve(ghosts, yes=(*ghosts.yes, yes))
        return evolve(node, ghosts=ghosts)

    # --- the proxy ---------------------------------------------------------------------------

    def finish(
        self,
        node: AgentNode,
        index: int,
        *,
        refusal: Refusal | None = None,
        now: MonotonicNs = MonotonicNs(0),  # noqa: B008 - a number
    ) -> tuple[AgentNode, AgentEvent]:
        """Let the proxy finish an operation; return the event that tells the machine."""
        operation = node.operations[index]
        rest = node.operations[:index] + node.operations[index + 1 :]
        node = evolve(node, operations=rest)
        if isinstance(operation, Prove):
            failure = None if node.serving.epoch == operation.epoch else "another epoch is served"
            return node, Proven(epoch=operation.epoch, failure=failure, proven_ns=now)
        if isinstance(operation, Stage):
            if refusal is None:
                node = evolve(node, staged=operation.digest)
            event: AgentEvent = Staged(
                epoch=operation.epoch,
                digest=operation.digest,
                refusal=refusal,
            )
            return node, event
        if refusal is None:
            node = self.flip(node, operation)
        return node, Activated(
            epoch=operation.epoch,
            digest=operation.digest,
            refusal=refusal,
            flipped_ns=now,
        )

    @staticmethod
    def flip(node: AgentNode, operation: Activate) -> AgentNode:
        """The proxy changes; the ghosts note whether the commit was on disk before."""
        active = Active(
            incarnation=operation.incarnation, epoch=operation.epoch, digest=operation.digest
        )
        ghosts = evolve(node.ghosts, served=(*node.ghosts.served, active))
        if node.disk.record.committed_epoch < active.epoch:
            ghosts = evolve(ghosts, unjournalled=(*ghosts.unjournalled, active.epoch))
        return evolve(node, serving=active, staged=None, ghosts=ghosts)

    # --- crash and boot ----------------------------------------------------------------------

    def restart(
        self,
        node: AgentNode,
        *,
        proxy_too: bool = False,
        link: bool = True,
        now: Instant = ZERO,
    ) -> tuple[AgentNode, tuple[Up, ...]]:
        """Crash, lose everything but disk and proxy, and boot."""
        node = evolve(node, state=ParticipantState(), operations=())
        if proxy_too:
            node = evolve(node, staged=None)
        booted = Booted(record=node.disk.record, tables=node.disk.tables, serving=node.serving)
        node, sent = self.step(node, booted, now)
        if not link:
            return node, sent
        node, more = self.step(node, LinkUp(), now)
        return node, (*sent, *more)


class ReplicaHost:
    """Steps a coordinator's machine; its effects are the world's business."""

    def __init__(self, replica: ReplicaId, timing: Timing = TIMING) -> None:
        self.replica = replica
        config = CoordinatorConfig(
            replica=replica, timing=timing, signer=DOMAIN, verifier=CheapVerifier()
        )
        self.machine = Coordinator(config)

    def step(
        self, state: CoordinatorState, event: CoordinatorEvent, now: Instant = ZERO
    ) -> tuple[CoordinatorState, tuple[CoordinatorEffect, ...]]:
        """Take one event."""
        return self.machine.step(state, event, now)


def only_due(timers: Timers, name: str) -> Timers:
    """The same deadlines, with one of them due now and the others far away."""
    due = tuple((n, MonotonicNs(0) if n == name else FAR) for n, _ in timers.due)
    return evolve(timers, due=due)


def far(timers: Timers) -> Timers:
    """The same deadlines, all far away."""
    return evolve(timers, due=tuple((n, FAR) for n, _ in timers.due))


WAKE = Wake()
