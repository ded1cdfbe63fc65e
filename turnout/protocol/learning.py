"""Heads are facts. An agent is driven by the newest one's level, never by the order of messages.

A commit counts if above the newest in the journal, an abort only against what is prepared (H19):
so a commit heard after a newer abort is still a commit. What is heard is journalled before anything
depends on it; from then on the agent needs nobody (H1).
"""

from __future__ import annotations

from attrs import evolve

from turnout.protocol.activation import FAULT_CHECKS, ClockEstimate, delay_until
from turnout.protocol.fencing import table_fault
from turnout.protocol.identifiers import NO_TERM, Digest
from turnout.protocol.journalling import journal
from turnout.protocol.messages import Prepare, Rebase, Sync
from turnout.protocol.participant_state import DUE, RETRY, Turn
from turnout.protocol.records import AgentRecord, Commitment, Head, SignedTable, Verdict
from turnout.protocol.transitions import Cause


def learn(turn: Turn, message: Prepare | Sync) -> None:
    """Take over what the message's head says; the gate found it to be true."""
    head = message.head
    assert head is not None
    known = turn.state.head
    if known is None or head.decided > known.decided:
        turn.change(head=head)
    table = message.table if isinstance(message, Sync) else None
    if table is not None:
        _take_missing_table(turn, table)
    if head.committed > 0 and _rank(head) > turn.state.newest.rank:
        _learn_commit(turn, message, head, table)
    _learn_abort(turn, head)


def rebase(turn: Turn, message: Rebase) -> None:
    """Begin in a new incarnation: promise and prepared belonged to the old one (P10)."""
    record = evolve(
        turn.state.record,
        incarnation=message.record.incarnation,
        promised=NO_TERM,
        prepared=None,
    )
    journal(turn, Cause.REBASE, record, candidate=None, head=None, clock=None, staged_lost="")
    turn.has_news = True


def schedule(turn: Turn, cause: Cause) -> None:
    """Set the newest commit's time from the journal alone: no longer than G is left of it (H15).

    What was active before is due, whatever the wall clock says: the proxy may only have forgotten it.
    """
    committed, served = turn.state.record.committed, turn.state.record.active
    wait_ns = 0
    if committed is not None and committed.active.rank > max(turn.state.serving.rank, served.rank):
        left_ns = committed.due_wall_ns - turn.now.wall_ns
        wait_ns = min(max(0, left_ns), committed.head.activation.g_ns)
    timers = turn.state.timers.disarm(DUE)
    if wait_ns > 0:
        timers = timers.arm(DUE, turn.now.monotonic_ns + wait_ns)
    turn.change(cause, timers=timers)


def _take_missing_table(turn: Turn, table: SignedTable) -> None:
    """The file of a table that the journal names was lost, and the leader sent it again."""
    if table.digest in turn.state.tables:
        return
    if _is_sound(turn, table, turn.state.newest.digest):
        journal(turn, None, turn.state.record, table=table)
        turn.disarm(RETRY)


def _learn_commit(
    turn: Turn, message: Prepare | Sync, head: Head, table: SignedTable | None
) -> None:
    """Journal a commit, with its table; without one say so, and the leader sends it."""
    sent = table is not None and _is_sound(turn, table, head.digest)
    if head.digest not in turn.state.tables and not sent:
        turn.has_news = True
        return
    record = turn.state.record
    prepared = record.prepared
    voted = prepared is not None and (prepared.epoch, prepared.digest) == (
        head.committed,
        head.digest,
    )
    # The time is on the decider's clock; of another's the agent knows nothing (P7).
    in_time = voted and (head.term, head.replica) == (message.term, message.replica)
    wait_ns = _wait_ns(turn, head) if in_time else 0
    timers = turn.state.timers.disarm(RETRY).disarm(DUE)
    if wait_ns > 0:
        timers = timers.arm(DUE, turn.now.monotonic_ns + wait_ns)
    commitment = Commitment(head=head, due_wall_ns=turn.now.wall_ns + wait_ns, late=not in_time)
    journal(
        turn,
        Cause.COMMIT,
        evolve(_without_decided(record, head), committed=commitment),
        table=table if sent else None,
        candidate=_undecided_candidate(turn, head),
        timers=timers,
        trouble="",
        staged_lost=_still_lost(turn, head),
        live_ns=None,
        flipped_ns=None,
    )


def _learn_abort(turn: Turn, head: Head) -> None:
    """Forget what was prepared or asked, if this head says that it was aborted."""
    prepared = turn.state.record.prepared
    if prepared is None and turn.state.candidate is None:
        return
    aborted = prepared is not None and head.resolves(prepared.epoch) is Verdict.ABORT
    candidate = _undecided_candidate(turn, head)
    if not aborted and candidate is turn.state.candidate:
        return
    record = _without_decided(turn.state.record, head) if aborted else turn.state.record
    journal(
        turn,
        Cause.ABORT,
        record,
        candidate=candidate,
        staged_lost="" if aborted else turn.state.staged_lost,
    )


def _rank(head: Head) -> tuple[int, int]:
    return head.incarnation.number, head.committed


def _is_sound(turn: Turn, table: SignedTable, digest: Digest) -> bool:
    return table_fault(table, digest, turn.config.domain_key, turn.verifier) is None


def _wait_ns(turn: Turn, head: Head) -> int:
    """How long to wait; a clock that is proven wrong is not believed until checked again (H15)."""
    clock = turn.state.clock
    wait = delay_until(head.activation, turn.state.estimate, turn.now)
    if clock is not None and wait.fault and wait.fault != clock.estimate.fault:
        estimate = ClockEstimate(fault=wait.fault, unchecked=FAULT_CHECKS)
        turn.change(clock=evolve(clock, estimate=estimate))
    return wait.delay_ns


def _without_decided(record: AgentRecord, head: Head) -> AgentRecord:
    """The record without a prepared epoch that is decided."""
    if record.prepared is not None and record.prepared.epoch <= head.decided:
        return evolve(record, prepared=None)
    return record


def _undecided_candidate(turn: Turn, head: Head) -> object:
    candidate = turn.state.candidate
    return None if candidate and candidate.epoch <= head.decided else candidate


def _still_lost(turn: Turn, head: Head) -> str:
    prepared = _without_decided(turn.state.record, head).prepared
    return turn.state.staged_lost if prepared is not None else ""
