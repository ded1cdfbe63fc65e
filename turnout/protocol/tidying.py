"""What nobody needs any more is deleted from the store, while nothing else is under way (H22).

A commit is *recent* for the longest ``retain`` of any table in memory, and a day. Kept are

- head's table and the one before, and those of every commit that is still followed;
- those of every recent commit, and those that they replaced: a rollback finds what it goes back to;
- every digest that an enrolled agent last reported. An agent that this leader has not heard yet
  may have any: until then no table is deleted;
- the idempotency keys of all that was decided after the newest commit that is not recent.

Decisions, outcomes and the history stay.

Nothing waits for a deletion, and nobody its answer: won, lost or unknown, the next look shows what
is left. It is guarded by all that it was worked out from, so it can only come too late, and that
harms in one case: 1. A rollback looks up an old table, which is there. 2. The table is deleted.
3. The rollback's intent requires it to be there, and is refused. So an intent requires only what is
never deleted (``CoordinatorState.needed_tables``), and brings every other table along.
"""

from __future__ import annotations

from attrs import frozen

from turnout.protocol import keys
from turnout.protocol.clock import MS
from turnout.protocol.coordinator_state import CoordinatorState, Turn
from turnout.protocol.effects import Operation, Transact
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.identifiers import Digest, Epoch
from turnout.protocol.limits import (
    KEPT_NS,
    MAX_DECISIONS_PER_READ,
    MAX_DELETIONS_PER_TRANSACTION,
    TIDY_INTERVAL_NS,
)
from turnout.protocol.requesting import keep
from turnout.protocol.standing import is_free
from turnout.protocol.storing import COLLECT, LISTING, RECALL, read
from turnout.protocol.transactions import Snapshot
from turnout.protocol.writes import collect_garbage

TIDY_TIMER = "tidy"


@frozen(kw_only=True)
class _Past:
    """What the commits named, from head's back to the first that is not recent.

    Attributes:
        named: digests of the recent commits, and of those that they replaced.
        end: the first commit that is not recent; 0 where all are.
        known: whether that is known of ``end``, or it must be read first.
    """

    named: frozenset[Digest]
    end: Epoch
    known: bool


def arrange(turn: Turn) -> None:
    """See to it that the machine looks for garbage after a while."""
    if not turn.state.timers.armed(TIDY_TIMER):
        turn.arm(TIDY_TIMER, TIDY_INTERVAL_NS)


def begin(turn: Turn) -> None:
    """List what there is; but first read the decisions that tell what it is needed for."""
    if not _is_idle(turn):
        return
    past = _past(turn)
    if past.known:
        read(turn, LISTING, listed=(keys.TABLES, keys.REQUESTS))
        return
    oldest = max(0, past.end - MAX_DECISIONS_PER_READ)
    read(turn, RECALL, *(keys.decision(Epoch(e)) for e in range(past.end, oldest, -1)))


def recalled(turn: Turn, snapshot: Snapshot) -> None:
    """Old decisions were read. Where one is missing, nothing can be said of what it named."""
    wanted = _past(turn).end
    keep(turn, snapshot)
    if wanted in turn.state.library:
        begin(turn)


def listed(turn: Turn, snapshot: Snapshot) -> None:
    """Delete what nothing needs, unless something has begun meanwhile: the next look finds it."""
    if not _is_idle(turn):
        return
    past = _past(turn)
    if not past.known:
        return
    _forget(turn, past, snapshot)
    unused = (*_unused_tables(turn.state, past, snapshot), *_old_keys(turn.state, past, snapshot))
    if unused:
        transaction = collect_garbage(
            turn.reign,
            head=turn.head,
            fleet=turn.fleet_guard,
            unused=unused[:MAX_DELETIONS_PER_TRANSACTION],
        )
        operation = Operation(COLLECT, turn.head.decided, turn.state.term)
        turn.ask(Transact(operation=operation, transaction=transaction))


def _forget(turn: Turn, past: _Past, snapshot: Snapshot) -> None:
    """Keep in memory no decision from before ``past``, and no key that the store has no more."""
    state = turn.state
    stored = {item.key.removeprefix(keys.REQUESTS) for item in snapshot.below(keys.REQUESTS)}
    library = {
        epoch: decision
        for epoch, decision in state.library.items()
        if epoch >= past.end or epoch in state.following
    }
    requests = {
        key: record
        for key, record in state.requests.items()
        if key in stored or record.epoch > past.end
    }
    turn.change(library=FrozenMap(library), requests=FrozenMap(requests))


def _is_idle(turn: Turn) -> bool:
    """Whether nobody waits for anything."""
    state = turn.state
    busy = state.waiting or state.looking_up or state.unfinished or state.proof
    return is_free(turn) and not busy


def _past(turn: Turn) -> _Past:
    state = turn.state
    since_ns = turn.now.clock_ns - KEPT_NS - _longest_retain_ms(state) * MS
    named: set[Digest] = set()
    epoch = turn.head.committed
    while epoch > 0:
        decision = state.library.get(epoch)
        if decision is None or decision.decided_at_ns < since_ns:
            break
        named |= {decision.head.digest, decision.head.base}
        epoch = decision.head.base_epoch
    known = epoch == 0 or epoch in state.library
    return _Past(named=frozenset(named), end=epoch, known=known)


def _longest_retain_ms(state: CoordinatorState) -> int:
    services = (service for held in state.tables.values() for service in held.table.services)
    return max((service.retain_ms for service in services), default=0)


def _unused_tables(state: CoordinatorState, past: _Past, snapshot: Snapshot) -> tuple[str, ...]:
    if any(agent not in state.reports for agent in state.fleet.agents):
        return ()
    kept = state.needed_tables | past.named | _reported(state)
    stored = (item.key for item in snapshot.below(keys.TABLES))
    return tuple(key for key in stored if key.removeprefix(keys.TABLES) not in kept)


def _reported(state: CoordinatorState) -> frozenset[Digest]:
    found: set[Digest] = set()
    for agent in state.fleet.agents:
        report = state.reports[agent]
        found |= {*report.tables, report.active.digest, report.committed_digest}
        if report.prepared is not None:
            found.add(report.prepared.digest)
    return frozenset(found)


def _old_keys(state: CoordinatorState, past: _Past, snapshot: Snapshot) -> tuple[str, ...]:
    """Keys of what was decided no later than a commit that is not recent."""
    old = []
    for item in snapshot.below(keys.REQUESTS):
        record = state.requests.get(item.key.removeprefix(keys.REQUESTS))
        if record is not None and record.epoch <= past.end and record.epoch not in state.following:
            old.append(item.key)
    return tuple(old)
