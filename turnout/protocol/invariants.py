"""The invariants S1-S11 and L1-L3 as predicates over what was seen of the whole.

(DESIGN.md section 7.) A harness fills two values and has them judged:

- :class:`Picture`, for S1-S7: how everything stands at one moment, *ghosts* included: the greatest
  promise ever made, every table a proxy ever served, every write with the leader key as it stood.
  Fed by the exhaustive exploration (``simulator/explore``) in every world that it reaches, and
  by the simulator and the random histories (``tests/protocol/histories.py``) at every change
  (``simulator/judging/witness.py``).
- :class:`Course`, for S8-S11 and L1-L3: what happened when, on one true clock, and what was done
  to the nodes that must change nothing. Fed by both of these (``simulator/judging/chronicle.py``):
  the simulator judges it at the end, the histories when a core has healed and again when
  everything has. The exploration knows neither time nor drains nor restores, and fills none.

A node that forgets cannot testify against itself, so nothing here is read from a node's own memory
alone. What a history cannot see is not judged by it: requests with an affinity cookie (S9), and
reconnects through real sessions (L3); each has tests of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import cached_property

from attrs import frozen

from turnout.protocol.activation import drift
from turnout.protocol.clock import SECOND
from turnout.protocol.identifiers import AgentId, Digest, Epoch, ServiceName, Term
from turnout.protocol.limits import Timing
from turnout.protocol.records import Active, Decision, Kind, Status, Verdict
from turnout.protocol.routing import Colour


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

    @cached_property
    def yeses(self) -> frozenset[tuple[Epoch, Digest, Term, str]]:
        """Every yes as (epoch, digest, term, journal id), to look one up in."""
        return frozenset((yes.epoch, yes.digest, yes.term, yes.journal_id) for yes in self.yes)

    @cached_property
    def falls(self) -> tuple[tuple[Active, Active], ...]:
        """Every flip that did not rise: before and after."""
        flips = zip(self.served, self.served[1:], strict=False)
        return tuple((before, after) for before, after in flips if after.rank <= before.rank)

    @cached_property
    def was_empty(self) -> bool:
        """Whether its proxy ever served an empty table."""
        return any(not table.digest for table in self.served)

    @property
    def serving(self) -> Active:
        """What its proxy serves now."""
        return self.served[-1] if self.served else Active()


@frozen(kw_only=True)
class Picture:
    """The whole at one moment of one incarnation.

    Attributes:
        founded: the commit that its operator began the incarnation with; none in the first one.
        rulings: every decision ever written, in order (a ghost: an overwritten one stays).
        named: every (epoch, digest) seen in any record or message (a ghost).
        told: (epoch, verdict) of every decision that any message announced (a ghost).
    """

    founded: Active | None = None
    rulings: tuple[Ruling, ...] = ()
    agents: tuple[AgentPicture, ...] = ()
    named: tuple[tuple[Epoch, Digest], ...] = ()
    told: tuple[tuple[Epoch, Verdict], ...] = ()
    foreign_writes: tuple[str, ...] = ()


def _commits(picture: Picture) -> tuple[Ruling, ...]:
    return tuple(r for r in picture.rulings if r.decision.verdict is Verdict.COMMIT)


def _in_force(picture: Picture) -> set[tuple[Epoch, Digest]]:
    """All that was ever committed, by a decision or by hand."""
    founded = [picture.founded] if picture.founded else []
    commits = {(r.decision.epoch, r.decision.digest) for r in _commits(picture)}
    return commits | {(active.epoch, active.digest) for active in founded}


def s1_flip_follows_commit(picture: Picture) -> Iterator[str]:
    """No agent flips to (epoch, digest) without an earlier commit decision for it."""
    committed = _in_force(picture)
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
    given = {agent.agent: agent.yeses for agent in picture.agents}
    for ruling in _commits(picture):
        decision = ruling.decision
        if decision.absent and decision.kind is not Kind.ROLLBACK:
            yield f"epoch {decision.epoch} committed with agents absent, but is no rollback"
        for agent, journal_id in ruling.required:
            if agent in decision.absent:
                continue
            wanted = (decision.epoch, decision.digest, decision.term, journal_id)
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
        for before, after in agent.falls:
            yield f"{agent.agent} went from epoch {before.epoch} to {after.epoch}"


def s6_never_empty(picture: Picture) -> Iterator[str]:
    """From its first activation on a proxy serves a complete, non-empty, committed table."""
    for agent in picture.agents:
        if agent.was_empty:
            yield f"{agent.agent} served an empty table after its first activation"


def s7_two_tables_live(picture: Picture) -> Iterator[str]:
    """At most two tables, those of the newest two commits, are live among agents in good standing."""
    newest = sorted(_in_force(picture))[-2:]
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


OF_ONE_AGENT = tuple(rule for rule in SAFETY if rule[0] in {"S1", "S4", "S5", "S6", "S7"})
"""The rules that look at each agent by itself, beside what was decided: when one agent has done
something, only a picture of that agent has to be judged, and by these."""


def judge(
    picture: Picture, rules: tuple[tuple[str, Callable[[Picture], Iterator[str]]], ...] = SAFETY
) -> tuple[Violation, ...]:
    """Return every violation of S1-S7 in the picture, by number."""
    return tuple(
        Violation(number, text) for number, predicate in rules for text in predicate(picture)
    )


# --- S8 to S11 and L1 to L3: over what a run recorded --------------------------------------------


@frozen(kw_only=True)
class ScheduledFlip:
    """One agent's flip of a scheduled commit that it received from its decider.

    All moments are true ones. A proxy takes its own time, which is no clock's fault: a harness whose
    proxies are slow gives the moment at which the agent told its proxy to flip.

    Attributes:
        due_ns: when the activation time came, G after the decision.
        received_ns: when the agent heard of the commit.
        bound_ns: the clock bound that it went by; None where it had none.
        bound_held: whether the leader's clock was in fact within it.
    """

    agent: AgentId
    epoch: Epoch
    g_ns: int
    due_ns: int
    received_ns: int
    flipped_ns: int
    bound_ns: int | None
    bound_held: bool

    @property
    def is_honest(self) -> bool:
        """Whether the sum of bounds promises anything about this flip."""
        return self.bound_held and self.bound_ns is not None and self.received_ns <= self.due_ns


@frozen(kw_only=True)
class SourceRequest:
    """A new request at a colour that its edge's table sends nothing to any more."""

    agent: AgentId
    epoch: Epoch
    by_affinity: bool
    during_drain: bool


@frozen(kw_only=True)
class Parting:
    """An edge and a source, when the source was closed at that edge or released everywhere.

    Attributes:
        what: ``closed`` or ``released``.
        epoch: of the commit that left the source.
        is_wanted: whether what this edge serves or has journalled, or the newest commit, sends
            requests there.
        in_flight: the requests that the edge still had there.
        is_time_over: whether its drain had had all its time.
    """

    what: str
    agent: AgentId
    epoch: Epoch
    service: ServiceName
    colour: Colour
    is_wanted: bool
    in_flight: int
    is_time_over: bool


@frozen(kw_only=True)
class Intrusion:
    """A message that must change nothing, and what was durable at its addressee around it."""

    what: str
    before: object
    after: object


@frozen(kw_only=True)
class Proof:
    """A leader was shown a signed head that its store contradicts: the store went back.

    Attributes:
        shown, stored: the newest commit, by that head and by the store's.
        decided: the epochs that it decided after that, in the same incarnation.
    """

    term: Term
    shown: Epoch
    stored: Epoch
    decided: tuple[Epoch, ...] = ()


@frozen(kw_only=True)
class Span:
    """Something that had to happen: when it was due to start, and when it was seen.

    ``since_ns`` is never before the moment from which the promise holds: of L1, when the request was
    accepted; of L2 and L3, not before the core had healed, nor before the agent was included.
    """

    what: str
    since_ns: int
    seen_ns: int | None


@frozen(kw_only=True)
class Course:
    """What a run recorded up to ``until_ns``, on one true clock.

    Attributes:
        jitter_ns: how late a timer of this harness may ring.
        switches: accepted, until live everywhere or aborted (undone, or a rollback's partial).
        intents: written, until decided.
        doubts: of connected, not excluded agents: a yes on disk, until the decision is.
        cores: of the agents of a healed core: a newest commit, until their proxies serve it.
        vacancies: of a healed core: nobody leads, until one of its replicas does.
    """

    timing: Timing
    until_ns: int
    jitter_ns: int = 0
    flips: tuple[ScheduledFlip, ...] = ()
    requests: tuple[SourceRequest, ...] = ()
    partings: tuple[Parting, ...] = ()
    intrusions: tuple[Intrusion, ...] = ()
    proofs: tuple[Proof, ...] = ()
    switches: tuple[Span, ...] = ()
    intents: tuple[Span, ...] = ()
    doubts: tuple[Span, ...] = ()
    cores: tuple[Span, ...] = ()
    vacancies: tuple[Span, ...] = ()


def s8_skew_within_bounds(course: Course) -> Iterator[str]:
    """Scheduled flips of one commit differ at most by two bounds and timer jitter.

    While an agent waits, its clock and the leader's may drift apart: that is added to its bound.
    """
    honest = sorted((f for f in course.flips if f.is_honest), key=lambda f: (f.epoch, f.agent))
    for first, second in itertools.combinations(honest, 2):
        if first.epoch != second.epoch:
            continue
        skew = abs(first.flipped_ns - second.flipped_ns)
        allowed = _reach(first) + _reach(second) + course.jitter_ns
        if skew > allowed:
            yield (
                f"{first.agent} and {second.agent} flipped to epoch {first.epoch} {skew} ns apart, "
                f"above {allowed} ns of their bounds"
            )


def s8_clocks_cost_at_most_g(course: Course) -> Iterator[str]:
    """Whatever a clock says, no agent waits longer than G after it heard."""
    for flip in course.flips:
        waited = flip.flipped_ns - flip.received_ns
        allowed = flip.g_ns + drift(flip.g_ns) + course.jitter_ns
        if waited > allowed:
            yield f"{flip.agent} waited {waited} ns for epoch {flip.epoch}, longer than G, {allowed} ns"


def _reach(flip: ScheduledFlip) -> int:
    assert flip.bound_ns is not None
    return flip.bound_ns + drift(flip.g_ns)


def s9_source_gets_nothing_new(course: Course) -> Iterator[str]:
    """No new request to the source after the flip, but by affinity and until the drain ends."""
    for request in course.requests:
        if not (request.by_affinity and request.during_drain):
            yield f"{request.agent} sent a new request to the source after epoch {request.epoch}"


def s9_source_is_left_in_peace(course: Course) -> Iterator[str]:
    """Nothing is closed or released that is wanted, or in use with time left to drain."""
    for parting in course.partings:
        source = f"{parting.service} {parting.colour}, left by epoch {parting.epoch},"
        if parting.is_wanted:
            yield f"{source} was {parting.what} while {parting.agent} was to send requests to it"
        elif parting.in_flight and not parting.is_time_over:
            yield (
                f"{source} was {parting.what} while {parting.agent} had {parting.in_flight} "
                "requests there and time left"
            )


def s10_replay_changes_nothing(course: Course) -> Iterator[str]:
    """A replayed, duplicated, reordered or forged message leaves what is durable as it was."""
    for intrusion in course.intrusions:
        if intrusion.before != intrusion.after:
            yield f"{intrusion.what} changed what was durable"


def s11_no_decision_after_restore(course: Course) -> Iterator[str]:
    """A leader that was shown a signed head of which its store is not asks for no decision any more."""
    for proof in course.proofs:
        for epoch in proof.decided:
            yield (
                f"epoch {epoch} was decided in term {proof.term} over a store that knew of the commit of "
                f"{proof.stored}, and had lost that of {proof.shown}, which the leader had been shown"
            )


# --- liveness: with the constants of the specification -------------------------------------------


def decision_limit_ns(timing: Timing) -> int:
    """2·T_prep + F + W: how long an intent may be undecided beside a working core (L2)."""
    return 2 * timing.prepare_timeout_ns + timing.failover_ns + timing.store_write_ns


def doubt_limit_ns(timing: Timing) -> int:
    """F + H + T_prep + 2·D_max: how long a connected agent may be in doubt (L2)."""
    return (
        timing.failover_ns
        + timing.herd_ns
        + timing.prepare_timeout_ns
        + 2 * timing.max_round_trip_ns
    )


def _late(spans: tuple[Span, ...], limit_ns: int, until_ns: int) -> Iterator[str]:
    for span in spans:
        end = until_ns if span.seen_ns is None else span.seen_ns
        if end - span.since_ns > limit_ns:
            state = "not yet seen" if span.seen_ns is None else "seen"
            took, limit = (end - span.since_ns) / SECOND, limit_ns / SECOND
            yield f"{span.what}: {state} after {took:.3f} s, limit {limit:.3f} s"


def l1_ended_within_budget(course: Course) -> Iterator[str]:
    """Accepted to live everywhere, aborted (or, a rollback, partial): within the budget."""
    yield from _late(course.switches, course.timing.budget_ns, course.until_ns)


def l2_every_intent_is_decided(course: Course) -> Iterator[str]:
    """Every intent is decided within 2·T_prep + F + W of a working core."""
    yield from _late(course.intents, decision_limit_ns(course.timing), course.until_ns)


def l2_doubt_ends(course: Course) -> Iterator[str]:
    """No connected agent that is not excluded stays in doubt longer than F + H + T_prep + 2·D."""
    yield from _late(course.doubts, doubt_limit_ns(course.timing), course.until_ns)


def l2_core_is_led(course: Course) -> Iterator[str]:
    """A working core is led again within the time of L3: else nothing is owed, for nothing is accepted."""
    yield from _late(course.vacancies, course.timing.convergence_ns, course.until_ns)


def l3_core_converges(course: Course) -> Iterator[str]:
    """Soon after a core's healing (15 s by default) each of its agents is at the newest commit."""
    yield from _late(course.cores, course.timing.convergence_ns, course.until_ns)


COURSE: tuple[tuple[str, Callable[[Course], Iterator[str]]], ...] = (
    ("S8", s8_skew_within_bounds),
    ("S8", s8_clocks_cost_at_most_g),
    ("S9", s9_source_gets_nothing_new),
    ("S9", s9_source_is_left_in_peace),
    ("S10", s10_replay_changes_nothing),
    ("S11", s11_no_decision_after_restore),
    ("L1", l1_ended_within_budget),
    ("L2", l2_every_intent_is_decided),
    ("L2", l2_doubt_ends),
    ("L2", l2_core_is_led),
    ("L3", l3_core_converges),
)


def judge_course(course: Course) -> tuple[Violation, ...]:
    """Return everything that a run's course breaks, by number."""
    return tuple(
        Violation(number, text) for number, predicate in COURSE for text in predicate(course)
    )
