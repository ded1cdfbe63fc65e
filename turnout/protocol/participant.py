"""The agent's machine: takes events, decides, and says what is to be done, in order.

An agent is a textbook participant of two-phase commit with a journal, and the keeper of one proxy.
Messages and results only change what it knows; what to do about it is worked out from the whole
state at the end of every step (``serving.py``). So a restart is no special case: it reads the
journal, asks the proxy, and goes on.

``fencing.py`` is asked first, always. Then: ``learning.py`` takes over decisions, ``voting.py``
answers prepares, ``serving.py`` moves the proxy, ``draining.py`` lets the source finish,
``reporting.py`` tells the leader. ``transitions.py`` says which ways a phase may go.
"""

from __future__ import annotations

from typing import assert_never

from turnout.protocol.clock import Instant, MonotonicNs
from turnout.protocol.draining import begin_drains_anew, drain_timed_out, in_flight, review_drains
from turnout.protocol.effects import AgentEffect
from turnout.protocol.events import (
    Activated,
    AgentEvent,
    Booted,
    FromLeader,
    InFlight,
    LinkDown,
    LinkUp,
    PersistFailed,
    Proven,
    ProxyRestarted,
    Staged,
    Wake,
)
from turnout.protocol.fencing import Admission, admit_from_leader
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.learning import learn, rebase, schedule
from turnout.protocol.messages import Down, Prepare, Rebase, Receipt, Sync
from turnout.protocol.participant_state import (
    DUE,
    JOURNAL,
    REPORT,
    ParticipantConfig,
    ParticipantState,
    Turn,
)
from turnout.protocol.recovery import recover
from turnout.protocol.reporting import (
    hear_leader,
    link_down,
    link_up,
    on_receipt,
    send_report,
)
from turnout.protocol.serving import go_on, on_activated, on_proven, on_proxy_restarted
from turnout.protocol.signing import Verifier
from turnout.protocol.transitions import Cause
from turnout.protocol.voting import on_prepare, on_staged, refuse_unjournalled


class Participant:
    """Decides for one agent. Holds nothing but its configuration: the state is the caller's."""

    def __init__(self, config: ParticipantConfig, verifier: Verifier) -> None:
        self._config = config
        self._verifier = verifier

    def step(
        self, state: ParticipantState, event: AgentEvent, now: Instant
    ) -> tuple[ParticipantState, tuple[AgentEffect, ...]]:
        """Return the state after the event, and the effects to carry out in this order.

        The first event must be ``Booted``; nothing is heard before it.

        Raises:
            IllegalTransition: the machine itself is at fault.
        """
        turn = Turn(self._config, self._verifier, state, now)
        if state.record.journal_id or isinstance(event, Booted):
            _handle(turn, event)
            if turn.has_moved:  # else all that can be started has been
                go_on(turn)
            if turn.has_news:
                send_report(turn)
        return turn.state, tuple(turn.effects)

    def next_deadline(self, state: ParticipantState) -> MonotonicNs | None:
        """When to step with ``Wake`` at the latest; None: never by itself."""
        return state.timers.next()


def _handle(turn: Turn, event: AgentEvent) -> None:
    match event:
        case FromLeader():
            _on_message(turn, event.message)
        case Wake():
            _on_wake(turn)
        case Booted():
            _on_booted(turn, event)
        case LinkUp():
            link_up(turn)
        case LinkDown():
            link_down(turn)
        case PersistFailed():
            _on_persist_failed(turn, event)
        case Staged():
            on_staged(turn, event)
        case Activated():
            on_activated(turn, event)
        case Proven():
            on_proven(turn, event)
        case ProxyRestarted():
            on_proxy_restarted(turn, event)
        case InFlight():
            in_flight(turn, event)
        case _ as never:
            assert_never(never)


def _on_message(turn: Turn, message: Down) -> None:
    state = turn.state
    admission = admit_from_leader(
        message, state.record, state.head, turn.config.domain_key, turn.verifier
    )
    _judge(turn, message, admission)
    if isinstance(message, Prepare | Sync) and admission.facts:
        hear_leader(turn, message.term, message.replica)
        if not _disk_rests(turn):
            learn(turn, message)
    if not admission.order or (_disk_rests(turn) and not isinstance(message, Receipt)):
        return
    assert not isinstance(message, Sync), "a sync is no order: its head passes the gate, no more"
    match message:
        case Prepare():
            on_prepare(turn, message)
        case Receipt():
            on_receipt(turn, message)
        case Rebase():
            rebase(turn, message)
        case _ as never:
            assert_never(never)


def _judge(turn: Turn, message: Down, admission: Admission) -> None:
    """Remember whether coordinators are believed, and tell the leader when that changes.

    It is how an operator hears of an agent with a wrong key: it holds its stream, and does nothing.
    """
    believed = admission.facts or (isinstance(message, Rebase) and admission.order)
    if not (believed or admission.mistrust) or admission.mistrust == turn.state.mistrust:
        return
    turn.change(mistrust=admission.mistrust)
    turn.has_news = True


def _on_wake(turn: Turn) -> None:
    for name in turn.state.timers.expired(turn.now):
        if name == DUE:
            turn.change(Cause.DUE, timers=turn.state.timers.disarm(DUE))
        else:
            turn.disarm(name)
        if name in (REPORT, JOURNAL):
            turn.has_news = True
        else:
            drain_timed_out(turn, name)


def _on_booted(turn: Turn, event: Booted) -> None:
    """Begin from what journal, disk and proxy say; all else is learnt again."""
    record = event.record
    _, serving = recover(record, event.serving)
    tables = {table.digest: table for table in event.tables}
    turn.has_moved = True
    turn.state = ParticipantState(
        record=record,
        tables=FrozenMap(tables),
        serving=serving,
    )
    # A flip is asked for once its commit is journalled: this one may be under way, and come yet.
    turn.change(ahead=max(serving.rank, turn.state.newest.rank) > record.active.rank)
    committed = record.committed
    if committed is not None and committed.active == record.active:
        turn.change(before=committed.head.base)
    begin_drains_anew(turn)
    review_drains(turn)
    schedule(turn, Cause.RESTART)


def _disk_rests(turn: Turn) -> bool:
    """Whether a write failed just now: what leaders tell is not taken up before ``retry_ns`` is over.

    1. The disk is full: a commit cannot be written, and the agent reports so. 2. The leader sees an
    agent that is behind, and tells it the commit. 3. That cannot be written, and so on, as fast as
    messages go. When the time is over the agent reports, and is told and asked again.
    """
    return turn.state.timers.armed(JOURNAL)


def _on_persist_failed(turn: Turn, event: PersistFailed) -> None:
    """Believe the disk, not the memory: never vote or flip on what is not written (H26).

    The failed write is never repeated as such. What it was for is still wanted, and is written
    anew after ``retry_ns``: a commit with the next head heard, a flip's record at once.
    """
    state = turn.state
    kept = {digest: t for digest, t in state.tables.items() if digest in event.tables}
    turn.change(
        Cause.FAILED_FSYNC,
        record=event.record,
        tables=FrozenMap(kept),
        operation=None if state.operation in event.undone else state.operation,
        proof=None if state.proof in event.undone else state.proof,
    )
    if event.record.committed != state.record.committed:
        schedule(turn, Cause.FAILED_FSYNC)
    turn.arm(JOURNAL, turn.config.timing.retry_ns)
    review_drains(turn)
    refuse_unjournalled(turn, event)
    turn.has_news = True
