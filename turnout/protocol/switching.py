"""An epoch's attempt: request, prepare, votes, and the one decision (DESIGN.md section 5, 1-3).

*Accept* (the intent's transaction) runs beside prepare. *Decide* is sent once every required agent
said yes in this leader's own term; nothing is announced before the store has confirmed it. A
rollback differs in one rule: nobody vetoes it.
"""

from __future__ import annotations

from attrs import evolve

from turnout.protocol.activation import plan_activation
from turnout.protocol.coordinator_state import Attempt, Turn, standing_record
from turnout.protocol.effects import Accepted, Reply
from turnout.protocol.events import Requested
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.identifiers import AgentId, Epoch
from turnout.protocol.limits import MAX_TEXT
from turnout.protocol.messages import Vote
from turnout.protocol.planning import Plan, head_table
from turnout.protocol.records import (
    Activation,
    Decision,
    Head,
    HistoryEntry,
    Incarnation,
    Intent,
    Kind,
    Outcome,
    OutcomeKind,
    Request,
    RequestRecord,
    RequiredSet,
    SignedTable,
    Source,
    StandingEntry,
    Status,
    TableName,
    Verdict,
    digest_of_ids,
)
from turnout.protocol.routing import abandoned_colours, changed_services, removed_services
from turnout.protocol.signing import signed
from turnout.protocol.storing import ACCEPT, DECIDE, transact
from turnout.protocol.telling import tell_prepare
from turnout.protocol.transitions import SwitchInput, advance_switch
from turnout.protocol.writes import accept, decide

PREPARE_TIMER = "prepare"
UNDO_TIMER = "undo"
LEADER_ACTOR = "turnout"


def start(turn: Turn, event: Requested, plan: Plan) -> None:
    """Freeze the intent, send it to the store, and prepare beside it."""
    request = event.request
    epoch = Epoch(turn.head.decided + 1)
    marked = None
    if plan.unreachable:
        reason = f"not connected when epoch {epoch} was rolled back to"
        marked = turn.state.fleet.marked(plan.unreachable, Status.STALE, reason)
    before = head_table(turn.state)
    touched = (
        *changed_services(before, plan.table),
        *removed_services(before, plan.table),
    )
    abandoned = abandoned_colours(before, plan.table)
    intent = Intent(
        epoch=epoch,
        incarnation=_incarnation(turn),
        term=turn.state.term,
        replica=turn.config.replica,
        digest=plan.table.digest,
        base=turn.head.digest,
        base_epoch=turn.head.committed,
        required=RequiredSet(
            fleet=turn.fleet_guard,
            excluded=turn.state.fleet.excluded_regions,
            passed_over=plan.passed_over,
            count=len(plan.required),
            digest=digest_of_ids(plan.required),
        ),
        request=evolve(request, table=None),
        source=plan.source,
        sources=tuple(Source(service=name, colour=colour) for name, colour in abandoned),
        retain_ms=max((service.retain_ms for service in touched), default=0),
        requested_at_ns=turn.now.clock_ns,
    )
    name = signed(TableName(digest=plan.table.digest), turn.config.signer)
    held = turn.state.tables.get(plan.table.digest)
    attempt = Attempt(
        intent=intent,
        body=request.body_digest(),
        table=held or SignedTable(table=plan.table, signature=name.signature),
        stored=held is not None and held.digest in turn.state.needed_tables,
        required=plan.required,
        marked=marked,
        tickets=(event.ticket,),
    )
    turn.change(attempt=attempt)
    send_accept(turn, attempt)
    prepare(turn)


def send_accept(turn: Turn, attempt: Attempt) -> None:
    """Send the intent's transaction."""
    intent = attempt.intent
    request = intent.request
    marked = None if attempt.marked is None else standing_record(attempt.marked)
    entry = history_entry(turn, intent.epoch, "accepted", _in_words(request), intent=intent)
    transaction = accept(
        turn.reign,
        head=turn.head,
        intent=intent,
        table=attempt.table,
        stored=attempt.stored,
        standing=marked,
        body=attempt.body,
        history=entry,
    )
    transact(turn, ACCEPT, transaction, intent.epoch)


def _in_words(request: Request) -> str:
    what = f"{request.kind} {request.service or 'the whole table'}"
    if request.to is not None:
        what += f" to {request.to}"
    return what if request.undo is None else f"{what}, undoing epoch {request.undo}"


def prepare(turn: Turn) -> None:
    """Ask every required agent for its vote, with a fresh T_prep on this leader's clock (H14)."""
    attempt = turn.state.attempt
    assert attempt is not None
    timing = turn.config.timing
    turn.arm(PREPARE_TIMER, timing.prepare_timeout_ns)
    if attempt.intent.request.kind is Kind.ROLLBACK:
        turn.arm(UNDO_TIMER, timing.undo_timeout_ns)
    tell_prepare(turn, attempt, attempt.required)


def accepted(turn: Turn, attempt: Attempt, fleet_revision: int) -> None:
    """The intent is in the store: the request is accepted, answered and timed from here."""
    epoch = attempt.epoch
    request = attempt.intent.request
    record = RequestRecord(epoch=epoch, body=attempt.body)
    if attempt.marked is not None:
        fleet = evolve(turn.state.fleet, standing=attempt.marked, revision=fleet_revision)
        turn.change(fleet=fleet)
    for ticket in attempt.tickets:
        turn.ask(Reply(ticket=ticket, answer=Accepted(epoch=epoch)))
    turn.change(
        attempt=evolve(attempt, accepted_at_ns=turn.now.clock_ns, stored=True, tickets=()),
        requests=turn.state.requests.put(request.key, record),
    )
    consider(turn)


def count(turn: Turn, vote: Vote) -> None:
    """Count a vote that passed the gate; an agent's first answer in this term stands (H11)."""
    attempt = turn.state.attempt
    assert attempt is not None
    if attempt.deciding is not None or vote.agent in attempt.yes or vote.agent in attempt.no:
        return
    if vote.no is None:
        attempt = evolve(attempt, yes=attempt.yes.put(vote.agent, vote))
    else:
        attempt = evolve(attempt, no=attempt.no.put(vote.agent, vote))
    turn.change(attempt=attempt)
    consider(turn)


def lose_promise(turn: Turn, agent: AgentId, reason: str) -> None:
    """An agent can no longer keep its yes (H23, S3): a leader that has not decided aborts."""
    attempt = turn.state.attempt
    if attempt is None or not attempt.asks(agent) or attempt.deciding is not None:
        return
    if attempt.intent.request.kind is not Kind.ROLLBACK:
        abort(turn, f"{agent}: {reason}")
    elif agent in attempt.yes:  # nobody vetoes a rollback: it is as one that never said yes
        turn.change(attempt=evolve(attempt, yes=attempt.yes.drop(agent)))
        consider(turn)


def time_is_up(turn: Turn) -> None:
    """T_prep is over; for a rollback, T_undo is: then it goes on with the first yes."""
    attempt = turn.state.attempt
    assert attempt is not None
    assert attempt.deciding is None
    turn.change(attempt=evolve(attempt, overdue=True))
    consider(turn)


def consider(turn: Turn) -> None:
    """Decide if it can be decided: only after the intent is in the store (H4), and once."""
    attempt = turn.state.attempt
    if attempt is None or attempt.deciding is not None or attempt.accepted_at_ns is None:
        return
    if attempt.abort_wanted:
        abort(turn, attempt.abort_wanted)
    elif attempt.intent.request.kind is Kind.ROLLBACK:
        _consider_rollback(turn, attempt)
    elif attempt.no:
        abort(turn, _refusals(attempt))
    elif attempt.is_answered:
        commit(turn, attempt)
    elif attempt.overdue:
        abort(turn, f"no vote in time from {', '.join(attempt.silent)}")


def _consider_rollback(turn: Turn, attempt: Attempt) -> None:
    """Nobody vetoes it (P5): after T_undo one yes is enough, and until T_prep one is waited for."""
    if attempt.yes and (attempt.overdue or attempt.is_answered):
        commit(turn, attempt)
    elif attempt.is_answered:
        abort(turn, f"every agent refused the rollback: {_refusals(attempt)}")
    elif not turn.state.timers.armed(PREPARE_TIMER):
        abort(turn, "no agent said yes to the rollback")


def _refusals(attempt: Attempt) -> str:
    return "; ".join(f"{a}: {v.no}: {v.reason}" for a, v in sorted(attempt.no.items()))


def commit(turn: Turn, attempt: Attempt) -> None:
    """Send the commit to the store: the commit point, if it wins."""
    intent = attempt.intent
    absent = tuple(a for a in attempt.required if a not in attempt.yes)
    votes = tuple((v.round_trip_ns, v.bound_ns) for v in attempt.yes.values())
    activation = plan_activation(intent.request.activation, votes, turn.config.timing, turn.now)
    text = f"table {intent.digest[:12]}"
    decide_now(turn, attempt, Verdict.COMMIT, text, absent=absent, activation=activation)


def abort(turn: Turn, reason: str) -> None:
    """Send the abort of the attempt to the store, unless a decision is on its way already.

    While the intent's own fate is unknown the abort waits: its guard must name the intent as it
    is, or that there is none.
    """
    attempt = turn.state.attempt
    assert attempt is not None
    if attempt.deciding is not None:
        return
    if attempt.accepted_at_ns is None:
        turn.change(attempt=evolve(attempt, abort_wanted=attempt.abort_wanted or reason))
        return
    decide_now(turn, attempt, Verdict.ABORT, reason)


def decide_now(
    turn: Turn,
    attempt: Attempt,
    verdict: Verdict,
    reason: str,
    *,
    absent: tuple[AgentId, ...] = (),
    activation: Activation | None = None,
) -> None:
    """Build the decision with its signed head, and send it."""
    if turn.state.proof is not None:
        return  # what an agent proves ends this reign: nothing is decided any more (S11)
    intent, reason = attempt.intent, reason[:MAX_TEXT]
    entry = history_entry(turn, intent.epoch, "decided", f"{verdict}: {reason}", intent=intent)
    head = evolve(turn.head, decided=intent.epoch, history=entry.digest(), signature="")
    if verdict is Verdict.COMMIT:
        head = _committed(turn, head, intent, activation or Activation())
    decision = Decision(
        epoch=intent.epoch,
        verdict=verdict,
        head=signed(head, turn.config.signer),
        term=turn.state.term,
        replica=turn.config.replica,
        digest=intent.digest,
        kind=intent.request.kind,
        reason=reason,
        absent=absent,
        point_of_no_return=intent.request.point_of_no_return,
        accepted_at_ns=attempt.accepted_at_ns,
        decided_at_ns=turn.now.clock_ns,
    )
    phase = advance_switch(attempt.phase, SwitchInput.DECIDE)
    turn.disarm(PREPARE_TIMER)
    turn.disarm(UNDO_TIMER)
    turn.change(attempt=evolve(attempt, deciding=decision, phase=phase, abort_wanted=""))
    standing = None
    if absent:
        standing = standing_record(without_absent(turn, decision))
    transaction = decide(
        turn.reign,
        before=turn.head,
        decision=decision,
        intent=intent,
        standing=standing,
        outcome=_aborted_outcome(turn, attempt, decision) if verdict is Verdict.ABORT else None,
        request=_undone_request(turn, intent.epoch) if verdict is Verdict.ABORT else None,
        history=entry,
    )
    transact(turn, DECIDE, transaction, intent.epoch)


def _committed(turn: Turn, head: Head, intent: Intent, activation: Activation) -> Head:
    return evolve(
        head,
        committed=intent.epoch,
        digest=intent.digest,
        base=turn.head.digest,
        base_epoch=turn.head.committed,
        term=turn.state.term,
        replica=turn.config.replica,
        activation=activation,
        drain_timeout_ms=intent.request.drain_timeout_ms,
    )


def without_absent(turn: Turn, decision: Decision) -> FrozenMap[AgentId, StandingEntry]:
    """Standing as a rollback's decision makes it: whom it names absent is stale by it (P5)."""
    reason = f"absent from the rollback in epoch {decision.epoch}"
    return turn.state.fleet.marked(decision.absent, Status.STALE, reason)


def _aborted_outcome(turn: Turn, attempt: Attempt, decision: Decision) -> Outcome:
    """What an abort came to, which is known with the decision."""
    assert attempt.accepted_at_ns is not None
    elapsed = max(0, decision.decided_at_ns - attempt.accepted_at_ns)
    timing = turn.config.timing
    return Outcome(
        epoch=decision.epoch,
        outcome=OutcomeKind.ABORTED,
        reason=decision.reason,
        elapsed_ns=elapsed,
        known_ns=elapsed,
        bound_ns=timing.max_clock_bound_ns if attempt.intent.term != decision.term else 0,
        budget_ns=timing.budget_ns,
    )


def _undone_request(turn: Turn, epoch: Epoch) -> tuple[str, RequestRecord] | None:
    """The key of the rollback that asked for this abort: repeated, it finds the same epoch."""
    if not turn.state.undo_next:
        return None
    request = turn.state.undo_next[0].request
    return request.key, RequestRecord(epoch=epoch, body=request.body_digest())


def history_entry(
    turn: Turn, epoch: Epoch, kind: str, text: str, *, intent: Intent | None = None
) -> HistoryEntry:
    """A history entry with the hash of the last decision's (P11: only decisions form the chain)."""
    request = intent.request if intent else None
    return HistoryEntry(
        epoch=epoch,
        kind=kind,
        at_ns=turn.now.clock_ns,
        actor=request.actor if request else LEADER_ACTOR,
        replica=turn.config.replica,
        term=turn.state.term,
        text=text,
        reason=request.reason if request else "",
        comment=request.comment if request else "",
        previous=turn.head.history,
    )


def _incarnation(turn: Turn) -> Incarnation:
    assert turn.state.incarnation is not None
    return turn.state.incarnation.incarnation
