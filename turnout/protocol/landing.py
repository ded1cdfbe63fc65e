"""After the decision: who is live, what the switch came to (steps 4 and 5).

The outcome is written once. Acknowledgements are levels, not edges: an agent reports what it
serves at each connect, so a new leader rebuilds this picture (H26).
"""

from __future__ import annotations

from attrs import evolve

from turnout.protocol.activation import skew_ns
from turnout.protocol.clock import SECOND, ClockNs
from turnout.protocol.coordinator_state import Following, Landed, Turn, standing_record
from turnout.protocol.events import Requested
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.identifiers import AgentId, Epoch
from turnout.protocol.limits import MAX_DELETIONS_PER_TRANSACTION
from turnout.protocol.messages import Progress, Report
from turnout.protocol.records import (
    Decision,
    Kind,
    Laggard,
    Mode,
    Outcome,
    OutcomeKind,
    Request,
    StandingEntry,
    Status,
    Verdict,
)
from turnout.protocol.releasing import is_taken_over, release_when_drained
from turnout.protocol.routing import (
    OnFailure,
    changed_services,
    removed_services,
)
from turnout.protocol.storing import OUTCOME, transact, writes_standing
from turnout.protocol.switching import LEADER_ACTOR, history_entry, without_absent
from turnout.protocol.telling import tell_everyone
from turnout.protocol.transitions import SwitchInput, advance_switch
from turnout.protocol.writes import write_outcome

MAX_LAGGARD_TEXT = 200
"""Characters of a laggard's reason that are kept: a thousand of them are one etcd value."""

LIVE_TIMER = "live"


def decided(turn: Turn, decision: Decision, fleet_revision: int) -> None:
    """The store has the decision: now, and not before, it is announced."""
    attempt = turn.state.attempt
    assert attempt is not None
    if decision.absent:
        marked = without_absent(turn, decision)
        fleet = evolve(turn.state.fleet, standing=marked, revision=fleet_revision)
        turn.change(fleet=fleet)
    library = turn.state.library.put(decision.epoch, decision)
    turn.change(attempt=None, head=decision.head, library=library)
    if decision.verdict is Verdict.ABORT:
        advance_switch(attempt.phase, SwitchInput.ABORT_WON)
    else:
        turn.change(tables=turn.state.tables.put(decision.digest, attempt.table))
        follow(
            turn,
            Following(
                intent=attempt.intent,
                decision=decision,
                required=attempt.required,
                phase=advance_switch(attempt.phase, SwitchInput.COMMIT_WON),
                taken_over=attempt.intent.term != decision.term,
            ),
        )
        _forget_tables(turn)
    tell_everyone(turn)
    release_when_drained(turn)


def _forget_tables(turn: Turn) -> None:
    """Keep in memory what may be asked for without looking it up."""
    kept = turn.state.needed_tables
    tables = {digest: table for digest, table in turn.state.tables.items() if digest in kept}
    turn.change(tables=FrozenMap(tables))


def follow(turn: Turn, following: Following) -> None:
    """Wait for a commit to be live everywhere, for T_live after its activation time."""
    turn.change(following=turn.state.following.put(following.epoch, following))
    if following.outcome is None:
        turn.arm(LIVE_TIMER, _live_delay_ns(turn, following))
    for agent in turn.state.connected:
        _take_in(turn, turn.state.reports[agent])
    conclude(turn)


def _live_delay_ns(turn: Turn, following: Following) -> int:
    """T_live after the activation time, but never later than 1 s before the budget ends (P8).

    What another leader spent is read off two clocks, and believed only as far as takeovers can
    take: a clock that is an hour ahead must not make the whole fleet laggards (H14).
    """
    timing = turn.config.timing
    activation = following.decision.head.activation
    wait = timing.live_timeout_ns
    if activation.mode is Mode.SCHEDULED and activation.time_ns is not None:
        until = activation.time_ns - turn.now.clock_ns
        wait += min(max(0, until), activation.g_ns)
    started = _accepted_at(following)
    spent = max(0, turn.now.clock_ns - started)
    if following.taken_over:
        spent = min(spent, 2 * timing.prepare_timeout_ns + timing.failover_ns + timing.herd_ns)
    return max(0, min(wait, timing.budget_ns - SECOND - spent))


def _accepted_at(following: Following) -> ClockNs:
    return following.decision.accepted_at_ns or following.intent.requested_at_ns


def land(turn: Turn, report: Report) -> None:
    """Act on what an agent says about the committed epochs that are still followed."""
    changed = _take_in(turn, report)
    if not changed:  # all that can be concluded has been
        return
    conclude(turn)
    if any(following.outcome is not None for following in changed):
        release_when_drained(turn)


def _take_in(turn: Turn, report: Report) -> list[Following]:
    """Note what an agent says about them; returns those of which it says something new."""
    changed = []
    for following in turn.state.following.values():
        updated = _landed(following, report)
        if updated is not following:  # most reports say what is known already
            changed.append(updated)
    for updated in changed:
        turn.change(following=turn.state.following.put(updated.epoch, updated))
    return changed


def _landed(following: Following, report: Report) -> Following:
    agent, epoch = report.agent, following.epoch
    changes: dict[str, object] = {}
    if report.active.epoch == epoch and report.live_at_ns is not None:
        if agent not in following.live:
            landed = Landed(
                flipped_at_ns=report.flipped_at_ns,
                live_at_ns=report.live_at_ns,
                bound_ns=report.bound_ns,
                late=report.late,
            )
            changes["live"] = following.live.put(agent, landed)
            changes["diverged"] = following.diverged.drop(agent)
    elif report.progress is Progress.DIVERGED and report.committed_epoch == epoch:
        changes["diverged"] = following.diverged.put(agent, report.reason)
    if agent not in following.drained and _drain_ended(following, report):
        changes["drained"] = following.drained.put(agent, True)
    return evolve(following, **changes) if changes else following  # type: ignore[arg-type]


def _drain_ended(following: Following, report: Report) -> bool:
    """Whether nothing of the epoch's source is in flight at this edge any more.

    Whichever flip left it: 1. An agent is cut off while epoch 3 leaves blue and epoch 6 leaves green as
    it is. 2. It comes back and flips straight to 6, where blue's drain begins under that number.
    3. It is past epoch 3, and live; but blue may not be scaled down before that drain ends (S9).
    """
    if report.active.epoch < following.epoch or report.progress is not Progress.LIVE:
        return False
    left = [(source.service, source.colour) for source in following.intent.sources]
    return all(d.ended for d in report.drains if (d.service, d.colour) in left)


def conclude(turn: Turn) -> None:
    """Write the outcome of the unfinished commit if it is known, or roll it back."""
    following = turn.state.unfinished
    if following is None or following.writing is not None:
        return
    if is_superseded(turn, following):
        _write_outcome(turn, following, OutcomeKind.ROLLED_BACK, "rolled back before it was live")
    elif not _is_waiting(following):
        _write_outcome(turn, following, *_finished(turn, following))
    elif following.overdue:
        _write_outcome(turn, following, OutcomeKind.PARTIAL, "not live everywhere in time")
    elif following.diverged and _may_roll_back(turn, following):
        _roll_back_by_itself(turn, following)


def is_superseded(turn: Turn, following: Following) -> bool:
    """Whether a rollback was committed before this commit had an outcome."""
    return turn.head.committed > following.epoch


def release_the_taken_out(turn: Turn) -> None:
    """Wait for no agent that an operator removed or excluded since the commit."""
    following, fleet = turn.state.newest, turn.state.fleet
    if following is None or following.outcome is not None:
        return
    required = tuple(
        agent
        for agent in following.required
        if agent in fleet.agents and fleet.status(agent) is not Status.EXCLUDED
    )
    updated = evolve(following, required=required)
    turn.change(following=turn.state.following.put(following.epoch, updated))


def _is_waiting(following: Following) -> bool:
    """Whether any agent is still to be heard of; asked at every report, so counted first."""
    awaited = len(following.required) - len(following.decision.absent)
    if len(following.live) < awaited:
        return True
    return any(_is_awaited(following, agent) for agent in following.required)


def _is_awaited(following: Following, agent: AgentId) -> bool:
    return agent not in following.live and agent not in following.decision.absent


def _finished(turn: Turn, following: Following) -> tuple[OutcomeKind, str]:
    """Live only if everybody behind was named by the operator; a COUNT names nobody (H7).

    A rollback that went over somebody's head is partial, however soon that agent followed (P5).
    """
    behind = _behind(turn, following) or following.decision.absent
    if not behind:
        return OutcomeKind.LIVE, ""
    return OutcomeKind.PARTIAL, f"behind: {', '.join(behind)}"


def _behind(turn: Turn, following: Following) -> tuple[AgentId, ...]:
    named = following.intent.request.allow_stale
    fleet = turn.state.fleet
    return tuple(
        agent
        for agent in sorted(fleet.agents)
        if agent not in following.live
        and agent not in named
        and fleet.status(agent) is not Status.EXCLUDED
    )


def _missing(turn: Turn, following: Following) -> tuple[AgentId, ...]:
    """The agents that were asked and are not live, whatever the operator named."""
    enrolled = turn.state.fleet.agents
    return tuple(a for a in following.required if a in enrolled and a not in following.live)


def time_is_up(turn: Turn) -> None:
    """T_live of the newest commit is over: whoever is not live is a laggard."""
    following = turn.state.newest
    assert following is not None
    assert following.outcome is None
    following = evolve(following, overdue=True)
    turn.change(following=turn.state.following.put(following.epoch, following))
    conclude(turn)


def _write_outcome(turn: Turn, following: Following, kind: OutcomeKind, reason: str) -> None:
    """Send the outcome; where it marks agents stale, only when nothing else changes standing.

    A rollback that is open is awaited too: it may mark agents stale itself, and its decision says
    which outcome this is.
    """
    missing = _missing(turn, following)
    behind = sorted({*_behind(turn, following), *missing})
    laggards = tuple(_laggard(turn, following, agent) for agent in behind)
    late = tuple(a for a in missing if turn.state.fleet.status(a) is Status.GOOD)
    outcome = _measured(turn, following, kind, reason, laggards)
    if kind is OutcomeKind.ROLLED_BACK:
        outcome, late = evolve(outcome, laggards=()), ()
    standing = None
    if late:
        if turn.state.attempt is not None or writes_standing(turn):
            return
        standing = standing_record(_marked(turn, following.epoch, late))
    updated = evolve(following, writing=outcome, marking=late)
    turn.change(following=turn.state.following.put(following.epoch, updated))
    transaction = write_outcome(
        turn.reign,
        outcome=outcome,
        over=_over_with(turn, following.epoch, kind),
        standing=standing,
        fleet=turn.fleet_guard,
        history=history_entry(
            turn,
            following.epoch,
            "outcome",
            f"{kind}: {reason}".rstrip(": "),
            intent=following.intent,
        ),
    )
    transact(turn, OUTCOME, transaction, following.epoch)


def _marked(
    turn: Turn, epoch: Epoch, late: tuple[AgentId, ...]
) -> FrozenMap[AgentId, StandingEntry]:
    """Standing as an outcome makes it: whom it found late is stale by it."""
    return turn.state.fleet.marked(late, Status.STALE, f"behind after epoch {epoch}")


def _laggard(turn: Turn, following: Following, agent: AgentId) -> Laggard:
    entry = turn.state.fleet.agents[agent]
    if agent in following.diverged:
        reason = f"diverged: {following.diverged[agent]}"
    elif agent in following.decision.absent:
        reason = "absent: did not say yes to the rollback"
    elif agent not in following.required:
        reason = f"{turn.state.fleet.status(agent)}: was not asked"
    else:
        reason = "unconfirmed: not heard in time"
    return Laggard(agent=agent, region=entry.region, reason=reason[:MAX_LAGGARD_TEXT])


def _measured(
    turn: Turn,
    following: Following,
    kind: OutcomeKind,
    reason: str,
    laggards: tuple[Laggard, ...],
) -> Outcome:
    """``elapsed`` is the latest live moment less accepted; across a takeover both bounds count."""
    started = _accepted_at(following)
    landed = tuple(following.live.values())
    flips = [f.flipped_at_ns for f in landed if f.flipped_at_ns is not None]
    bounds = [f.bound_ns for f in landed if f.bound_ns is not None]
    elapsed = max((f.live_at_ns for f in landed), default=None)
    bound = max(bounds, default=0)
    if following.taken_over:
        bound = 2 * bound + turn.config.timing.max_clock_bound_ns
    return Outcome(
        epoch=following.epoch,
        outcome=kind,
        reason=reason,
        elapsed_ns=None if elapsed is None else max(0, elapsed - started),
        known_ns=max(0, turn.now.clock_ns - started),
        bound_ns=bound,
        budget_ns=turn.config.timing.budget_ns,
        skew_ns=skew_ns(flips) if flips else None,
        laggards=laggards,
    )


def concluded(turn: Turn, epoch: Epoch, fleet_revision: int) -> None:
    """The outcome is in the store."""
    following = turn.state.following.get(epoch)
    assert following is not None
    assert following.writing is not None
    outcome = following.writing
    if following.marking:
        marked = _marked(turn, epoch, following.marking)
        turn.change(fleet=evolve(turn.state.fleet, standing=marked, revision=fleet_revision))
    inputs = {
        OutcomeKind.LIVE: SwitchInput.ALL_LIVE,
        OutcomeKind.PARTIAL: SwitchInput.TIME_OVER,
        OutcomeKind.ROLLED_BACK: SwitchInput.UNDONE,
    }
    phase = advance_switch(following.phase, inputs[outcome.outcome])
    over = _over_with(turn, epoch, outcome.outcome)
    following = evolve(following, outcome=outcome, writing=None, marking=(), phase=phase)
    turn.change(following=turn.state.following.put(epoch, following))
    for old in over:
        turn.change(following=turn.state.following.drop(old))
    unfinished = turn.state.unfinished
    if unfinished is None:
        turn.disarm(LIVE_TIMER)
    release_when_drained(turn)
    conclude(turn)


def _over_with(turn: Turn, epoch: Epoch, kind: OutcomeKind) -> tuple[Epoch, ...]:
    """The commits that are over once this epoch's outcome is written.

    They are itself, if it was undone; else those before it whose source it made its own business.
    """
    if kind is OutcomeKind.ROLLED_BACK:
        return (epoch,)
    states = turn.state.following
    over = [e for e in states if e < epoch and is_taken_over(states[e], states[epoch])]
    return tuple(over[:MAX_DELETIONS_PER_TRANSACTION])


def _may_roll_back(turn: Turn, following: Following) -> bool:
    """Whether an agent that was asked refuses the flip, and ``on_failure = rollback`` applies.

    Hold applies to a rollback's own failure (H10), to the first table's, which has nothing to go
    back to, and past a point of no return. It is tried once.
    """
    intent, state = following.intent, turn.state
    if not _refusing(following) or intent.request.kind is Kind.ROLLBACK or not intent.base:
        return False
    if intent.request.point_of_no_return is not None:
        return False
    key = _undo_key(following)
    asked = any(isinstance(e, Requested) and e.request.key == key for e in state.waiting)
    if asked or state.attempt is not None or state.looking_up is not None or key in state.requests:
        return False
    before, after = state.tables[intent.base].table, state.tables[intent.digest].table
    touched = (*changed_services(before, after), *removed_services(before, after))
    return any(service.on_failure is OnFailure.ROLLBACK for service in touched)


def _undo_key(following: Following) -> str:
    return f"undo/{following.epoch}"


def _refusing(following: Following) -> tuple[AgentId, ...]:
    """The agents that said yes and refuse: one that was passed over moves nobody else."""
    return tuple(a for a in sorted(following.diverged) if a in following.required)


def _roll_back_by_itself(turn: Turn, following: Following) -> None:
    agent = _refusing(following)[0]
    words = following.diverged[agent]
    request = Request(
        key=_undo_key(following),
        kind=Kind.ROLLBACK,
        undo=following.epoch,
        actor=LEADER_ACTOR,
        reason=f"{agent} refused at the flip: {words}",
    )
    event = Requested(ticket=0, request=request)
    turn.change(waiting=(event, *turn.state.waiting))
