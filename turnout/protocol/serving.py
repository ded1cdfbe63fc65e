"""What the proxy is to do next, and what follows from what it did.

Which operation comes next depends on the state alone, never on the event that came last: so a
restart at any instant, a repeated message and a lost result are one case each, and the same. The
proxy does one changing operation at a time, and has one place to stage in:

1. what should serve now and is staged, is flipped to;
2. a proxy that fell below what was active gets it back (S6), before any promise is kept;
3. what is prepared is staged again if it was lost: a yes is a promise to be able to flip (H23);
   until a decision comes the place is its own, and an older commit waits (H2);
4. the newest commit is staged, before it is due;
5. a prepare that waits for its vote is staged and checked.

An agent flips to nothing that its journal does not know to be committed (S1), and every flip raises
the epoch that the proxy serves (S5).
"""

from __future__ import annotations

from attrs import evolve

from turnout.protocol.draining import begin_drains, unfinished_drains
from turnout.protocol.effects import Activate, ForgetTables, Prove, Stage
from turnout.protocol.events import Activated, Proven, ProxyRestarted, Refusal
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.identifiers import Digest, Epoch
from turnout.protocol.journalling import journal
from turnout.protocol.participant_state import (
    JOURNAL,
    REPROVE,
    RETRY,
    ParticipantState,
    Slot,
    Turn,
)
from turnout.protocol.records import Active, Prepared
from turnout.protocol.recovery import recover
from turnout.protocol.transitions import Cause

PATIENCE = 5
"""A refused commit is tried again after this many ``retry_ns``: what a proxy refused it mostly
refuses again, and every attempt costs it work."""


def go_on(turn: Turn) -> None:
    """Start whatever can be started now."""
    _journal_flip(turn)
    if turn.state.operation is None:
        _start(turn, _next_operation(turn.state))
    proof = _next_proof(turn.state)
    if proof is not None:
        turn.change(proof=proof)
        turn.ask(proof)


def on_activated(turn: Turn, event: Activated) -> None:
    """The flip ended. If a newer commit was heard meanwhile, that is next."""
    operation = turn.state.operation
    if not isinstance(operation, Activate):
        return
    if (operation.epoch, operation.digest) != (event.epoch, event.digest):
        return
    flipped = _target(operation)
    if event.refusal is not None:
        turn.change(ahead=True)  # it may do it yet: a flip that was not seen in time is no refusal
        refused(turn, event.epoch, event.digest, event.refusal)
        return
    flipped_ns = turn.now.monotonic_ns if event.flipped_ns is None else event.flipped_ns
    turn.change(
        Cause.FLIPPED,
        operation=None,
        slot=None,
        serving=flipped,
        trouble="" if flipped == turn.state.wanted else turn.state.trouble,
        flipped_ns=flipped_ns,
        live_ns=None,
        timers=turn.state.timers.disarm(REPROVE),
    )


def refused(turn: Turn, epoch: Epoch, digest: Digest, refusal: Refusal) -> None:
    """The proxy refused to stage or flip; if it is still to serve that, it has diverged.

    Else a newer commit was heard meanwhile, or what was asked for was aborted.
    """
    sought = (turn.state.newest, turn.state.wanted)
    if (epoch, digest) not in [(active.epoch, active.digest) for active in sought]:
        turn.change(Cause.REFUSED, operation=None, slot=None)
        return
    turn.change(Cause.REFUSED, operation=None, slot=None, trouble=refusal.reason)
    turn.arm(RETRY, PATIENCE * turn.config.timing.retry_ns)
    turn.has_news = True


def on_proven(turn: Turn, event: Proven) -> None:
    """Probing ended. Live, if it is of what should serve and does; else it is repeated."""
    state = turn.state
    if state.proof is None or state.proof.epoch != event.epoch:
        return
    is_current = state.serving == state.newest == state.record.active
    turn.change(proof=None)
    if not is_current or event.epoch != state.serving.epoch:
        return
    if event.failure is not None:
        turn.change(trouble=event.failure)
        turn.arm(REPROVE, turn.config.timing.retry_ns)
        return
    live_ns = turn.now.monotonic_ns if event.proven_ns is None else event.proven_ns
    turn.change(Cause.PROVEN, live_ns=live_ns, trouble="")
    _forget_tables(turn)
    turn.has_news = True


def on_proxy_restarted(turn: Turn, event: ProxyRestarted) -> None:
    """What was staged is gone, and what is served may be: as ``recovery.py`` says."""
    _, serving = recover(turn.state.record, event.serving)
    turn.change(
        Cause.PROXY_RESTART,
        serving=serving,
        slot=None,
        staged_lost="",
        trouble="",
        live_ns=None,
        timers=turn.state.timers.disarm(RETRY).disarm(REPROVE),
    )


def _target(operation: Activate) -> Active:
    return Active(incarnation=operation.incarnation, epoch=operation.epoch, digest=operation.digest)


def _start(turn: Turn, operation: Stage | Activate | None) -> None:
    if operation is None:
        return
    turn.change(Cause.FLIP, operation=operation)
    turn.ask(operation)


def _next_operation(state: ParticipantState) -> Stage | Activate | None:
    return (
        _flip(state)
        or _restore(state)
        or _keep_promise(state)
        or _stage_commit(state)
        or _try_candidate(state)
    )


def _flip(state: ParticipantState) -> Activate | None:
    wanted = state.wanted
    if wanted.rank <= state.serving.rank or not _is_staged(state, wanted):
        return None
    return Activate(incarnation=wanted.incarnation, epoch=wanted.epoch, digest=wanted.digest)


def _restore(state: ParticipantState) -> Stage | None:
    if state.serving.rank >= state.record.active.rank or state.timers.armed(RETRY):
        return None
    return _stage(state, state.wanted)


def _keep_promise(state: ParticipantState) -> Stage | None:
    prepared = state.record.prepared
    if prepared is None or state.staged_lost or state.slot == _slot(prepared):
        return None
    return Stage(
        epoch=prepared.epoch,
        digest=prepared.digest,
        check=False,
        against=state.record.active.digest,
    )


def _stage_commit(state: ParticipantState) -> Stage | None:
    promised = state.record.prepared is not None and not state.staged_lost
    if promised or state.timers.armed(RETRY) or state.newest.rank <= state.serving.rank:
        return None
    return None if _is_staged(state, state.newest) else _stage(state, state.newest)


def _try_candidate(state: ParticipantState) -> Stage | None:
    candidate = state.candidate
    if candidate is None or candidate.refusal is not None:
        return None
    return Stage(
        epoch=candidate.epoch,
        digest=candidate.digest,
        check=True,
        against=state.record.active.digest,
    )


def _stage(state: ParticipantState, target: Active) -> Stage:
    """Stage a commit: with health checks, unless this edge checked it before it voted for it."""
    committed = state.record.committed
    check = committed is not None and committed.active == target and committed.late
    return Stage(
        epoch=target.epoch,
        digest=target.digest,
        check=check and target != state.record.active,
        against=state.record.active.digest,
    )


def _slot(named: Active | Prepared) -> Slot:
    return Slot(epoch=named.epoch, digest=named.digest)


def _is_staged(state: ParticipantState, target: Active) -> bool:
    return state.slot == _slot(target)


def _next_proof(state: ParticipantState) -> Prove | None:
    if state.proof is not None or state.live_ns is not None or state.timers.armed(REPROVE):
        return None
    active = state.record.active
    if active.epoch == 0 or not active == state.newest == state.serving:
        return None
    return Prove(epoch=active.epoch, digest=active.digest, against=state.before)


def _journal_flip(turn: Turn) -> None:
    """Journal what the proxy was told, once it serves it; then its source can drain."""
    state = turn.state
    active, serving = state.record.active, state.serving
    if not active.rank < serving.rank <= state.newest.rank or state.timers.armed(JOURNAL):
        return
    begin_drains(turn, serving)
    draining = unfinished_drains(turn, serving)
    turn.change(before=active.digest, ahead=state.ahead and state.table(serving.digest) is None)
    journal(turn, None, evolve(state.record, active=serving, draining=draining))


def _forget_tables(turn: Turn) -> None:
    """Keep what may be served or staged without asking anybody, and the one before active."""
    state = turn.state
    named = [state.record.active.digest, state.newest.digest, state.before]
    named += [state.record.prepared.digest] if state.record.prepared else []
    named += [state.candidate.digest] if state.candidate else []
    keep = tuple(sorted({digest for digest in named if digest}))
    if set(state.tables) - set(keep):
        turn.change(tables=FrozenMap({d: t for d, t in state.tables.items() if d in keep}))
        turn.ask(ForgetTables(keep=keep))
