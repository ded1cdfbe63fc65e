"""Every transaction a leader may send, with all of its guards: DESIGN.md section 4's table.

Nothing else writes. Each builder's docstring says which guard keeps out what; the scenario that
made the guard necessary is named by its number. ``LOST`` answers bring
the guarded keys as they stood, so that a lost race is understood in the same round trip.
"""

from __future__ import annotations

from attrs import frozen

from turnout.protocol import keys
from turnout.protocol.codec import canonical_bytes
from turnout.protocol.identifiers import AgentId, Digest, Epoch, Term
from turnout.protocol.records import (
    AgentEntry,
    Decision,
    Head,
    HistoryEntry,
    Intent,
    Outcome,
    RequestRecord,
    SignedTable,
    Standing,
    Verdict,
)
from turnout.protocol.transactions import (
    Absent,
    CreatedAt,
    Delete,
    Equals,
    Guard,
    ModifiedAt,
    Present,
    Put,
    Transaction,
    Write,
)
from turnout.protocol.wire import pack_table


@frozen(kw_only=True)
class Reign:
    """What every write of a leader is guarded by: its term and the incarnation it read.

    The term guard compares the leader key's create-revision as it stands in that very
    transaction, so a deposed leader's write fails whenever it arrives (S4).
    """

    term: Term
    incarnation: bytes

    @property
    def guards(self) -> tuple[Guard, ...]:
        """The two guards."""
        return (
            CreatedAt(keys.LEADER, self.term),
            Equals(keys.INCARNATION, self.incarnation),
        )


def _history(entry: HistoryEntry) -> Put:
    return Put(keys.history(entry.epoch, entry.kind), canonical_bytes(entry))


def _unwritten(entry: HistoryEntry) -> Absent:
    """Guard by an entry of its own: ``standing`` may be the same after a change as before it."""
    return Absent(keys.history(entry.epoch, entry.kind))


def create_head(reign: Reign, head: Head) -> Transaction:
    """A domain's first head, epoch 0; nothing is burnt for it (P2)."""
    return Transaction(
        name="create-head",
        guards=(*reign.guards, Absent(keys.HEAD)),
        writes=(
            Put(keys.HEAD, canonical_bytes(head)),
            Put(keys.STANDING, canonical_bytes(Standing())),
        ),
    )


def accept(
    reign: Reign,
    *,
    head: Head,
    intent: Intent,
    table: SignedTable,
    stored: bool,
    standing: Standing | None,
    body: Digest,
    history: HistoryEntry,
) -> Transaction:
    """The intent, guarded so that no epoch has two and none overwrites another's (H4).

    The fleet guard keeps an agent from becoming good between the computing of the required set
    and its freezing (H6). The table must be in the store (``stored``), or is written here (H22).
    A rollback's ``standing`` marks the agents stale that it cannot reach (H2).
    """
    request = intent.request
    guards: list[Guard] = [
        *reign.guards,
        Equals(keys.HEAD, canonical_bytes(head)),
        Absent(keys.intent(intent.epoch)),
        ModifiedAt(keys.STANDING, intent.required.fleet),
        Absent(keys.request(request.key)),
    ]
    record = RequestRecord(epoch=intent.epoch, body=body)
    writes: list[Write] = [
        Put(keys.intent(intent.epoch), canonical_bytes(intent)),
        Put(keys.request(request.key), canonical_bytes(record)),
        _history(history),
    ]
    if stored:
        guards.append(Present(keys.table(intent.digest)))
    else:
        writes.append(Put(keys.table(intent.digest), pack_table(table)))
    if standing is not None:
        writes.append(Put(keys.STANDING, canonical_bytes(standing)))
    return Transaction(name="accept", guards=tuple(guards), writes=tuple(writes))


def decide(
    reign: Reign,
    *,
    before: Head,
    decision: Decision,
    intent: Intent | None,
    standing: Standing | None,
    outcome: Outcome | None,
    request: tuple[str, RequestRecord] | None,
    history: HistoryEntry,
) -> Transaction:
    """The one decision about an epoch: **the commit point**.

    A commit requires the very intent that votes were collected for (H4); an abort requires it
    as read, or that there is none (P2). Of a racing commit and abort one wins, since both
    require that there is no decision. ``standing`` names a rollback's absent as stale;
    ``outcome`` is an abort's, which is known at once; ``request`` binds the key of a rollback
    that asked for this abort, and is used by nothing else (H20).
    """
    epoch = decision.epoch
    intent_guard: Guard = Absent(keys.intent(epoch))
    if intent is not None:
        intent_guard = Equals(keys.intent(epoch), canonical_bytes(intent))
    assert intent is not None or decision.verdict is Verdict.ABORT
    writes: list[Write] = [
        Put(keys.decision(epoch), canonical_bytes(decision)),
        Put(keys.HEAD, canonical_bytes(decision.head)),
        _history(history),
    ]
    if decision.verdict is Verdict.COMMIT:
        writes.append(Put(keys.following(epoch), b""))
    if standing is not None:
        writes.append(Put(keys.STANDING, canonical_bytes(standing)))
    if outcome is not None:
        writes.append(Put(keys.outcome(epoch), canonical_bytes(outcome)))
    guards: list[Guard] = [
        *reign.guards,
        Equals(keys.HEAD, canonical_bytes(before)),
        Absent(keys.decision(epoch)),
        intent_guard,
    ]
    if request is not None:
        guards.append(Absent(keys.request(request[0])))
        writes.append(Put(keys.request(request[0]), canonical_bytes(request[1])))
    return Transaction(
        name=f"decide-{decision.verdict}", guards=tuple(guards), writes=tuple(writes)
    )


def write_outcome(
    reign: Reign,
    *,
    outcome: Outcome,
    over: tuple[Epoch, ...],
    standing: Standing | None,
    fleet: int,
    history: HistoryEntry,
) -> Transaction:
    """What a committed switch came to, once; marks its laggards stale.

    Marking stale needs no closed intent: it never frees an open intent's set (P4). It is
    compared with the standing it was computed from, so that no other mark is lost. The epochs that
    are ``over`` with it are followed no more.
    """
    guards: list[Guard] = [*reign.guards, Absent(keys.outcome(outcome.epoch))]
    writes: list[Write] = [
        Put(keys.outcome(outcome.epoch), canonical_bytes(outcome)),
        _history(history),
        *(Delete(keys.following(epoch)) for epoch in over),
    ]
    if standing is not None:
        guards.append(ModifiedAt(keys.STANDING, fleet))
        writes.append(Put(keys.STANDING, canonical_bytes(standing)))
    return Transaction(name="outcome", guards=tuple(guards), writes=tuple(writes))


def mark_stale(
    reign: Reign, *, standing: Standing, fleet: int, history: HistoryEntry
) -> Transaction:
    """Mark agents stale, at any time (P4)."""
    return Transaction(
        name="mark-stale",
        guards=(*reign.guards, ModifiedAt(keys.STANDING, fleet), _unwritten(history)),
        writes=(_history(history), Put(keys.STANDING, canonical_bytes(standing))),
    )


def change_fleet(
    reign: Reign,
    *,
    name: str,
    head: Head,
    standing: Standing,
    fleet: int,
    entries: tuple[AgentEntry, ...] = (),
    removed: tuple[AgentId, ...] = (),
    history: HistoryEntry,
) -> Transaction:
    """Make agents good, enrol, remove, exclude or include: never while an intent is open (H6, P3).

    The head's guard ties "no intent open" to the epoch that could be open, and, for agents made
    good, the committed epoch and digest that their reports were compared with.
    """
    open_epoch = Epoch(head.decided + 1)
    return Transaction(
        name=name,
        guards=(
            *reign.guards,
            Equals(keys.HEAD, canonical_bytes(head)),
            Absent(keys.intent(open_epoch)),
            ModifiedAt(keys.STANDING, fleet),
            _unwritten(history),
        ),
        writes=(
            _history(history),
            Put(keys.STANDING, canonical_bytes(standing)),
            *(Put(keys.agent(entry.agent), canonical_bytes(entry)) for entry in entries),
            *(Delete(keys.agent(agent)) for agent in removed),
        ),
    )


def release(
    reign: Reign, *, epoch: Epoch, head: Head, fleet: int, history: HistoryEntry
) -> Transaction:
    """The source of an epoch may be scaled down: nobody sends to it, nor is about to.

    1. Everybody has drained blue; its release is on its way. 2. A switch back to blue commits, or an
    agent that serves blue is enrolled. 3. The release arrives (S9). So it is guarded by all that it
    was worked out from, and by no intent being open.
    """
    return Transaction(
        name="release",
        guards=(
            *reign.guards,
            Absent(keys.released(epoch)),
            Equals(keys.HEAD, canonical_bytes(head)),
            Absent(keys.intent(Epoch(head.decided + 1))),
            ModifiedAt(keys.STANDING, fleet),
        ),
        writes=(
            Put(keys.released(epoch), canonical_bytes(history)),
            _history(history),
            Delete(keys.following(epoch)),
        ),
    )


def note(reign: Reign, *, history: HistoryEntry) -> Transaction:
    """A history entry of its own: a waiver, for example."""
    return Transaction(
        name="note",
        guards=(*reign.guards, _unwritten(history)),
        writes=(_history(history),),
    )


def refusal(reign: Reign, *, number: int, history: HistoryEntry) -> Transaction:
    """A refused attempt's entry, written beside the machine: its key is no other entry's.

    So it loses to nothing but the end of the reign, and nothing loses to it.
    """
    key = keys.refusal(history.epoch, reign.term, number)
    return Transaction(
        name="refusal",
        guards=(*reign.guards, Absent(key)),
        writes=(Put(key, canonical_bytes(history)),),
    )


def collect_garbage(
    reign: Reign, *, head: Head, fleet: int, unused: tuple[str, ...]
) -> Transaction:
    """Delete tables and idempotency keys that nothing needs, no intent being open (H22).

    The guards are of all that tells what is needed: should anything have been committed, or an
    agent enrolled or marked, since ``unused`` was worked out, then nothing is deleted.
    """
    return Transaction(
        name="collect-garbage",
        guards=(
            *reign.guards,
            Equals(keys.HEAD, canonical_bytes(head)),
            Absent(keys.intent(Epoch(head.decided + 1))),
            ModifiedAt(keys.STANDING, fleet),
        ),
        writes=tuple(Delete(key) for key in unused),
    )
