"""The coordinator's machine: ``step(state, event, now) -> (state, effects)``.

Read it top to bottom: one handler an event, each a few lines that call the files that know:
``takeover.py`` (a new leader), ``planning.py`` (may this request become a switch),
``switching.py`` (prepare, votes, the decision), ``landing.py`` (live, outcome, drain),
``standing.py`` (the fleet), ``telling.py`` (which agent hears what), ``storing.py`` (the store).
A replica that does not lead ignores everything but ``Elected`` and refuses requests.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from turnout.protocol import keys, landing, standing, switching, takeover
from turnout.protocol.clock import Instant, MonotonicNs
from turnout.protocol.codec import decode
from turnout.protocol.coordinator_state import (
    CoordinatorConfig,
    CoordinatorState,
    Role,
    Turn,
)
from turnout.protocol.effects import (
    Accepted,
    CoordinatorEffect,
    Refused,
    Reply,
)
from turnout.protocol.events import (
    AbortRequested,
    AgentGone,
    CoordinatorEvent,
    Deposed,
    Elected,
    EnrolRequested,
    ExcludeRequested,
    FromAgent,
    IncludeRequested,
    QueuedRequest,
    ReadDone,
    RemoveRequested,
    Requested,
    Transacted,
    WaiveRequested,
    Wake,
)
from turnout.protocol.gate import Suspicion, admit_from_agent
from turnout.protocol.identifiers import Epoch
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.messages import Report, Vote
from turnout.protocol.planning import Need, Noop, Plan, plan
from turnout.protocol.records import Decision, Head, Kind
from turnout.protocol.storing import (
    ACCEPT,
    CONFIRM,
    CREATE_HEAD,
    DECIDE,
    DETAILS,
    FLEET,
    FRESHNESS,
    LOOKUP,
    NOTE,
    OUTCOME,
    RELEASE,
    REQUIRED,
    STORE_TIMER,
    TAKEOVER,
    is_ours,
    leads_still,
    read,
    repeat_unanswered,
    settle,
)
from turnout.protocol.telling import SYNC_TIMER, head_as_of, tell_everyone, tell_head, tell_prepare
from turnout.protocol.transactions import Lost, Snapshot, Won
from turnout.protocol.wire import unpack_table

LOOKUP_TIMER = "lookup"


class Coordinator:
    """One replica's machine. Holds no state of its own."""

    def __init__(self, config: CoordinatorConfig) -> None:
        self.config = config

    def step(
        self, state: CoordinatorState, event: CoordinatorEvent, now: Instant
    ) -> tuple[CoordinatorState, tuple[CoordinatorEffect, ...]]:
        """Take one event; return the new state and the effects, in the order to carry out."""
        turn = Turn(self.config, state, now)
        if isinstance(event, Elected):
            turn.change(term=event.term)
            takeover.begin(turn)
        elif isinstance(event, Deposed):
            if state.role is not Role.FOLLOWER:
                takeover.depose(turn, event.reason)
        elif state.role is Role.FOLLOWER:
            _refuse_as_follower(turn, event)
        else:
            _handle(turn, event)
            if turn.state.role is Role.LEADING:
                _go_on(turn)
        return turn.state, tuple(turn.effects)

    @staticmethod
    def next_deadline(state: CoordinatorState) -> MonotonicNs | None:
        """When the machine wants a ``Wake``; None where it waits for nothing."""
        return state.timers.next()


def _handle(turn: Turn, event: CoordinatorEvent) -> None:
    match event:
        case Wake():
            _on_wake(turn)
        case Transacted():
            _on_transacted(turn, event)
        case ReadDone():
            _on_read(turn, event)
        case FromAgent():
            _on_message(turn, event)
        case AgentGone():
            _on_gone(turn, event)
        case _:
            _on_request(turn, event)


def _refuse_as_follower(turn: Turn, event: CoordinatorEvent) -> None:
    ticket = getattr(event, "ticket", None)
    if ticket is not None:
        text = "this replica does not lead: ask the leader"
        turn.ask(Reply(ticket=ticket, answer=Refused(code="no-leader", text=text)))


# --- time ---------------------------------------------------------------------------------------


def _on_wake(turn: Turn) -> None:
    for name in turn.state.timers.expired(turn.now):
        turn.disarm(name)
        _ON_TIMER[name](turn)


def _on_sync(turn: Turn) -> None:
    turn.arm(SYNC_TIMER, turn.config.timing.sync_interval_ns)
    tell_everyone(turn)


def _on_lookup_timer(turn: Turn) -> None:
    """No answer to a look-up: ask the question again from the beginning."""
    event = turn.state.looking_up
    turn.change(looking_up=None)
    if event is not None:
        turn.change(waiting=(event, *turn.state.waiting))


_ON_TIMER: dict[str, Callable[[Turn], None]] = {
    takeover.TAKEOVER_TIMER: takeover.begin,
    switching.PREPARE_TIMER: switching.time_is_up,
    switching.UNDO_TIMER: switching.undo_time_is_up,
    landing.LIVE_TIMER: landing.time_is_up,
    landing.RETAIN_TIMER: landing.release_when_drained,
    STORE_TIMER: repeat_unanswered,
    SYNC_TIMER: _on_sync,
    LOOKUP_TIMER: _on_lookup_timer,
}

# --- the store's answers ------------------------------------------------------------------------


def _on_transacted(turn: Turn, event: Transacted) -> None:
    if not is_ours(turn, event.operation):
        return
    result = settle(turn, event.operation, event.result)
    if isinstance(result, Lost):
        if not leads_still(turn, result):
            takeover.depose(turn, "another replica holds the leader key")
            return
        _ON_LOST[event.operation.name](turn, event.operation.epoch, result)
    elif isinstance(result, Won):
        _ON_WON[event.operation.name](turn, event.operation.epoch, result)


def _accept_won(turn: Turn, epoch: Epoch, won: Won) -> None:
    attempt = turn.state.attempt
    assert attempt is not None
    assert attempt.epoch == epoch
    switching.accepted(turn, attempt, won.revision)


def _accept_lost(turn: Turn, epoch: Epoch, lost: Lost) -> None:
    """Prepare may be out under this number: it is used up by an abort, then the answer is given."""
    attempt = turn.state.attempt
    assert attempt is not None
    assert attempt.epoch == epoch
    if lost.found.get(keys.intent(epoch)) is not None:
        takeover.begin(turn)  # the store holds what this leader cannot have overlooked: read again
        return
    text = "the fleet or the head changed at the same moment: nothing was switched, try again"
    for ticket in attempt.tickets:
        turn.ask(Reply(ticket=ticket, answer=Refused(code="conflict", text=text)))
    switching.refuse_accept(turn, evolve(attempt, tickets=()), text)


def _decide_won(turn: Turn, epoch: Epoch, won: Won) -> None:
    if turn.state.burning is not None:
        takeover.burnt(turn)
        return
    attempt = turn.state.attempt
    assert attempt is not None
    assert attempt.deciding is not None
    landing.decided(turn, attempt.deciding, won.revision)
    _answer_undone(turn, attempt.deciding)


def _answer_undone(turn: Turn, decision: Decision) -> None:
    """The rollback that asked for this abort: done with it, or going on as the next epoch."""
    waiting = turn.state.undo_next
    if waiting is None:
        return
    turn.change(undo_next=None)
    if decision.verdict == "commit":
        turn.change(waiting=(waiting, *turn.state.waiting))
    else:
        turn.ask(Reply(ticket=waiting.ticket, answer=Accepted(epoch=decision.epoch)))


def _start_over(turn: Turn, epoch: Epoch, lost: Lost) -> None:
    """Still the leader, but the store is not as we knew it: read everything again."""
    takeover.begin(turn)


def _fleet_won(turn: Turn, epoch: Epoch, won: Won) -> None:
    standing.changed(turn, won.revision)


def _fleet_lost(turn: Turn, epoch: Epoch, lost: Lost) -> None:
    standing.change_refused(turn)
    takeover.begin(turn)


def _outcome_lost(turn: Turn, epoch: Epoch, lost: Lost) -> None:
    if lost.found.get(keys.outcome(epoch)) is not None:
        takeover.begin(turn)
        return
    landing.outcome_refused(turn, epoch)


def _nothing(turn: Turn, epoch: Epoch, result: Won | Lost) -> None:
    """Nothing follows from it."""


_ON_WON: dict[str, Callable[[Turn, Epoch, Won], None]] = {
    CREATE_HEAD: lambda turn, epoch, won: takeover.created_head(turn, won.revision),
    ACCEPT: _accept_won,
    DECIDE: _decide_won,
    OUTCOME: lambda turn, epoch, won: landing.concluded(turn, epoch, won.revision),
    FLEET: _fleet_won,
    RELEASE: lambda turn, epoch, won: landing.released(turn, epoch),
    NOTE: _nothing,
}
_ON_LOST: dict[str, Callable[[Turn, Epoch, Lost], None]] = {
    CREATE_HEAD: _start_over,
    ACCEPT: _accept_lost,
    DECIDE: _start_over,
    OUTCOME: _outcome_lost,
    FLEET: _fleet_lost,
    RELEASE: _start_over,
    NOTE: _nothing,
}


def _on_read(turn: Turn, event: ReadDone) -> None:
    if not is_ours(turn, event.operation):
        return
    name = event.operation.name
    if name == REQUIRED and turn.state.role is Role.TAKING_OVER:
        takeover.got_required(turn, event.snapshot)
    elif event.snapshot is not None:
        _ON_SNAPSHOT[name](turn, event.snapshot)


def _took_stock(turn: Turn, snapshot: Snapshot) -> None:
    if turn.state.role is Role.TAKING_OVER:
        takeover.took_stock(turn, snapshot)


def _got_details(turn: Turn, snapshot: Snapshot) -> None:
    if turn.state.role is Role.TAKING_OVER:
        takeover.got_details(turn, snapshot)


def _looked_up(turn: Turn, snapshot: Snapshot) -> None:
    """Decisions and tables that a question needed: keep them and ask it again."""
    for item in snapshot.below(keys.DECISIONS):
        decision = decode(item.value, Decision, limit=MAX_TABLE_BYTES)
        turn.change(library=turn.state.library.put(decision.epoch, decision))
    for item in snapshot.below(keys.TABLES):
        table = unpack_table(item.value)
        turn.change(tables=turn.state.tables.put(table.digest, table))
    event = turn.state.looking_up
    if event is not None:
        turn.disarm(LOOKUP_TIMER)
        turn.change(looking_up=None, waiting=(event, *turn.state.waiting))


def _confirmed(turn: Turn, snapshot: Snapshot) -> None:
    """Nothing to do, if the store still says so: a deposed leader must not claim it."""
    event = turn.state.looking_up
    turn.disarm(LOOKUP_TIMER)
    turn.change(looking_up=None)
    leader, head = snapshot.get(keys.LEADER), snapshot.get(keys.HEAD)
    if leader is None or leader.create_revision != turn.state.term:
        takeover.depose(turn, "another replica holds the leader key")
    elif isinstance(event, Requested) and head is not None:
        answer = Accepted(epoch=turn.head.committed, noop=True)
        turn.ask(Reply(ticket=event.ticket, answer=answer))


def _freshness(turn: Turn, snapshot: Snapshot) -> None:
    """An agent proved a decision that this leader does not know of (S11).

    Either another leader has decided since, and this one is deposed without knowing it, or the
    store went back: then nothing is decided until an operator signs a new incarnation.
    """
    leader = snapshot.get(keys.LEADER)
    if leader is None or leader.create_revision != turn.state.term:
        takeover.depose(turn, "an agent has heard of a newer leader")
        return
    stored = snapshot.get(keys.HEAD)
    head = decode(stored.value, Head, limit=MAX_TABLE_BYTES) if stored else None
    proven = max(
        (r.committed_epoch for r in turn.state.reports.values()),
        default=Epoch(0),
    )
    if head is None or head.decided < proven:
        text = (
            f"an agent proves that epoch {proven} was committed, but the store knows only "
            f"{head.decided if head else 'no head'}: the store went back (a restore?). "
            "Nothing is decided until `turnout domain rebase`"
        )
        takeover.halt(turn, text)


_ON_SNAPSHOT: dict[str, Callable[[Turn, Snapshot], None]] = {
    TAKEOVER: _took_stock,
    DETAILS: _got_details,
    LOOKUP: _looked_up,
    CONFIRM: _confirmed,
    FRESHNESS: _freshness,
}

# --- the agents ---------------------------------------------------------------------------------


def _on_message(turn: Turn, event: FromAgent) -> None:
    message = event.message
    config = turn.config
    verdict = admit_from_agent(message, turn.state, config.verifier, config.signer.public_key)
    if verdict is Suspicion.STORE_WENT_BACK and isinstance(message, Report):
        turn.change(reports=turn.state.reports.put(message.agent, message))
        read(turn, FRESHNESS, keys.LEADER, keys.HEAD)
        return
    if verdict is not None:
        return
    if isinstance(message, Vote):
        switching.count(turn, message)
    else:
        _on_report(turn, message, opened=event.opened)


def _on_report(turn: Turn, report: Report, *, opened: bool) -> None:
    agent = report.agent
    if not opened and _is_late(turn.state.reports.get(agent), report):
        return
    turn.change(reports=turn.state.reports.put(agent, report))
    if opened:
        turn.change(connected=turn.state.connected.put(agent, True))
    if turn.state.role is not Role.LEADING:
        return
    if opened or report.committed_epoch < turn.head.committed or _in_doubt(turn, report):
        tell_head(turn, agent)
    attempt = turn.state.attempt
    if attempt is not None and agent in attempt.required:
        registered = turn.state.fleet.agents[agent].journal_id
        if report.journal_id != registered:
            switching.lose_promise(turn, agent, "its journal is another one")
        elif report.staged_lost:
            switching.lose_promise(turn, agent, f"staged table lost: {report.staged_lost}")
        elif opened and agent in attempt.silent:
            tell_prepare(turn, attempt, (agent,))
    standing.mark_fallen(turn, report)
    landing.land(turn, report)
    landing.release_when_drained(turn)


def _is_late(last: Report | None, report: Report) -> bool:
    """Whether a report was overtaken by a newer one.

    In one journal, promise, commits and flips only rise: whatever is lower was said earlier.
    A stream's first report is believed all the same: it may speak of a disk that went back.
    """
    if last is None or last.journal_id != report.journal_id:
        return False
    return (
        report.promised < last.promised
        or report.committed_epoch < last.committed_epoch
        or report.active.rank < last.active.rank
    )


def _in_doubt(turn: Turn, report: Report) -> bool:
    """Whether the agent waits for a decision that is known; an old one is looked up for it."""
    prepared = report.prepared
    if prepared is None or prepared.epoch > turn.head.decided:
        return False
    if head_as_of(turn, prepared.epoch) is None and turn.state.looking_up is None:
        read(turn, LOOKUP, keys.decision(prepared.epoch))
    return True


def _on_gone(turn: Turn, event: AgentGone) -> None:
    turn.change(connected=turn.state.connected.drop(event.agent))


# --- the operators ------------------------------------------------------------------------------


def _on_request(turn: Turn, event: CoordinatorEvent) -> None:
    """Take a request at once, or let it wait its turn; a rollback asks for the abort first."""
    ticket = getattr(event, "ticket", 0)
    if turn.state.role is not Role.LEADING:
        text = turn.state.trouble or "this replica has just been elected and is taking over"
        code = "store-went-back" if turn.state.role is Role.HALTED else "no-leader"
        turn.ask(Reply(ticket=ticket, answer=Refused(code=code, text=text)))
    elif isinstance(event, AbortRequested):
        _on_abort(turn, event)
    elif isinstance(event, WaiveRequested):
        standing.waive(turn, event)
    elif isinstance(event, Requested):
        _on_switch_request(turn, event)
    else:
        turn.change(waiting=(*turn.state.waiting, event))


def _on_switch_request(turn: Turn, event: Requested) -> None:
    request, attempt = event.request, turn.state.attempt
    if _answered_by_key(turn, event):
        return
    if attempt is None:
        turn.change(waiting=(*turn.state.waiting, event))
        return
    if request.kind is not Kind.ROLLBACK or attempt.intent.request.kind is Kind.ROLLBACK:
        _refuse_busy(turn, event.ticket, attempt.epoch)
        return
    if turn.state.undo_next is not None:
        _refuse_busy(turn, event.ticket, attempt.epoch)
        return
    if request.undo is not None and request.undo != attempt.epoch:
        _refuse_busy(turn, event.ticket, attempt.epoch)
        return
    service = attempt.intent.request.service
    if request.service is not None and service is not None and request.service != service:
        _refuse_busy(turn, event.ticket, attempt.epoch)
        return
    turn.change(undo_next=event)
    switching.abort(turn, f"rollback requested by {request.actor or 'an operator'}")


def _refuse_busy(turn: Turn, ticket: int, epoch: Epoch) -> None:
    text = (
        f"epoch {epoch} is in progress: wait for it (turnout watch {epoch}), "
        f"or abort it (turnout abort {epoch})"
    )
    turn.ask(Reply(ticket=ticket, answer=Refused(code="switch-in-progress", text=text)))


def _answered_by_key(turn: Turn, event: Requested) -> bool:
    """Answer a repeated key with the switch that it became; with another body it is refused."""
    request, attempt = event.request, turn.state.attempt
    body = request.body_digest()
    known = turn.state.requests.get(request.key)
    if attempt is not None and attempt.intent.request.key == request.key and known is None:
        if attempt.body != body:
            _refuse_key(turn, event, attempt.epoch)
        else:
            tickets = (*attempt.tickets, event.ticket)
            turn.change(attempt=evolve(attempt, tickets=tickets))
        return True
    if known is None:
        return False
    if known.body != body:
        _refuse_key(turn, event, known.epoch)
    else:
        turn.ask(Reply(ticket=event.ticket, answer=Accepted(epoch=known.epoch)))
    return True


def _refuse_key(turn: Turn, event: Requested, epoch: Epoch) -> None:
    text = (
        f"the idempotency key '{event.request.key}' belongs to epoch {epoch}, "
        "which was asked with another body: use a new key"
    )
    turn.ask(Reply(ticket=event.ticket, answer=Refused(code="idempotency-conflict", text=text)))


def _on_abort(turn: Turn, event: AbortRequested) -> None:
    """Abort this epoch and no other; one decided already is what it is."""
    attempt = turn.state.attempt
    if attempt is not None and attempt.epoch == event.epoch:
        reason = f"aborted by {event.actor or 'an operator'}"
        switching.abort(turn, f"{reason}: {event.reason}" if event.reason else reason)
        turn.ask(Reply(ticket=event.ticket, answer=Accepted(epoch=event.epoch)))
    elif event.epoch <= turn.head.decided:
        text = f"epoch {event.epoch} is decided: to go back, use `turnout rollback`"
        turn.ask(Reply(ticket=event.ticket, answer=Refused(code="already-decided", text=text)))
    else:
        text = f"epoch {event.epoch} is not in progress"
        turn.ask(Reply(ticket=event.ticket, answer=Refused(code="unknown-epoch", text=text)))


# --- what waits ---------------------------------------------------------------------------------


def _go_on(turn: Turn) -> None:
    """Start what waited, once nothing is in its way; then let agents become good."""
    while turn.state.waiting and standing.is_free(turn) and turn.state.looking_up is None:
        event, *rest = turn.state.waiting
        turn.change(waiting=tuple(rest))
        _begin(turn, event)
    if turn.state.looking_up is None:
        standing.make_good(turn)
    landing.conclude(turn)


def _begin(turn: Turn, event: QueuedRequest) -> None:
    match event:
        case Requested():
            _consider_request(turn, event)
        case ExcludeRequested():
            standing.exclude(turn, event)
        case IncludeRequested():
            standing.include(turn, event)
        case EnrolRequested():
            standing.enrol(turn, event)
        case RemoveRequested():
            standing.remove(turn, event)


def _consider_request(turn: Turn, event: Requested) -> None:
    if _answered_by_key(turn, event):
        return
    unfinished = turn.state.unfinished
    if event.request.kind is not Kind.ROLLBACK and unfinished is not None:
        _refuse_busy(turn, event.ticket, unfinished.epoch)
        return
    answer = plan(turn.state, event.request)
    if isinstance(answer, Plan):
        switching.start(turn, event, answer)
    elif isinstance(answer, Refused):
        turn.ask(Reply(ticket=event.ticket, answer=answer))
    elif isinstance(answer, Noop):
        turn.change(looking_up=event)
        turn.arm(LOOKUP_TIMER, turn.config.timing.retry_ns)
        read(turn, CONFIRM, keys.LEADER, keys.HEAD)
    elif isinstance(answer, Need):
        turn.change(looking_up=event)
        turn.arm(LOOKUP_TIMER, turn.config.timing.retry_ns)
        wanted = [keys.decision(epoch) for epoch in answer.decisions]
        read(turn, LOOKUP, *wanted, *(keys.table(digest) for digest in answer.tables))
