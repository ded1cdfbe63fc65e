"""What operators ask for: taken at once, made to wait its turn, or refused.

A request waits while an intent is open or the fleet changes; what it needs to be answered is read
from the store (``planning.py`` says what), and it is asked again. A repeated idempotency key gets
the answer that its first use got.
"""

from __future__ import annotations

from typing import assert_never

from attrs import evolve

from turnout.protocol import keys, landing, standing, switching, takeover
from turnout.protocol.codec import decode
from turnout.protocol.coordinator_state import Role, Turn
from turnout.protocol.effects import Accepted, Refused, Reply
from turnout.protocol.events import (
    AbortRequested,
    CoordinatorEvent,
    EnrolRequested,
    ExcludeRequested,
    IncludeRequested,
    QueuedRequest,
    RemoveRequested,
    Requested,
    WaiveRequested,
)
from turnout.protocol.identifiers import Epoch
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.planning import GONE, Need, Noop, Plan, malformed_in, plan
from turnout.protocol.records import Decision, Kind, Status, Verdict
from turnout.protocol.storing import CONFIRM, LOOKUP, is_led_by_us, read
from turnout.protocol.transactions import Snapshot
from turnout.protocol.wire import unpack_table

# --- the operators ------------------------------------------------------------------------------


def on_request(turn: Turn, event: CoordinatorEvent) -> None:
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
    malformed = malformed_in(request)
    if malformed is not None:
        turn.ask(Reply(ticket=event.ticket, answer=malformed))
        return
    if attempt is None:
        turn.change(waiting=(*turn.state.waiting, event))
        return
    if request.kind is not Kind.ROLLBACK or attempt.intent.request.kind is Kind.ROLLBACK:
        _refuse_busy(turn, event.ticket, attempt.epoch)
        return
    if turn.state.undo_next:
        _join_undo(turn, event, attempt.epoch)
        return
    if request.undo is not None and request.undo != attempt.epoch:
        _refuse_busy(turn, event.ticket, attempt.epoch)
        return
    service = attempt.intent.request.service
    if request.service is not None and service is not None and request.service != service:
        _refuse_busy(turn, event.ticket, attempt.epoch)
        return
    if attempt.deciding is not None and attempt.deciding.verdict is Verdict.ABORT:
        text = (
            f"epoch {attempt.epoch} is being aborted ({attempt.deciding.reason}), which is not known "
            "to be done yet: ask again in a moment"
        )
        turn.ask(Reply(ticket=event.ticket, answer=Refused(code="switch-in-progress", text=text)))
        return
    turn.change(undo_next=(event,))
    switching.abort(turn, f"rollback requested by {request.actor or 'an operator'}")


def _join_undo(turn: Turn, event: Requested, epoch: Epoch) -> None:
    """The same rollback, sent again while it waits for the abort, gets the same answer."""
    asked = turn.state.undo_next[0].request
    if event.request.key != asked.key:
        _refuse_busy(turn, event.ticket, epoch)
    elif event.request.body_digest() != asked.body_digest():
        _refuse_key(turn, event, epoch)
    else:
        turn.change(undo_next=(*turn.state.undo_next, event))


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
    if attempt is not None and attempt.epoch == event.epoch and attempt.deciding is None:
        reason = f"aborted by {event.actor or 'an operator'}"
        switching.abort(turn, f"{reason}: {event.reason}" if event.reason else reason)
        turn.ask(Reply(ticket=event.ticket, answer=Accepted(epoch=event.epoch)))
    elif event.epoch <= (attempt.epoch if attempt else turn.head.decided):
        what = "is decided: to go back, use `turnout rollback`"
        if attempt is not None and attempt.epoch == event.epoch and attempt.deciding is not None:
            aborting = attempt.deciding.verdict is Verdict.ABORT
            what = "is being aborted already" if aborting else "is being committed"
        elif turn.head.committed < event.epoch <= turn.head.decided:
            what = "is aborted already"
        text = f"epoch {event.epoch} {what}"
        turn.ask(Reply(ticket=event.ticket, answer=Refused(code="already-decided", text=text)))
    else:
        text = f"epoch {event.epoch} is not in progress"
        turn.ask(Reply(ticket=event.ticket, answer=Refused(code="unknown-epoch", text=text)))


# --- what waits ---------------------------------------------------------------------------------


def go_on(turn: Turn) -> None:
    """Start what waited, once nothing is in its way; then let agents become good."""
    while turn.state.waiting and _is_free(turn):
        event, *rest = turn.state.waiting
        turn.change(waiting=tuple(rest))
        _begin(turn, event)
    if turn.state.looking_up is None:
        standing.make_good(turn)
    landing.conclude(turn)


def _is_free(turn: Turn) -> bool:
    """Whether the next of those who wait may be served.

    Not while a commit that was rolled back has no outcome: a new leader looks for two at most.
    """
    unfinished = turn.state.unfinished
    if turn.state.looking_up is not None or not standing.is_free(turn):
        return False
    return unfinished is None or not landing.is_superseded(turn, unfinished)


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
        case _ as never:
            assert_never(never)


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
        read(turn, CONFIRM, keys.LEADER)
    else:
        turn.change(looking_up=event)
        wanted = [keys.decision(epoch) for epoch in answer.decisions]
        read(turn, LOOKUP, *wanted, *(keys.table(digest) for digest in answer.tables))


# --- what a question needed --------------------------------------------------------------------


def looked_up(turn: Turn, snapshot: Snapshot) -> None:
    """Decisions and tables that a question needed: keep them and ask it again."""
    event = turn.state.looking_up
    assert event is not None
    needed = plan(turn.state, event.request)
    keep(turn, snapshot)
    if isinstance(needed, Need) and plan(turn.state, event.request) == needed:
        turn.change(looking_up=None)
        turn.ask(Reply(ticket=event.ticket, answer=GONE))
        return
    ask_again(turn)


def keep(turn: Turn, snapshot: Snapshot) -> None:
    """Keep in memory what was read."""
    for item in snapshot.below(keys.DECISIONS):
        decision = decode(item.value, Decision, limit=MAX_TABLE_BYTES)
        turn.change(library=turn.state.library.put(decision.epoch, decision))
    for item in snapshot.below(keys.TABLES):
        table = unpack_table(item.value)
        turn.change(tables=turn.state.tables.put(table.digest, table))


def ask_again(turn: Turn) -> None:
    """Ask the question that waited for a read again, from the beginning."""
    event = turn.state.looking_up
    assert event is not None
    turn.change(looking_up=None, waiting=(event, *turn.state.waiting))


def confirmed(turn: Turn, snapshot: Snapshot) -> None:
    """Nothing to do, if the store still says so: a deposed leader must not claim it.

    Where an agent is behind, it is that epoch's own outcome that answers.
    """
    event = turn.state.looking_up
    assert event is not None
    turn.change(looking_up=None)
    if not is_led_by_us(turn, snapshot):
        takeover.depose(turn, takeover.ANOTHER_LEADS)
        return
    everywhere = not turn.state.fleet.with_status(Status.STALE)
    answer = Accepted(epoch=turn.head.committed, noop=everywhere)
    turn.ask(Reply(ticket=event.ticket, answer=answer))
