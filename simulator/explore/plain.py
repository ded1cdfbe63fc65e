"""Values without what makes no difference in the small worlds, so that equal futures are one world.

Everything left out here is read by no rule of a machine that can still act on it. Each function
says what it leaves out, and why nobody could tell.
"""

from __future__ import annotations

from attrs import evolve

from simulator.explore.nodes import AgentNode, far
from simulator.explore.store import FakeStore, Items
from turnout.protocol import keys
from turnout.protocol.activation import ClockEstimate
from turnout.protocol.clock import ClockNs
from turnout.protocol.codec import decode
from turnout.protocol.coordinator import is_late
from turnout.protocol.coordinator_state import (
    Attempt,
    CoordinatorState,
    Following,
    Landed,
)
from turnout.protocol.frozenmap import FrozenMap
from turnout.protocol.identifiers import Epoch, Region
from turnout.protocol.invariants import Ruling
from turnout.protocol.limits import MAX_TABLE_BYTES
from turnout.protocol.messages import Message, Prepare, Progress, Report, Sync
from turnout.protocol.participant_state import ParticipantState
from turnout.protocol.records import Head, Status, Verdict
from turnout.protocol.transactions import KeyValue, Put, Transaction

REPLICA_TIMERS = ("prepare", "undo", "live", "store")
AGENT_TIMERS = ("retry", "reprove")

_OF_A_SWITCH = (keys.INTENTS, keys.FOLLOWING, keys.OUTCOMES)

_LANDED = Landed(flipped_at_ns=None, live_at_ns=ClockNs(0), bound_ns=None, late=False)


def plain_agent(state: ParticipantState) -> ParticipantState:
    """Without drains, when it flipped, and without the clock that it has not read."""
    timers = evolve(state.timers, due=tuple(d for d in state.timers.due if d[0] in AGENT_TIMERS))
    clock = state.clock
    if clock is not None and clock.estimate == ClockEstimate():
        clock = None
    return evolve(state, timers=far(timers), clock=clock, drains=(), flipped_ns=None)


def plain_replica(state: CoordinatorState) -> CoordinatorState:
    """Without what it follows only for drain and release, and what the store can tell it again.

    - of a report, what no rule reads once it was heard; of its head, all but the commit's name;
    - decisions looked up: they never change, and a read is answered in the step that asks;
    - idempotency keys: in these worlds none is used twice;
    - what whoever asked for a change of the fleet is answered;
    - when an agent flipped and was live: figures of the outcome, which ``quiet`` leaves out;
    - what a decision or an outcome was computed from, once that is on its way: it is computed once.
      (Whom it takes for silent it asks once more, with a message that is in the network already.)
    """
    timers = evolve(state.timers, due=tuple(d for d in state.timers.due if d[0] in REPLICA_TIMERS))
    following = {
        epoch: _plain_following(entry)
        for epoch, entry in state.following.items()
        if entry.outcome is None
    }
    change = state.fleet_change
    return evolve(
        state,
        timers=far(timers),
        fleet_change=None if change is None else evolve(change, text=""),
        attempt=_plain_attempt(state.attempt),
        following=FrozenMap(following),
        reports=FrozenMap({a: _plain_report(r, state) for a, r in state.reports.items()}),
        library=FrozenMap(),
        requests=FrozenMap(),
    )


def _plain_attempt(attempt: Attempt | None) -> Attempt | None:
    if attempt is None or attempt.deciding is None:
        return attempt
    return evolve(attempt, yes=FrozenMap(), no=FrozenMap(), overdue=False)


def _plain_following(entry: Following) -> Following:
    live = FrozenMap(dict.fromkeys(entry.live, _LANDED))
    entry = evolve(entry, drained=FrozenMap(), live=live)
    if entry.writing is None:
        return entry
    return evolve(entry, live=FrozenMap(), diverged=FrozenMap(), overdue=False)


def _plain_report(report: Report, state: CoordinatorState) -> Report:
    """What an agent has prepared matters once it is excluded: it hears up to that.

    That it is live counts when it is heard. Where a rule asks later, it can be heard again then: what
    was heard stays in the network. (So agents are made good one after another, never two at once.)
    """
    excluded = state.fleet.status(report.agent) is Status.EXCLUDED
    known = report.committed
    if known is not None:
        known = Head(incarnation=known.incarnation, committed=known.committed, digest=known.digest)
    return evolve(
        report,
        committed=known,
        prepared=report.prepared if excluded else None,
        region=Region(""),
        progress=Progress.NOTHING,
        reason="",
        flipped_at_ns=None,
        live_at_ns=None,
        bound_ns=None,
        late=False,
        staged_lost="",
        drains=(),
        signature="",
    )


def plain_store(store: FakeStore, at_stake: frozenset[str]) -> FakeStore:
    """Without what no leader reads, revisions that no guard compares, and pasts that are over.

    ``at_stake`` are the keys whose exact values somebody may still compare: in the guards of a write
    on its way, or to learn whether one that was not answered had won. Of history nothing matters, and of a switch that has its
    outcome the decision alone. Revisions count only what is compared: the leader key, intents and standing.
    """
    head = store.items.get(keys.HEAD)
    if head is None:
        return store
    decided = decode(head.value, Head, limit=MAX_TABLE_BYTES).decided
    open_intent = store.items.get(keys.intent(Epoch(decided + 1)))
    items = _plain_items(store.items, at_stake)
    past = {}
    if open_intent is not None:
        at = open_intent.create_revision
        past[at] = _plain_items(store.past[at], at_stake)
    compared = [
        items[keys.LEADER].create_revision,
        items[keys.STANDING].mod_revision,
        *past,
    ]
    rulings = tuple(_plain_ruling(ruling) for ruling in store.rulings)
    return evolve(store, revision=max(compared), items=items, past=FrozenMap(past), rulings=rulings)


def _plain_ruling(ruling: Ruling) -> Ruling:
    """S3 asks for an abort's votes never, and who held a commit's when it was written once."""
    if ruling.decision.verdict is Verdict.ABORT:
        return evolve(ruling, held=None, required=())
    return evolve(ruling, held=None)


def _plain_items(items: Items, at_stake: frozenset[str]) -> Items:
    plain = {}
    ended = {key.rpartition("/")[2] for key in items if key.startswith(keys.OUTCOMES)}
    for key, item in items.items():
        counted = key == keys.LEADER or key.startswith(keys.INTENTS)
        value = item.value
        if key not in at_stake:
            if key.startswith((keys.HISTORY, keys.REQUESTS)):
                continue
            if key.startswith(_OF_A_SWITCH) and key.rpartition("/")[2] in ended:
                continue
        plain[key] = KeyValue(
            key=key,
            value=value,
            create_revision=item.create_revision if counted else 0,
            mod_revision=item.mod_revision if key == keys.STANDING else 0,
        )
    return FrozenMap(plain)


def named_by(transaction: Transaction) -> frozenset[str]:
    """The keys that a write is guarded by, and that which tells whether it had won already."""
    marker = transaction.writes[0]
    assert isinstance(marker, Put)
    return frozenset({marker.key, *(guard.key for guard in transaction.guards)})


def plain_node(node: AgentNode, rulings: tuple[Ruling, ...]) -> AgentNode:
    """An agent whose past was judged: what it serves, and the votes that a commit rests on."""
    decided = {r.decision.epoch for r in rulings}
    rested_on = {
        (r.decision.epoch, r.decision.digest, r.decision.term)
        for r in rulings
        if r.decision.verdict is Verdict.COMMIT
    }
    kept = {
        y
        for y in node.ghosts.yes
        if y.epoch not in decided or (y.epoch, y.digest, y.term) in rested_on
    }
    yes = tuple(sorted(kept, key=lambda y: (y.epoch, y.digest, y.term, y.journal_id)))
    ghosts = evolve(node.ghosts, served=node.ghosts.served[-1:], yes=yes)
    return evolve(node, ghosts=ghosts)


def is_dead_order(message: Message, node: AgentNode, *, may_forget: bool) -> bool:
    """The agent knows a newer head, or as new a one and a promise; from its disk, if it may die."""
    assert isinstance(message, Prepare | Sync)
    record, known = node.disk.record, node.state.head
    if may_forget:
        known = record.committed.head if record.committed else None
    head = message.head
    if known is None or head is None or head.decided > known.decided:
        return False
    if head != known:
        return head.decided < known.decided
    if isinstance(message, Sync):
        return record.committed is not None and record.committed_epoch == head.committed
    return not may_forget and message.term < record.promised


def is_dead_report(state: CoordinatorState, message: Message) -> bool:
    """The last leader there will be has heard something newer from this agent."""
    return (
        isinstance(message, Report)
        and message.agent in state.connected
        and is_late(state.reports.get(message.agent), message)
    )
