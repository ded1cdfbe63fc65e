"""The invariants S1-S11 and L1-L3 as predicates over a picture of the whole (DESIGN.md section 7).

Simulator, chaos harness, exploration and tests all call these. A harness fills a :class:`Picture`
from what it observed, *ghosts* included: the greatest promise ever made, every table a proxy ever
served, every write with the leader key as it stood. A node that forgets cannot testify against
itself, so nothing here is read from a node's own memory alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import frozen

from turnout.protocol.clock import SECOND
from turnout.protocol.identifiers import AgentId, Digest, Epoch, Term
from turnout.protocol.records import Active, Decision, Kind, Status, Verdict


@frozen
class Violation:
    """One invariant broken: its number, and what was seen."""

    number: str
    text: str


@frozen(kw_only=True)
class Yes:
    """A yes as the agent's disk held it when the vote left: a ghost, never forgotten."""

    epoch: Epoch
    digest: Digest
    term: Term
    journal_id: str


@frozen(kw_only=True)
class Answered:
    """A vote as it left the agent, with the greatest promise ever made in that journal."""

    epoch: Epoch
    term: Term
    promised: Term


@frozen(kw_only=True)
class Ruling:
    """A decision that was written, and who had to agree to it.

    Attributes:
        required: the intent's agents, each with the journal id registered for it then; empty
            where there was no intent.
        held: those whose disk still held their yes when the decision was written; None where
            the harness could not see it.
        leader_term: create-revision of the leader key in that very transaction; None if absent.
    """

    decision: Decision
    required: tuple[tuple[AgentId, str], ...] = ()
    held: tuple[AgentId, ...] | None = None
    leader_term: Term | None


@frozen(kw_only=True)
class AgentPicture:
    """One agent, seen from outside.

    Attributes:
        served: every table that its proxy ever served, in order (a ghost).
        unjournalled: epochs that it flipped to before their commit was on its disk (a ghost).
        yes, answered: ghosts of its votes.
    """

    agent: AgentId
    standing: Status
    served: tuple[Active, ...] = ()
    unjournalled: tuple[Epoch, ...] = ()
    yes: tuple[Yes, ...] = ()
    answered: tuple[Answered, ...] = ()

    @property
    def serving(self) -> Active:
        """What its proxy serves now."""
        return self.served[-1] if self.served else Active()


@frozen(kw_only=True)
class Picture:
    """The whole at one moment of one incarnation.

    Attributes:
        rulings: every decision ever written, in order (a ghost: an overwritten one stays).
        named: every (epoch, digest) seen in any record or message (a ghost).
        told: (epoch, verdict) of every decision that any message announced (a ghost).
    """

    rulings: tuple[Ruling, ...] = ()
    agents: tuple[AgentPicture, ...] = ()
    named: tuple[tuple[Epoch, Digest], ...] = ()
    told: tuple[tuple[Epoch, Verdict], ...] = ()
    foreign_writes: tuple[str, ...] = ()


def _commits(picture: Picture) -> tuple[Ruling, ...]:
    return tuple(r for r in picture.rulings if r.decision.verdict is Verdict.COMMIT)


def s1_flip_follows_commit(picture: Picture) -> Iterator[str]:
    """No agent flips to (epoch, digest) without an earlier commit decision for it."""
    committed = {(r.decision.epoch, r.decision.digest) for r in _commits(picture)}
    for agent in picture.agents:
        for table in agent.served:
            if table.epoch > 0 and (table.epoch, table.digest) not in committed:
                yield f"{agent.agent} served epoch {table.epoch}, which was not committed"
        for epoch in agent.unjournalled:
            yield f"{agent.agent} flipped to epoch {epoch} before its commit was on its disk"


def s2_one_decision(picture: Picture) -> Iterator[str]:
    """At most one decision and one digest per epoch, in every record and message ever seen."""
    verdicts: dict[Epoch, set[str]] = {}
    for ruling in picture.rulings:
        verdicts.setdefault(ruling.decision.epoch, set()).add(ruling.decision.verdict)
    for epoch, verdict in picture.told:
        verdicts.setdefault(epoch, set()).add(verdict)
    for epoch, seen in sorted(verdicts.items()):
        if len(seen) > 1:
            yield f"epoch {epoch} was decided as {' and as '.join(sorted(seen))}"
    digests: dict[Epoch, set[Digest]] = {}
    for epoch, digest in picture.named:
        digests.setdefault(epoch, set()).add(digest)
    for epoch, names in sorted(digests.items()):
        if len(names) > 1:
            yield f"epoch {epoch} had {len(names)} digests"


def s2_announced_is_recorded(picture: Picture) -> Iterator[str]:
    """What a message announces as decided is on record: nobody is told before the store's reply."""
    recorded = {(r.decision.epoch, r.decision.verdict) for r in picture.rulings}
    for epoch, verdict in picture.told:
        if (epoch, verdict) not in recorded:
            yield f"{verdict} of epoch {epoch} was announced, but is on no record"


def s3_commit_has_every_yes(picture: Picture) -> Iterator[str]:
    """A commit implies a durable yes of its whole required set, given in the deciding term."""
    given = {agent.agent: agent.yes for agent in picture.agents}
    for ruling in _commits(picture):
        decision = ruling.decision
        if decision.absent and decision.kind is not Kind.ROLLBACK:
            yield f"epoch {decision.epoch} committed with agents absent, but is no rollback"
        for agent, journal_id in ruling.required:
            if agent in decision.absent:
                continue
            wanted = Yes(
                epoch=decision.epoch,
                digest=decision.digest,
                term=decision.term,
                journal_id=journal_id,
            )
            if wanted not in given.get(agent, ()):
                yield f"epoch {decision.epoch} committed without the durable yes of {agent}"
            elif ruling.held is not None and agent not in ruling.held:
                yield f"epoch {decision.epoch} committed after {agent} had lost its yes"
        if not {a for a, _ in ruling.required} - set(decision.absent):
            yield f"epoch {decision.epoch} committed by nobody's yes"


def s4_fencing(picture: Picture) -> Iterator[str]:
    """Every write carries the leader key as it stands; no vote below the promised term."""
    for ruling in picture.rulings:
        if ruling.leader_term != ruling.decision.term:
            yield (
                f"epoch {ruling.decision.epoch} was decided in term {ruling.decision.term}, "
                f"while the leader key was {ruling.leader_term}"
            )
    yield from picture.foreign_writes
    for agent in picture.agents:
        for vote in agent.answered:
            if vote.term < vote.promised:
                yield f"{agent.agent} voted in term {vote.term} after promising {vote.promised}"


def s5_served_only_rises(picture: Picture) -> Iterator[str]:
    """What a proxy serves never falls, and every flip raises it."""
    for agent in picture.agents:
        for before, after in zip(agent.served, agent.served[1:], strict=False):
            if after.rank <= before.rank:
                yield f"{agent.agent} went from epoch {before.epoch} to {after.epoch}"


def s6_never_empty(picture: Picture) -> Iterator[str]:
    """From its first activation on a proxy serves a complete, non-empty, committed table."""
    for agent in picture.agents:
        if any(not table.digest for table in agent.served):
            yield f"{agent.agent} served an empty table after its first activation"


def s7_two_tables_live(picture: Picture) -> Iterator[str]:
    """At most two tables, those of the newest two commits, are live among agents in good standing."""
    commits = _commits(picture)
    newest = sorted({(r.decision.epoch, r.decision.digest) for r in commits})[-2:]
    allowed = {digest for _, digest in newest}
    if len(newest) == 1 or not newest:
        allowed.add(Digest(""))
    for agent in picture.agents:
        if agent.standing is Status.GOOD and agent.serving.digest not in allowed:
            yield (
                f"{agent.agent} is good and serves epoch {agent.serving.epoch}, "
                "which is not of the newest two commits"
            )


SAFETY: tuple[tuple[str, Callable[[Picture], Iterator[str]]], ...] = (
    ("S1", s1_flip_follows_commit),
    ("S2", s2_one_decision),
    ("S2", s2_announced_is_recorded),
    ("S3", s3_commit_has_every_yes),
    ("S4", s4_fencing),
    ("S5", s5_served_only_rises),
    ("S6", s6_never_empty),
    ("S7", s7_two_tables_live),
)


def judge(picture: Picture) -> tuple[Violation, ...]:
    """Return every safety violation in the picture, by number."""
    return tuple(
        Violation(number, text) for number, predicate in SAFETY for text in predicate(picture)
    )


# --- S8 to S11: over what a run recorded --------------------------------------------------------


@frozen(kw_only=True)
class ScheduledFlip:
    """One agent's flip of a scheduled commit that it received in time from its decider."""

    agent: AgentId
    flipped_true_ns: int
    bound_ns: int
    bound_held: bool


def s8_skew_within_bounds(flips: tuple[ScheduledFlip, ...], *, jitter_ns: int) -> Iterator[str]:
    """Scheduled flips differ at most by the sum of two bounds plus timer jitter."""
    honest = sorted((f for f in flips if f.bound_held), key=lambda f: f.agent)
    for i, first in enumerate(honest):
        for second in honest[i + 1 :]:
            skew = abs(first.flipped_true_ns - second.flipped_true_ns)
            allowed = first.bound_ns + second.bound_ns + jitter_ns
            if skew > allowed:
                yield (
                    f"{first.agent} and {second.agent} flipped {skew} ns apart, "
                    f"above {allowed} ns of their bounds"
                )


@frozen(kw_only=True)
class SourceRequest:
    """A request that reached a source after its edge had flipped away from it."""

    agent: AgentId
    epoch: Epoch
    sent_after_flip: bool
    by_affinity: bool
    during_drain: bool


def s9_source_gets_nothing_new(requests: tuple[SourceRequest, ...]) -> Iterator[str]:
    """No new request to the source after the flip, but by affinity and until the drain ends."""
    for request in requests:
        if request.sent_after_flip and not (request.by_affinity and request.during_drain):
            yield f"{request.agent} sent a new request to the source after epoch {request.epoch}"


def s10_replay_changes_nothing(before: object, after: object, what: str) -> Iterator[str]:
    """A replayed, duplicated, reordered or forged message leaves what is durable as it was."""
    if before != after:
        yield f"{what} changed what was durable"


def s11_no_decision_after_restore(
    *, restored_to: Epoch, proven: Epoch, decided: tuple[Epoch, ...]
) -> Iterator[str]:
    """After a restore that goes back nothing is decided until a new incarnation is signed."""
    if proven > restored_to:
        for epoch in decided:
            yield f"epoch {epoch} was decided over a store that had lost epoch {proven}"


# --- liveness: over what a run measured, with the constants printed ------------------------------


@frozen(kw_only=True)
class Span:
    """Something that had to happen: when it was due to start, and when it was seen."""

    what: str
    since_ns: int
    seen_ns: int | None


def _late(span: Span, limit_ns: int, until_ns: int) -> Iterator[str]:
    end = until_ns if span.seen_ns is None else span.seen_ns
    if end - span.since_ns > limit_ns:
        state = "not yet seen" if span.seen_ns is None else "seen"
        took, limit = (end - span.since_ns) / SECOND, limit_ns / SECOND
        yield f"{span.what}: {state} after {took:.3f} s, limit {limit:.3f} s"


def l1_ended_within_budget(
    switches: tuple[Span, ...], *, budget_ns: int, until_ns: int
) -> Iterator[str]:
    """Accepted to live everywhere, aborted (or, a rollback, partial): within the budget."""
    for span in switches:
        yield from _late(span, budget_ns, until_ns)


def l2_doubt_ends(doubts: tuple[Span, ...], *, limit_ns: int, until_ns: int) -> Iterator[str]:
    """Every intent is decided, and no connected agent stays in doubt, within its limit."""
    for span in doubts:
        yield from _late(span, limit_ns, until_ns)


L3_LIMIT_NS = 15 * SECOND


def l3_core_converges(cores: tuple[Span, ...], *, until_ns: int) -> Iterator[str]:
    """Within 15 s of a core's healing each of its agents is at the newest committed epoch."""
    for span in cores:
        yield from _late(span, L3_LIMIT_NS, until_ns)
