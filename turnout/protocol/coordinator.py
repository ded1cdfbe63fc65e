"""The coordinator's machine: ``step(state, event, now) -> (state, effects)``.

Read it top to bottom: one handler an event, each a few lines that call the files that know:
``takeover.py`` (a new leader), ``requesting.py`` (what operators ask for), ``planning.py`` (may a
request become a switch), ``switching.py`` (prepare, votes, the decision), ``landing.py`` (live,
outcome), ``releasing.py`` (drain, release), ``standing.py`` (the fleet), ``telling.py`` (which agent
hears what), ``tidying.py`` (garbage), ``storing.py`` (the store).
A replica that does not lead ignores everything but ``Elected`` and refuses requests.
"""

from __future__ import annotations

from collections.abc import Callable

from turnout.protocol import (
    keys,
    landing,
    releasing,
    requesting,
    standing,
    switching,
    takeover,
    tidying,
)
from turnout.protocol.clock import Instant, MonotonicNs
from turnout.protocol.codec import decode
from turnout.protocol.coordinator_state import (
    Attempt,
    CoordinatorConfig,
    CoordinatorState,
    Role,
    Turn,
)
from turnout.protocol.effects import (
    Accepted,
    CoordinatorEffect,
    Operation,
    Refused,
    Reply,
)
from turnout.protocol.events import (
    AgentGone,
    CoordinatorEvent,
    Deposed,
    Elected,
    FromAgent,
    ReadDone,
    Transacted,
    Wake,
)
from turnout.protocol.gate import Suspicion, admit_from_agent
from turnout.protocol.identifiers import Epoch
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.messages import Report, Vote
from turnout.protocol.records import Decision, Head, RequestRecord, Verdict
from turnout.protocol.storing import (
    ACCEPT,
    CONFIRM,
    CREATE_HEAD,
    DECIDE,
    DETAILS,
    DOUBT,
    FLEET,
    FRESHNESS,
    LISTING,
    LOOKUP,
    NOTE,
    OUTCOME,
    RECALL,
    RELEASE,
    REQUIRED,
    STORE_TIMER,
    TAKEOVER,
    is_led_by_us,
    is_ours,
    read,
    repeat_unanswered,
    settle,
)
from turnout.protocol.telling import SYNC_TIMER, head_as_of, tell_everyone, tell_head, tell_prepare
from turnout.protocol.transactions import Lost, Snapshot, Won


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
                requesting.go_on(turn)
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
            requesting.on_request(turn, event)


def _refuse_as_follower(turn: Turn, event: CoordinatorEvent) -> None:
    ticket = getattr(event, "ticket", None)
    if ticket is not None:
        text = "this replica does not lead: ask the leader"
        turn.ask(Reply(ticket=ticket, answer=Refused(code="no-leader", text=text)))


# --- time ---------------------------------------------------------------------------------------


def _on_wake(turn: Turn) -> None:
    """Handle what is due, earliest first; one handler may disarm what another would have done."""
    while expired := turn.state.timers.expired(turn.now):
        turn.disarm(expired[0])
        _ON_TIMER[expired[0]](turn)


def _on_sync(turn: Turn) -> None:
    turn.arm(SYNC_TIMER, turn.config.timing.sync_interval_ns)
    tidying.arrange(turn)
    tell_everyone(turn)


def _t_prep_is_over(turn: Turn) -> None:
    """The time to hear from everybody: of the fleet after a takeover, or of those asked."""
    if turn.state.attempt is None:
        takeover.burn(turn)
    else:
        switching.time_is_up(turn)


_ON_TIMER: dict[str, Callable[[Turn], None]] = {
    switching.PREPARE_TIMER: _t_prep_is_over,
    switching.UNDO_TIMER: switching.time_is_up,
    landing.LIVE_TIMER: landing.time_is_up,
    releasing.RETAIN_TIMER: releasing.release_when_drained,
    STORE_TIMER: repeat_unanswered,
    SYNC_TIMER: _on_sync,
    tidying.TIDY_TIMER: tidying.begin,
}

# --- the store's answers ------------------------------------------------------------------------


def _on_transacted(turn: Turn, event: Transacted) -> None:
    if not is_ours(turn, event.operation):
        return
    result = settle(turn, event.operation, event.result)
    if isinstance(result, Lost):
        _on_lost(turn, event.operation, result)
    elif isinstance(result, Won):
        _ON_WON[event.operation.name](turn, event.operation.epoch, result)


def _on_lost(turn: Turn, operation: Operation, lost: Lost) -> None:
    if not is_led_by_us(turn, lost.found):
        takeover.depose(turn, takeover.ANOTHER_LEADS)
    elif operation.name == RELEASE:
        releasing.release_refused(turn)
    else:
        text = f"'{operation.name}' was refused: the store is not as this leader left it"
        takeover.depose(turn, text)


def _accept_won(turn: Turn, epoch: Epoch, won: Won) -> None:
    attempt = turn.state.attempt
    assert attempt is not None
    assert attempt.epoch == epoch
    switching.accepted(turn, attempt, won.revision)


def _decide_won(turn: Turn, epoch: Epoch, won: Won) -> None:
    if turn.state.burning is not None:
        takeover.burnt(turn)
        return
    attempt = turn.state.attempt
    assert attempt is not None
    assert attempt.deciding is not None
    landing.decided(turn, attempt.deciding, won.revision)
    _answer_undone(turn, attempt.deciding)
    if attempt.deciding.verdict is Verdict.ABORT and len(attempt.silent) == len(attempt.required):
        takeover.hand_over_if_alone(turn, was_unanswered=True)


def _answer_undone(turn: Turn, decision: Decision) -> None:
    """The rollback that asked for this abort: done with it, or going on as the next epoch."""
    undoing = turn.state.undo_next
    turn.change(undo_next=())
    if decision.verdict is Verdict.COMMIT:
        turn.change(waiting=(*undoing, *turn.state.waiting))
        return
    for event in undoing:
        record = RequestRecord(epoch=decision.epoch, body=event.request.body_digest())
        turn.change(requests=turn.state.requests.put(event.request.key, record))
        turn.ask(Reply(ticket=event.ticket, answer=Accepted(epoch=decision.epoch)))


def _outcome_won(turn: Turn, epoch: Epoch, won: Won) -> None:
    landing.concluded(turn, epoch, won.revision)
    takeover.hand_over_if_alone(turn)


def _fleet_won(turn: Turn, epoch: Epoch, won: Won) -> None:
    standing.changed(turn, won.revision)
    releasing.forget_the_removed(turn)
    landing.release_the_taken_out(turn)
    releasing.release_when_drained(turn)


def _note_won(turn: Turn, epoch: Epoch, won: Won) -> None:
    standing.waived(turn)
    releasing.release_when_drained(turn)


_ON_WON: dict[str, Callable[[Turn, Epoch, Won], None]] = {
    CREATE_HEAD: lambda turn, epoch, won: takeover.created_head(turn, won.revision),
    ACCEPT: _accept_won,
    DECIDE: _decide_won,
    OUTCOME: _outcome_won,
    FLEET: _fleet_won,
    RELEASE: lambda turn, epoch, won: releasing.released(turn, epoch),
    NOTE: _note_won,
}


def _on_read(turn: Turn, event: ReadDone) -> None:
    if not is_ours(turn, event.operation):
        return
    name = event.operation.name
    if event.snapshot is None:
        _ON_NO_ANSWER[name](turn)
    else:
        _ON_SNAPSHOT[name](turn, event.snapshot)


def _compare_with_proof(turn: Turn, snapshot: Snapshot) -> None:
    """An agent proved a decision that this leader does not know of (S11).

    Either another leader has decided since, and this one is deposed without knowing it, or the
    store went back: then nothing is decided until an operator signs a new incarnation.
    """
    proof = turn.state.proof
    assert proof is not None
    turn.change(proof=None)
    if not is_led_by_us(turn, snapshot):
        takeover.depose(turn, "an agent has heard of a newer leader")
        return
    stored = snapshot.get(keys.HEAD)
    head = decode(stored.value, Head, limit=MAX_TABLE_BYTES) if stored else turn.head
    text = (
        f"an agent proves that epoch {proof.committed} was committed, in term {proof.term}, but the store "
        f"knows of epoch {head.decided}, of the commit of {head.committed} and of term {turn.state.term}: "
        "it went back (a restore?). Nothing is decided until `turnout domain rebase`"
    )
    takeover.halt(turn, text)


_ON_SNAPSHOT: dict[str, Callable[[Turn, Snapshot], None]] = {
    TAKEOVER: takeover.took_stock,
    DETAILS: takeover.got_details,
    REQUIRED: takeover.got_required,
    LOOKUP: requesting.looked_up,
    CONFIRM: requesting.confirmed,
    FRESHNESS: _compare_with_proof,
    DOUBT: requesting.keep,
    RECALL: tidying.recalled,
    LISTING: tidying.listed,
}


def _look_at_the_store(turn: Turn) -> None:
    read(turn, FRESHNESS, keys.LEADER, keys.HEAD)


_ON_NO_ANSWER: dict[str, Callable[[Turn], None]] = {
    TAKEOVER: takeover.begin,
    DETAILS: takeover.begin,
    REQUIRED: takeover.required_gone,
    LOOKUP: requesting.ask_again,
    CONFIRM: requesting.ask_again,
    FRESHNESS: _look_at_the_store,
    DOUBT: lambda turn: None,
    RECALL: lambda turn: None,
    LISTING: lambda turn: None,
}
"""A host pauses before it says that a read had no answer, so that nothing here turns in a whirl."""

# --- the agents ---------------------------------------------------------------------------------


def _on_message(turn: Turn, event: FromAgent) -> None:
    message = event.message
    config = turn.config
    verdict = admit_from_agent(message, turn.state, config.verifier, config.signer.public_key)
    if verdict is Suspicion.STORE_WENT_BACK:
        assert isinstance(message, Report)
        if turn.state.proof is None:
            _look_at_the_store(turn)
        turn.change(proof=message.committed)
        return
    if verdict is not None:
        return
    if isinstance(message, Vote):
        switching.count(turn, message)
    else:
        _on_report(turn, message, opened=event.opened)


def _on_report(turn: Turn, report: Report, *, opened: bool) -> None:
    agent = report.agent
    if not opened and is_late(turn.state.reports.get(agent), report):
        return
    turn.change(reports=turn.state.reports.put(agent, report))
    if opened:
        turn.change(connected=turn.state.connected.put(agent, True))
    if turn.state.role is not Role.LEADING:
        return
    if opened or report.committed_epoch < turn.head.committed or _in_doubt(turn, report):
        tell_head(turn, agent)
    attempt = turn.state.attempt
    if attempt is not None and attempt.asks(agent):
        _on_report_of_required(turn, attempt, report, opened=opened)
    takeover.burn_if_heard(turn)
    standing.mark_fallen(turn, report)
    landing.land(turn, report)


def _on_report_of_required(turn: Turn, attempt: Attempt, report: Report, *, opened: bool) -> None:
    agent, prepared = report.agent, report.prepared
    registered = turn.state.fleet.agents[agent].journal_id
    if report.journal_id != registered:
        switching.lose_promise(turn, agent, "its journal is another one")
    elif report.staged_lost and prepared is not None and prepared.epoch == attempt.epoch:
        switching.lose_promise(turn, agent, f"staged table lost: {report.staged_lost}")
    elif opened and agent in attempt.silent:
        tell_prepare(turn, attempt, (agent,))


def is_late(last: Report | None, report: Report) -> bool:
    """Whether a report was overtaken by a newer one.

    In one journal, incarnations, and in each promise, commits and flips only rise: whatever is
    lower was said earlier. A stream's first report is believed all the same: it may speak of a
    disk that went back.
    """
    if last is None:
        return False
    if last.journal_id != report.journal_id:
        return True  # a journal changes with a restart only, and that opens a stream
    if _incarnation(report) != _incarnation(last):
        return _incarnation(report) < _incarnation(last)
    return (
        report.promised < last.promised
        or report.committed_epoch < last.committed_epoch
        or report.active.rank < last.active.rank
    )


def _incarnation(report: Report) -> int:
    return report.incarnation.number if report.incarnation else 0


def _in_doubt(turn: Turn, report: Report) -> bool:
    """Whether the agent waits for a decision that is known; an old one is looked up for it."""
    prepared = report.prepared
    if prepared is None or prepared.epoch > turn.head.decided:
        return False
    if head_as_of(turn, prepared.epoch) is None:
        read(turn, DOUBT, keys.decision(prepared.epoch))
    return True


def _on_gone(turn: Turn, event: AgentGone) -> None:
    turn.change(connected=turn.state.connected.drop(event.agent))
    takeover.hand_over_if_alone(turn)
