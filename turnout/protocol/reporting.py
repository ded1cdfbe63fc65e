"""What the leader is told of this agent, and what its receipts tell of its clock.

In an undisturbed switch an agent says two things: its vote, and that it is live, with the drains that
have ended by then; one that ends later is a report of its own. Besides, it reports at every connect,
whenever something goes wrong, and when it has said nothing for a while: the exchange of clocks rides
on reports, so that they come quickly until the bound rests on a few of them.
"""

from __future__ import annotations

from turnout.protocol.activation import ClockEstimate
from turnout.protocol.clock import MS, SECOND, ClockNs, Instant, MonotonicNs
from turnout.protocol.identifiers import ReplicaId, Term
from turnout.protocol.limits import MAX_TEXT
from turnout.protocol.messages import DrainStatus, Receipt, Report
from turnout.protocol.participant_state import (
    REPORT,
    LeaderClock,
    ParticipantConfig,
    ParticipantState,
    Turn,
)

REPORT_INTERVAL_NS = 5 * SECOND
"""Longest time between reports: the drift within it adds 2.5 ms to a clock's bound."""

FIRST_INTERVAL_NS = 250 * MS
FIRST_EXCHANGES = 4
"""Four exchanges a quarter of a second apart: a second after a connect the bound is near its best."""


def link_up(turn: Turn) -> None:
    """Somebody listens: tell all, and begin to measure."""
    turn.change(linked=True)
    turn.has_news = True


def link_down(turn: Turn) -> None:
    """Nobody listens any more."""
    turn.change(linked=False)
    turn.disarm(REPORT)


def hear_leader(turn: Turn, term: Term, replica: ReplicaId) -> None:
    """Begin another estimate when a newer leader speaks: it dates by another clock."""
    clock = turn.state.clock
    if clock is None or term > clock.term:
        turn.change(clock=LeaderClock(term=term, replica=replica))


def on_receipt(turn: Turn, receipt: Receipt) -> None:
    """Take in one exchange of clocks with the leader of now."""
    hear_leader(turn, receipt.term, receipt.replica)
    clock = turn.state.clock
    assert clock is not None
    if (clock.term, clock.replica) == (receipt.term, receipt.replica):
        estimate = clock.estimate.observe(receipt, turn.now)
        turn.change(clock=LeaderClock(term=clock.term, replica=clock.replica, estimate=estimate))


def send_report(turn: Turn) -> None:
    """Send all that a leader needs to know, and again after a while; nothing without a stream."""
    if not turn.state.linked:
        return
    is_new = len(turn.state.estimate.exchanges) < FIRST_EXCHANGES
    turn.arm(REPORT, FIRST_INTERVAL_NS if is_new else REPORT_INTERVAL_NS)
    turn.send(report_of(turn.config, turn.state, turn.now))


def report_of(config: ParticipantConfig, state: ParticipantState, now: Instant) -> Report:
    """All that a leader needs to know of an agent in this state."""
    record, estimate = state.record, state.estimate
    return Report(
        agent=config.agent,
        region=config.region,
        incarnation=record.incarnation,
        journal_id=record.journal_id,
        promised=record.promised,
        prepared=record.prepared,
        committed=record.committed.head if record.committed else None,
        active=record.active,
        progress=state.progress,
        reason=(state.trouble or state.mistrust or estimate.fault)[:MAX_TEXT],
        flipped_at_ns=_on_leader_clock(estimate, now, state.flipped_ns),
        live_at_ns=_on_leader_clock(estimate, now, state.live_ns),
        bound_ns=estimate.bound_ns(now.monotonic_ns),
        late=_flipped_late(state),
        staged_lost=state.staged_lost[:MAX_TEXT],
        drains=tuple(
            DrainStatus(
                epoch=drain.epoch,
                service=drain.service,
                colour=drain.colour,
                in_flight=drain.in_flight,
                ended=drain.ended,
            )
            for drain in state.drains
        ),
        tables=tuple(sorted(state.tables)),
        sent_ns=now.monotonic_ns,
    )


def _flipped_late(state: ParticipantState) -> bool:
    committed = state.record.committed
    return committed is not None and committed.late and committed.active == state.record.active


def _on_leader_clock(
    estimate: ClockEstimate, now: Instant, moment: MonotonicNs | None
) -> ClockNs | None:
    """A moment of this host on the leader's clock, or on this host's where that is unknown."""
    if moment is None:
        return None
    on_leader = estimate.to_leader_clock(moment)
    if on_leader is not None:
        return on_leader
    return ClockNs(now.clock_ns - (now.monotonic_ns - moment))
