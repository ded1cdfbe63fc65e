"""Yes or no to one epoch's table, in one term.

A yes is journalled before it is said and withdrawn by a decision only. It is given when the table
was staged in the real proxy and the target's backends answered from this edge. A no is not an
outcome: who voted no waits for the decision like everybody (H8).
"""

from __future__ import annotations

from attrs import evolve

from turnout.protocol.effects import Send, Stage
from turnout.protocol.events import PersistFailed, Refusal, Staged
from turnout.protocol.fencing import table_fault
from turnout.protocol.identifiers import Digest, Epoch
from turnout.protocol.journalling import journal
from turnout.protocol.limits import MAX_TEXT
from turnout.protocol.messages import No, Prepare, Vote
from turnout.protocol.participant_state import Candidate, ParticipantState, Slot, Turn
from turnout.protocol.records import Prepared
from turnout.protocol.serving import refused
from turnout.protocol.transitions import Cause


def on_prepare(turn: Turn, message: Prepare) -> None:
    """Take on a prepare that passed the gate and whose head has been learnt."""
    prepared = turn.state.record.prepared
    if prepared is not None and _names(prepared, message.epoch, message.digest):
        _repeat_yes(turn, prepared, message)
        return
    asked = turn.state.candidate
    asked_again = asked is not None and asked.term == message.term
    if asked is None or not (asked_again and _names(asked, message.epoch, message.digest)):
        _ask(turn, message)
    elif asked.refusal is not None:
        _say_no(turn, asked)


def on_staged(turn: Turn, event: Staged) -> None:
    """Staging ended: for a vote, for a promise made before, or for a commit."""
    operation, state = turn.state.operation, turn.state
    if not isinstance(operation, Stage) or not _names(operation, event.epoch, event.digest):
        return
    if event.refusal is None:
        slot = Slot(epoch=event.epoch, digest=event.digest)
        turn.change(Cause.STAGED, operation=None, slot=slot)
    else:
        turn.change(Cause.REFUSED, operation=None, slot=None)
    prepared, candidate = state.record.prepared, state.candidate
    if prepared is not None and _names(prepared, event.epoch, event.digest):
        _restaged(turn, event)
    elif candidate is not None and _names(candidate, event.epoch, event.digest):
        _staged_for_vote(turn, candidate, event)
    elif event.refusal is not None:
        refused(turn, event.epoch, event.digest, event.refusal)


def refuse_unjournalled(turn: Turn, event: PersistFailed) -> None:
    """After a failed write: say again what was not said, and no to what could not be promised."""
    candidate = turn.state.candidate
    if candidate is not None and candidate.refusal is None:
        _refuse(turn, Cause.FAILED_FSYNC, candidate, _journal_failed(event))
    for effect in event.undone:
        if isinstance(effect, Send) and isinstance(effect.message, Vote):
            _vote_again(turn, effect.message, event)


def _vote_again(turn: Turn, vote: Vote, event: PersistFailed) -> None:
    """Say a vote that the failed write kept back, as far as the journal bears it out.

    A yes that is held for an older term only is neither said in this one nor withdrawn: it is asked
    for again, and the term is journalled then.
    """
    prepared = turn.state.record.prepared
    if vote.no is None and prepared is not None and _names(prepared, vote.epoch, vote.digest):
        if prepared.term == vote.term:
            turn.send(vote)
    elif vote.no is not None:
        turn.send(vote)
    else:
        candidate = Candidate(epoch=vote.epoch, digest=vote.digest, term=vote.term)
        _refuse(turn, Cause.FAILED_FSYNC, candidate, _journal_failed(event))


def _journal_failed(event: PersistFailed) -> Refusal:
    return Refusal(no=No.JOURNAL, reason=f"this agent's disk failed: {event.reason}")


def _ask(turn: Turn, message: Prepare) -> None:
    """Promise the term; then refuse at once, or let the table be staged."""
    record = evolve(turn.state.record, promised=message.term)
    refusal = _refusal(turn, message)
    table = message.table if refusal is None else None
    candidate = Candidate(
        epoch=message.epoch, digest=message.digest, term=message.term, refusal=refusal
    )
    at_hand = table is not None or message.digest in turn.state.tables
    if refusal is None and not at_hand:
        # The leader thinks that the table is here: it hears otherwise, and sends it.
        journal(turn, Cause.PREPARE, record, candidate=None)
        turn.has_news = True
        return
    journal(turn, Cause.PREPARE, record, table=table, candidate=candidate)
    if refusal is not None:
        _say_no(turn, candidate)


def _refusal(turn: Turn, message: Prepare) -> Refusal | None:
    """Why this agent votes no without asking its proxy; None if it does not."""
    conflict = _conflict(turn.state, message) or _base_fault(turn.state, message)
    if conflict is not None or message.table is None:
        return conflict
    fault = table_fault(message.table, message.digest, turn.config.domain_key, turn.verifier)
    return Refusal(no=fault[0], reason=fault[1]) if fault else None


def _conflict(state: ParticipantState, message: Prepare) -> Refusal | None:
    """A number never has two digests (S2): who saw one, does not vote for another."""
    for held in (state.record.prepared, state.candidate):
        if held is not None and held.epoch == message.epoch and held.digest != message.digest:
            text = f"epoch {message.epoch} was already asked with digest {held.digest}"
            return Refusal(no=No.CONFLICT, reason=text)
    return None


def _base_fault(state: ParticipantState, message: Prepare) -> Refusal | None:
    """The base gate: the newest commit is journalled, and in force here.

    Or the table asked for is: a rollback to the table of the commit before does not need the
    flip that it undoes (H2).
    """
    head, record = message.head, state.record
    active = record.active
    if (record.committed_epoch, record.committed_digest) != (head.committed, head.digest):
        text = f"epoch {head.committed} is not in this agent's journal yet"
        return Refusal(no=No.BASE, reason=text)
    goes_back = message.digest == head.base == active.digest
    if active.digest != head.digest and not goes_back:
        text = f"this edge serves epoch {active.epoch}, not {head.committed} yet"
        return Refusal(no=No.BASE, reason=text)
    return None


def _repeat_yes(turn: Turn, prepared: Prepared, message: Prepare) -> None:
    """The same question under another leader, or again: the same yes, without new checks (H11).

    If what was staged is lost it is staged again first, and the yes follows (H23).
    """
    record = evolve(
        turn.state.record, promised=message.term, prepared=evolve(prepared, term=message.term)
    )
    journal(turn, Cause.PREPARE, record, staged_lost="")
    if turn.state.slot == Slot(epoch=message.epoch, digest=message.digest):
        _say_yes(turn)


def _restaged(turn: Turn, event: Staged) -> None:
    """Say the yes that waited; not one of a term that is over since, which S4 forbids."""
    record = turn.state.record
    assert record.prepared is not None
    if event.refusal is None:
        if record.prepared.term == record.promised:
            _say_yes(turn)
        return
    turn.change(Cause.REFUSED, staged_lost=event.refusal.reason or event.refusal.no)
    turn.has_news = True


def _staged_for_vote(turn: Turn, candidate: Candidate, event: Staged) -> None:
    if candidate.refusal is not None:
        return
    if event.refusal is not None:
        _refuse(turn, Cause.REFUSED, candidate, event.refusal)
        return
    prepared = Prepared(epoch=candidate.epoch, digest=candidate.digest, term=candidate.term)
    record = evolve(turn.state.record, promised=candidate.term, prepared=prepared)
    journal(turn, Cause.STAGED, record, candidate=None)
    _say_yes(turn, event.staging_ns)


def _refuse(turn: Turn, cause: Cause, candidate: Candidate, refusal: Refusal) -> None:
    answered = evolve(candidate, refusal=refusal)
    turn.change(cause, candidate=answered)
    _say_no(turn, answered)


def _say_no(turn: Turn, candidate: Candidate) -> None:
    assert candidate.refusal is not None
    _send_vote(turn, candidate, refusal=candidate.refusal)


def _say_yes(turn: Turn, staging_ns: int = 0) -> None:
    prepared = turn.state.record.prepared
    assert prepared is not None
    _send_vote(turn, prepared, staging_ns=staging_ns)


def _send_vote(
    turn: Turn,
    about: Candidate | Prepared,
    *,
    refusal: Refusal | None = None,
    staging_ns: int = 0,
) -> None:
    record = turn.state.record
    assert record.incarnation is not None
    estimate = turn.state.estimate
    turn.send(
        Vote(
            agent=turn.config.agent,
            incarnation=record.incarnation,
            term=about.term,
            epoch=about.epoch,
            digest=about.digest,
            journal_id=record.journal_id,
            no=refusal.no if refusal else None,
            reason=refusal.reason[:MAX_TEXT] if refusal else "",
            staging_ns=staging_ns,
            round_trip_ns=estimate.round_trip_ns,
            bound_ns=estimate.bound_ns(turn.now.monotonic_ns),
        )
    )


def _names(named: Prepared | Candidate | Stage, epoch: Epoch, digest: Digest) -> bool:
    return (named.epoch, named.digest) == (epoch, digest)
