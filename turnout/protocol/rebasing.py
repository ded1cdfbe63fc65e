"""A domain's history, begun anew by its operator after a restore that went back (S11): one transaction.

It is worked out from what the store holds; who reads that, checks whose domain it is and sends the
transaction is ``turnout domain rebase``, and the simulator. Its guards require that nobody leads, and
that what it was worked out from still stands: sent twice, it is carried out once.
"""

from __future__ import annotations

from attrs import evolve, frozen

from turnout.protocol import keys
from turnout.protocol.clock import ClockNs
from turnout.protocol.codec import canonical_bytes, decode
from turnout.protocol.identifiers import (
    NO_DIGEST,
    NO_EPOCH,
    NO_TERM,
    AgentId,
    Epoch,
    ReplicaId,
)
from turnout.protocol.limits import MAX_DELETIONS_PER_TRANSACTION, MAX_TABLE_BYTES
from turnout.protocol.records import (
    Activation,
    Decision,
    Head,
    HistoryEntry,
    Incarnation,
    IncarnationRecord,
    Standing,
    StandingEntry,
    Status,
    Verdict,
)
from turnout.protocol.signing import Signer, signed
from turnout.protocol.transactions import (
    Absent,
    Delete,
    Guard,
    ModifiedAt,
    Put,
    Range,
    Snapshot,
    Transaction,
    Write,
)

REBASE = "rebase-domain"
"""The transaction's name."""

NEEDED = (
    *map(Range, (keys.INCARNATION, keys.LEADER, keys.HEAD, keys.STANDING)),
    *(
        Range(prefix, prefix=True)
        for prefix in (keys.AGENTS, keys.INTENTS, keys.DECISIONS, keys.FOLLOWING)
    ),
)
"""What has to be read of the store, at one revision."""

_OPERATOR = ReplicaId("operator")


@frozen(kw_only=True)
class Wanted:
    """What the operator says.

    Attributes:
        id: of the next incarnation: random, and new.
        above: the highest epoch that any edge is known to serve; the first one will be above it.
        at_ns: when, for people.
        actor, reason: who, and why.
    """

    id: str
    above: Epoch
    at_ns: int
    actor: str
    reason: str


def next_incarnation(
    snapshot: Snapshot, before: IncarnationRecord, signer: Signer, wanted: Wanted
) -> IncarnationRecord:
    """Return the incarnation that follows ``before``, signed.

    Its first epoch is above every epoch that the store knows, and above ``wanted.above``.
    """
    numbered = (*snapshot.below(keys.INTENTS), *snapshot.below(keys.DECISIONS))
    used = [int(item.key.rpartition("/")[2]) for item in numbered]
    head = _head(snapshot)
    highest = max([wanted.above, head.decided if head else 0, before.first_epoch - 1, *used])
    record = IncarnationRecord(
        incarnation=Incarnation(number=before.incarnation.number + 1, id=wanted.id),
        predecessor=before.incarnation,
        first_epoch=Epoch(highest + 1),
    )
    return signed(record, signer)


def rebase(
    snapshot: Snapshot, record: IncarnationRecord, signer: Signer, wanted: Wanted
) -> Transaction:
    """Return what begins the incarnation ``record`` over this store.

    Its first epoch is a commit of the stored head's table, and every agent is stale until it reports
    it. No source that was left before is ever released: nobody knows who has come back to it since
    (S9). Where nothing was ever committed there is no table to carry over: the leader then makes the
    empty head itself.
    """
    before = _head(snapshot)
    writes: tuple[Write, ...] = (Put(keys.INCARNATION, canonical_bytes(record)),)
    if before is None or not before.digest:
        writes = (*writes, Delete(keys.HEAD))
    else:
        writes = (*writes, *_first_commit(snapshot, before, record, signer, wanted))
    return Transaction(name=REBASE, guards=_unchanged(snapshot), writes=writes)


def _head(snapshot: Snapshot) -> Head | None:
    item = snapshot.get(keys.HEAD)
    return decode(item.value, Head, limit=MAX_TABLE_BYTES) if item else None


def _unchanged(snapshot: Snapshot) -> tuple[Guard, ...]:
    """Nobody leads, and what the new records were made from still stands."""
    guards: list[Guard] = [Absent(keys.LEADER)]
    for key in (keys.INCARNATION, keys.HEAD, keys.STANDING):
        item = snapshot.get(key)
        guards.append(ModifiedAt(key, item.mod_revision if item else 0))
    return tuple(guards)


def _first_commit(
    snapshot: Snapshot, before: Head, record: IncarnationRecord, signer: Signer, wanted: Wanted
) -> tuple[Write, ...]:
    """The first epoch's head, its decision and history, and nobody good."""
    epoch, number = record.first_epoch, record.incarnation.number
    entry = HistoryEntry(
        epoch=epoch,
        kind="rebased",
        at_ns=ClockNs(wanted.at_ns),
        actor=wanted.actor,
        replica=_OPERATOR,
        term=NO_TERM,
        text=f"incarnation {number} begins with the table of epoch {before.committed}",
        reason=wanted.reason,
        previous=before.history,
    )
    head = signed(_first_head(before, record, entry), signer)
    decision = Decision(
        epoch=epoch,
        verdict=Verdict.COMMIT,
        head=head,
        term=NO_TERM,
        replica=_OPERATOR,
        digest=head.digest,
        reason=entry.text,
        decided_at_ns=ClockNs(wanted.at_ns),
    )
    return (
        Put(keys.HEAD, canonical_bytes(head)),
        Put(keys.decision(epoch), canonical_bytes(decision)),
        Put(keys.STANDING, canonical_bytes(_all_stale(snapshot, number))),
        Put(keys.history(epoch, entry.kind), canonical_bytes(entry)),
        *(
            Delete(item.key)
            for item in snapshot.below(keys.FOLLOWING)[:MAX_DELETIONS_PER_TRANSACTION]
        ),
    )


def _first_head(before: Head, record: IncarnationRecord, entry: HistoryEntry) -> Head:
    return evolve(
        before,
        incarnation=record.incarnation,
        decided=record.first_epoch,
        committed=record.first_epoch,
        base=NO_DIGEST,
        base_epoch=NO_EPOCH,
        term=NO_TERM,
        replica=_OPERATOR,
        activation=Activation(),
        drain_timeout_ms=None,
        history=entry.digest(),
        signature="",
    )


def _all_stale(snapshot: Snapshot, number: int) -> Standing:
    """Every agent stale, but for the excluded, who stay so."""
    item = snapshot.get(keys.STANDING)
    known = decode(item.value, Standing, limit=MAX_TABLE_BYTES).entries if item else ()
    excluded = {entry.agent: entry for entry in known if entry.status is Status.EXCLUDED}
    agents = [AgentId(one.key.removeprefix(keys.AGENTS)) for one in snapshot.below(keys.AGENTS)]
    reason = f"not known to have joined incarnation {number} yet"
    return Standing(
        entries=tuple(
            excluded.get(agent) or StandingEntry(agent=agent, status=Status.STALE, reason=reason)
            for agent in sorted(agents)
        )
    )
