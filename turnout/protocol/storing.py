"""The leader's calls to the store: each transaction is repeated until it is known what became of it.

Why repeating is safe: every transaction is guarded so that at most one copy of it can win
(``writes.py``), and its first write is a key that its own guards name. So when a repeated copy
loses, the refusal itself, a linearizable answer, shows whether an earlier copy had won: the key
then has exactly the value that this one would have written. A lost reply is therefore never taken
for an abort, nor for anything else, and nobody is told anything before it is resolved.
"""

from __future__ import annotations

from attrs import evolve

from turnout.protocol import keys
from turnout.protocol.coordinator_state import Role, Turn
from turnout.protocol.effects import Operation, Read, Transact
from turnout.protocol.identifiers import NO_EPOCH, Epoch
from turnout.protocol.transactions import (
    Lost,
    Put,
    Range,
    Result,
    Snapshot,
    Transaction,
    Unknown,
    Won,
)

STORE_TIMER = "store"

ACCEPT = "accept"
DECIDE = "decide"
OUTCOME = "outcome"
FLEET = "fleet"
RELEASE = "release"
CREATE_HEAD = "create-head"
NOTE = "note"
COLLECT = "collect-garbage"

TAKEOVER = "takeover"
DETAILS = "takeover-details"
REQUIRED = "takeover-required"
LOOKUP = "lookup"
CONFIRM = "confirm"
FRESHNESS = "freshness"
DOUBT = "doubt"
RECALL = "recall"
LISTING = "listing"


def transact(turn: Turn, name: str, transaction: Transaction, epoch: Epoch = NO_EPOCH) -> None:
    """Send a transaction, and remember it until it is known to have won or lost."""
    operation = Operation(name, epoch, turn.state.term)
    turn.change(pending=turn.state.pending.put(operation, transaction))
    turn.ask(Transact(operation=operation, transaction=transaction))


def under_way(turn: Turn, name: str, epoch: Epoch = NO_EPOCH) -> bool:
    """Whether such a transaction is under way."""
    return Operation(name, epoch, turn.state.term) in turn.state.pending


def read(
    turn: Turn,
    name: str,
    *names: str,
    prefixes: tuple[str, ...] = (),
    listed: tuple[str, ...] = (),
    at: int = 0,
) -> None:
    """Read keys and prefixes linearizably, or as they stood at an older revision.

    Of what is below the prefixes ``listed`` only the keys are read.
    """
    ranges = (
        *(Range(n) for n in names),
        *(Range(p, prefix=True) for p in prefixes),
        *(Range(p, prefix=True, keys_only=True) for p in listed),
    )
    operation = Operation(name, NO_EPOCH, turn.state.term)
    turn.ask(Read(operation=operation, ranges=ranges, revision=at))


def settle(turn: Turn, operation: Operation, result: Result) -> Won | Lost | None:
    """Take a transaction's result; None while nothing is known or it is nobody's any more.

    A refusal that shows this very write in place is a win whose reply was lost.
    """
    transaction = turn.state.pending.get(operation)
    if transaction is None:
        return None
    if isinstance(result, Unknown):
        if operation not in turn.state.unanswered:
            turn.change(unanswered=(*turn.state.unanswered, operation))
        turn.arm(STORE_TIMER, turn.config.timing.retry_ns)
        return None
    turn.change(
        pending=turn.state.pending.drop(operation),
        unanswered=tuple(o for o in turn.state.unanswered if o != operation),
    )
    return _won_before(transaction, result) if isinstance(result, Lost) else result


def _won_before(transaction: Transaction, lost: Lost) -> Won | Lost:
    marker = transaction.writes[0]
    assert isinstance(marker, Put)
    found = lost.found.get(marker.key)
    if found is not None and found.value == marker.value:
        return Won(revision=found.mod_revision)
    return lost


def writes_standing(turn: Turn) -> bool:
    """Whether a change of ``standing`` is under way: it is rewritten whole, so by one at a time."""
    return any(
        write.key == keys.STANDING
        for transaction in turn.state.pending.values()
        for write in transaction.writes
    )


def is_led_by_us(turn: Turn, snapshot: Snapshot) -> bool:
    """Whether the leader key is ours still."""
    leader = snapshot.get(keys.LEADER)
    return leader is not None and leader.create_revision == turn.state.term


def repeat_unanswered(turn: Turn) -> None:
    """Send again what was not answered."""
    for operation in turn.state.unanswered:
        turn.ask(Transact(operation=operation, transaction=turn.state.pending[operation]))
    turn.state = evolve(turn.state, unanswered=())


def is_ours(turn: Turn, operation: Operation) -> bool:
    """Whether an answer belongs to this reign, and it still goes on."""
    reigns = turn.state.role in (Role.TAKING_OVER, Role.LEADING)
    return reigns and operation.term == turn.state.term
